# SPDX-License-Identifier: Apache-2.0
"""The cell's database is restored from a dump while users and guests go on: the edge brings it
back to now by itself."""

from __future__ import annotations

import pathlib
import threading
import time
from collections.abc import Iterator

import pytest

from nova_edge_bus.journal import entries
from tests.nova import hypervisor
from tests.nova import journals
from tests.nova import timeline
from tests.nova.bus import EdgeBus
from tests.nova.bus import journal_directory
from tests.nova.database import CELL1
from tests.nova.processes import wait_until
from tests.nova.stack import Compute
from tests.nova.stack import NovaStack
from tests.nova.timeline import CentralState

pytestmark = [pytest.mark.nova, pytest.mark.slow, pytest.mark.timeout(300)]

_SECONDS = 60
_TEN_MINUTES = 600
STOPPED = "is stopped by a user"
PAUSED = "is paused by a user"
SUSPENDED = "is suspended by a user"
OFF = "powers off by itself"
CYCLED = "is stopped and started again and again"
ROLES = (STOPPED, PAUSED, SUSPENDED, OFF, CYCLED)
_HISTORY = {
    "InstanceAction.action_start",
    "InstanceActionEvent.event_start",
    "InstanceActionEvent.event_finish",
    "InstanceActionEvent.event_finish_with_failure",
}
"""What belongs to requests that nova-api had written down, which are lost."""


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.soak),
        pytest.param("mariadb", marks=pytest.mark.mariadb),
    ]
)
def stack(tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> Iterator[NovaStack]:
    if request.param == "mariadb":
        request.getfixturevalue("mariadb_url")
    # Nova repairs power states by itself now and then; here it must not be what helps.
    periodic = {"sync_power_state_interval": -1, "update_resources_interval": 4}
    with NovaStack(
        tmp_path,
        EdgeBus(),
        computes=1,
        conductors=2,
        backend=request.param,
        options={"DEFAULT": {"report_interval": 2, "service_down_time": 60}},
        compute_options={"DEFAULT": periodic},
    ) as stack:
        yield stack


class Load:
    """A user who stops and starts a server for as long as the block lasts."""

    def __init__(self, stack: NovaStack, server_id: str) -> None:
        self._client = stack.client
        self._id = server_id
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.turns = 0

    def _run(self) -> None:
        while not self._over.is_set():
            self._client.stop(self._id)
            self._client.start(self._id)
            self.turns += 1

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join(_SECONDS)
        assert not self._thread.is_alive()


def boot(stack: NovaStack, compute: Compute) -> dict[str, str]:
    ids = {name: stack.client.create(name[:40], host=compute.host) for name in ROLES}
    for each in ids.values():
        stack.client.wait_for(each, "ACTIVE")
    return ids


def at_centre(stack: NovaStack, ids: dict[str, str]) -> dict[str, CentralState]:
    states = timeline.central_states(stack.client, list(ids.values()))
    return {role: states[server_id] for role, server_id in ids.items()}


@pytest.mark.parametrize(
    "age",
    [0, pytest.param(_TEN_MINUTES, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])],
)
def test_the_centre_is_brought_back_to_now(
    stack: NovaStack, tmp_path: pathlib.Path, age: float
) -> None:
    (compute,) = stack.computes
    journal = journal_directory(compute.state)
    ids = boot(stack, compute)
    dump = tmp_path / "cell1.dump"
    stack.databases.dump(CELL1, dump)
    dumped_at = time.monotonic()
    load = Load(stack, ids[CYCLED])
    load.begin()
    stack.client.stop(ids[STOPPED])
    stack.client.pause(ids[PAUSED])
    stack.client.act(ids[SUSPENDED], "suspend")
    stack.client.wait_for(ids[SUSPENDED], "SUSPENDED")
    compute.hypervisor.set_state(ids[OFF], hypervisor.SHUTDOWN)
    stack.client.wait_for(ids[OFF], "SHUTOFF")
    time.sleep(max(0.0, dumped_at + age - time.monotonic()))
    load.end()
    expected = at_centre(stack, ids)
    wait_until(lambda: journals.entries_pending(journal) == 0, _SECONDS, "the outbox to drain")

    for conductor in stack.conductors:
        conductor.stop(_SECONDS)
    stack.databases.put_back(CELL1, dump)
    went_back = at_centre(stack, ids)
    assert {went_back[role].status for role in ROLES} == {"ACTIVE"}
    for conductor in stack.conductors:
        stack.start_conductor(conductor)

    wait_until(
        lambda: at_centre(stack, ids) == expected,
        _SECONDS + age,
        "the centre to be back",
    )
    drained = _SECONDS + age
    wait_until(lambda: journals.entries_pending(journal) == 0, drained, "the outbox to drain")
    assert load.turns > 0
    assert expected[STOPPED] == CentralState("SHUTOFF", None, "SHUTDOWN")
    assert expected[SUSPENDED] == CentralState("SUSPENDED", None, "SUSPENDED")
    assert journals.forwarded(journal) > len(ROLES)
    dead = {each.method for each in journals.settled(journal, entries.Outcome.DEAD)}
    assert dead <= _HISTORY, "nothing else is refused"

    stack.client.unpause(ids[PAUSED])
    stack.client.start(ids[STOPPED])
