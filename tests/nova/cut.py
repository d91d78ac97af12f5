# SPDX-License-Identifier: Apache-2.0
"""A compute's link falls silent while guests and users go on, and comes back."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from tests.nova import hypervisor
from tests.nova.stack import Compute
from tests.nova.stack import NovaStack

_HEAL_SECONDS = 120.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What nova said of the two servers before the heal, and how long it took to say SHUTOFF."""

    crashed_guest: str
    stopped_by_user: str
    heal_seconds: float


def cut_and_heal(
    stack: NovaStack, seconds: float, say: Callable[[str], None] = lambda _: None
) -> Outcome:
    """Cut the first compute's link for so many seconds, with things happening on both sides of it.

    One guest stops by itself, one is stopped by a user, one is left alone. The servers are deleted
    in the end.

    :param say: told what is going on
    :raises ServerError: when it never does
    """
    compute = stack.computes[0]
    crashing, stopping, quiet = _boot(stack, compute)
    say(f"the link of {compute.host} is silent for {seconds:g} s")
    compute.relay.silence()
    compute.hypervisor.set_state(crashing, hypervisor.SHUTDOWN)
    stack.client.act(stopping, "os-stop")
    time.sleep(seconds)
    crashed_guest, stopped_by_user = _told(stack, crashing), _told(stack, stopping)
    say(f"a guest has stopped by itself: nova says {crashed_guest}")
    say(f"a user has asked for another's stop: nova says {stopped_by_user}")
    compute.relay.resume()
    healed_at = time.monotonic()
    for server_id in (crashing, stopping):
        stack.client.wait_for(server_id, "SHUTOFF", seconds=_HEAL_SECONDS)
    heal_seconds = time.monotonic() - healed_at
    stack.client.wait_for(quiet, "ACTIVE")
    say(f"the link is back, and {heal_seconds:.1f} s later nova says SHUTOFF of both")
    for server_id in (crashing, stopping, quiet):
        stack.client.delete(server_id)
    return Outcome(crashed_guest, stopped_by_user, heal_seconds)


def _boot(stack: NovaStack, compute: Compute) -> list[str]:
    servers = [stack.client.create(name, host=compute.host) for name in "abc"]
    for server_id in servers:
        stack.client.wait_for(server_id, "ACTIVE")
    return servers


def _told(stack: NovaStack, server_id: str) -> str:
    server = stack.client.show(server_id)
    task = server["OS-EXT-STS:task_state"]
    return f"{server['status']} ({task})" if task else str(server["status"])
