# SPDX-License-Identifier: Apache-2.0
"""The life of a server through nova's API, step by step, with what each step costs the link."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

from tests.nova import hypervisor
from tests.nova import journals
from tests.nova import rpc_trace
from tests.nova.bus import journal_directory
from tests.nova.client import NovaClient
from tests.nova.stack import NovaStack

# what a first start hears about itself, and a server outside all groups
_ANSWERS = (None, "ComputeHostNotFound_Remote", "InstanceGroupNotFound_Remote")
_QUIET_SECONDS = 0.3
_SETTLE_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Cost:
    """Sums over all computes: RPCs sent and served, journal entries, bytes on the links."""

    rpcs: int = 0
    entries: int = 0
    up_bytes: int = 0
    down_bytes: int = 0

    def __sub__(self, earlier: Cost) -> Cost:
        return Cost(
            self.rpcs - earlier.rpcs,
            self.entries - earlier.entries,
            self.up_bytes - earlier.up_bytes,
            self.down_bytes - earlier.down_bytes,
        )


@dataclasses.dataclass(frozen=True)
class Step:
    """A finished step: how long the API user waited, and what the computes' links carried."""

    name: str
    seconds: float
    cost: Cost


class MismatchError(Exception):
    """Nova and the hypervisors disagree about a server."""


def cost_so_far(stack: NovaStack) -> Cost:
    """Return the sums since the stack was started."""
    traffic = [compute.relay.traffic for compute in stack.computes]
    return Cost(
        rpcs=sum(1 for compute in stack.computes for _ in rpc_trace.read(compute.rpc_trace)),
        entries=sum(
            journals.entries_written(journal_directory(compute.state))
            for compute in stack.computes
        ),
        up_bytes=sum(each.up for each in traffic),
        down_bytes=sum(each.down for each in traffic),
    )


def failed_rpcs(stack: NovaStack) -> dict[str, int]:
    """Return what the computes asked for and did not get, as `method: error` with its count.

    Nova logs no such error when it happens in a thread whose outcome nobody asks for. Exceptions
    that are the answer to the question are left out.
    """
    return collections.Counter(
        f"{record['method']}: {record['error']}"
        for compute in stack.computes
        for record in rpc_trace.read(compute.rpc_trace)
        if record["error"] not in _ANSWERS
    )


def full_life(client: NovaClient, host: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the steps of a server's life from boot to delete, two moves between hosts included.

    :param host: where to boot it
    """
    server_id = client.create("lifecycle", host=host)
    yield "boot", lambda: _wait_active(client, server_id)
    yield "stop", lambda: client.stop(server_id)
    yield "start", lambda: client.start(server_id)
    yield "reboot", lambda: client.reboot(server_id)
    yield "hard reboot", lambda: client.reboot(server_id, hard=True)
    yield "pause", lambda: client.pause(server_id)
    yield "unpause", lambda: client.unpause(server_id)
    yield "resize to the other host", lambda: client.resize(server_id, "large")
    yield "live-migrate back", lambda: client.live_migrate(server_id, host)
    yield "delete", lambda: client.delete(server_id)


def short_life(client: NovaClient, host: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield boot, stop and delete."""
    server_id = client.create("short", host=host)
    yield "boot", lambda: _wait_active(client, server_id)
    yield "stop", lambda: client.stop(server_id)
    yield "delete", lambda: client.delete(server_id)


def run(
    stack: NovaStack, life: Callable[[NovaClient, str], Iterator[tuple[str, Callable[[], None]]]]
) -> Iterator[Step]:
    """Take the steps of a life one after the other, and check each against the hypervisors.

    :raises ServerError: when a server does not get where it should
    :raises MismatchError: when the API says one thing and the hypervisors another
    """
    before = cost_so_far(stack)
    began = time.monotonic()
    for name, act in life(stack.client, stack.computes[0].host):
        act()
        seconds = time.monotonic() - began
        settled = _settled_cost(stack)
        _check_hypervisors(stack)
        yield Step(name, seconds, settled - before)
        before, began = settled, time.monotonic()


def _wait_active(client: NovaClient, server_id: str) -> None:
    client.wait_for(server_id, "ACTIVE")


def _settled_cost(stack: NovaStack) -> Cost:
    """Return the sums once the computes have said their last about the step."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    latest = cost_so_far(stack)
    while True:
        time.sleep(_QUIET_SECONDS)
        before, latest = latest, cost_so_far(stack)
        if latest == before or time.monotonic() > deadline:
            return latest


def _check_hypervisors(stack: NovaStack) -> None:
    power_states = {
        "ACTIVE": hypervisor.RUNNING,
        "SHUTOFF": hypervisor.SHUTDOWN,
        "PAUSED": hypervisor.PAUSED,
    }
    expected = {
        (server["OS-EXT-SRV-ATTR:host"], server["id"]): power_states[server["status"]]
        for server in stack.client.servers()
    }
    actual = {
        (compute.host, domain.uuid): domain.state
        for compute in stack.computes
        for domain in compute.hypervisor.domains().values()
    }
    if expected != actual:
        raise MismatchError(f"nova knows {expected}, the hypervisors have {actual}")


def total(steps: Sequence[Step]) -> Step:
    """Return the sums of all steps as one."""
    fields = [field.name for field in dataclasses.fields(Cost)]
    sums = {name: sum(getattr(step.cost, name) for step in steps) for name in fields}
    return Step("all", sum(step.seconds for step in steps), Cost(**sums))


def table(steps: Sequence[Step]) -> str:
    """Return the steps as lines of text, with the sums below."""
    return "\n".join([HEADING, *map(row, steps), row(total(steps))])


def row(step: Step) -> str:
    """Return one line of the table, to stand below HEADING."""
    cost = step.cost
    numbers = (cost.rpcs, cost.entries, cost.up_bytes, cost.down_bytes)
    return _line(step.name, f"{step.seconds:.2f}", *(f"{number:,}" for number in numbers))


def _line(name: str, *cells: str) -> str:
    return f"{name:<26}" + "".join(f"{cell:>12}" for cell in cells)


HEADING = _line("step", "seconds", "RPCs", "journaled", "bytes up", "bytes down")
