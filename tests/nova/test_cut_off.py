# SPDX-License-Identifier: Apache-2.0
"""What nova-compute keeps doing while it is cut off, and what comes of it at the centre."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from collections.abc import Iterator

import pytest

from nova_edge_bus.journal import schema
from tests.nova import breaks
from tests.nova import hypervisor
from tests.nova import journals
from tests.nova import site_cut
from tests.nova import timeline
from tests.nova import witness
from tests.nova.bus import EdgeBus
from tests.nova.bus import journal_directory
from tests.nova.processes import wait_until
from tests.nova.site_report import Report
from tests.nova.site_report import Role
from tests.nova.stack import Compute
from tests.nova.stack import NovaStack
from tests.nova.timeline import CentralState
from tests.nova.witness import Witness

pytestmark = [pytest.mark.nova, pytest.mark.slow, pytest.mark.timeout(300)]

_CUT_SECONDS = 22
_LONG_SECONDS = 180
_SETTLED_SECONDS = 60
_NOTICED_SECONDS = 30
_BREAK_SECONDS = 4
_ANSWERED_SECONDS = 8
"""Longer than it takes to notice a cut, and shorter than any call's own time-out."""
_IN_FLIGHT = (site_cut.BEING_STOPPED, site_cut.BEING_REBOOTED)
_STOPPED = CentralState("SHUTOFF", None, "SHUTDOWN")


def _ids(role: Role) -> str:
    return role.name.replace(" ", "-")


@pytest.fixture(scope="module")
def bus() -> EdgeBus:
    return EdgeBus()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, bus: EdgeBus) -> Iterator[NovaStack]:
    periodic = {
        "sync_power_state_interval": 4,
        "update_resources_interval": 4,
        "running_deleted_instance_poll_interval": 10,
        "periodic_fuzzy_delay": 0,
    }
    with NovaStack(
        tmp_path_factory.mktemp("nova"),
        bus,
        computes=1,
        far_sites=True,
        options={"DEFAULT": {"report_interval": 4, "service_down_time": 10}},
        compute_options={"DEFAULT": periodic, "edge_bus": {"link_timeout": 2}},
    ) as stack:
        yield stack


@pytest.fixture(scope="module")
def compute(stack: NovaStack) -> Compute:
    return stack.computes[0]


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of all roles, and when it was cut and healed, in seconds since the epoch."""

    report: Report
    seen: Witness
    cut_at: float
    healed_at: float
    restarted_at: float


def _run(stack: NovaStack, compute: Compute, seconds: float, restart: str) -> Run:
    moments: dict[str, float] = {}

    def note(what: str) -> None:
        moments[what] = time.time()

    seen = Witness(compute)
    report = site_cut.run(stack, seconds=seconds, restart=restart, say=note)
    return Run(
        report,
        seen,
        moments[site_cut.CUT],
        moments[site_cut.HEALED],
        moments["nova-compute started"],
    )


@pytest.fixture(scope="module")
def run(stack: NovaStack, compute: Compute) -> Iterator[Run]:
    """A cut in the midst of which nova-compute is killed and started again."""
    run = _run(stack, compute, _CUT_SECONDS, site_cut.KILL)
    yield run
    stack.wait_linked(compute)
    site_cut.delete_servers(stack, run.report)


@pytest.fixture
def servers(stack: NovaStack, compute: Compute) -> Iterator[list[str]]:
    """Four running servers."""
    stack.wait_linked(compute)
    ids = [stack.client.create(f"server-{number}", host=compute.host) for number in range(4)]
    for each in ids:
        stack.client.wait_for(each, "ACTIVE")
    yield ids
    stack.wait_linked(compute)
    for each in stack.client.servers():
        if each["id"] in ids and each["OS-EXT-STS:task_state"] != "deleting":
            stack.client.request_delete(each["id"])
    for server_id in ids:
        stack.client.wait_gone(server_id)


@pytest.mark.parametrize("role", site_cut.ROLES, ids=_ids)
def test_all_is_right_after_the_heal(run: Run, role: Role) -> None:
    """Guests that stop, operations in flight, and what users asked for meanwhile."""
    assert run.report.of(role).right_after is not None


@pytest.mark.parametrize("role", _IN_FLIGHT, ids=_ids)
def test_what_was_in_flight_is_finished_at_the_edge(run: Run, role: Role) -> None:
    outcome = run.report.of(role)
    assert outcome.before_heal[0] == role.edge
    assert outcome.before_heal[1].task_state is not None
    assert outcome.actions[-1].endswith(": Success")


def test_no_server_is_in_error_at_any_time(run: Run) -> None:
    seen = {
        each.status for sample in run.report.timeline.samples for each in sample.centre.values()
    }
    assert "ERROR" not in seen


def test_nova_compute_starts_and_serves_in_the_cut(run: Run) -> None:
    states = [each.compute for each in run.report.timeline.samples if not each.linked]
    assert timeline.DOWN in states
    assert states[-1] == timeline.SERVING
    started = [each for each in run.seen.rpcs("call") if each["at"] > run.restarted_at]
    audits = [each for each in started if each["method"] == "ComputeNodeList.get_all_by_host"]
    assert [each for each in audits if each["at"] < run.healed_at]


def test_every_call_in_the_cut_is_answered_soon(run: Run) -> None:
    calls = [each for each in run.seen.rpcs("call") if run.cut_at < each["at"] < run.healed_at]
    assert {each["method"] for each in calls} >= {
        "InstanceList.get_by_host_and_node",
        "InstanceList.get_by_host",
        "Instance.save",
        "Service.save",
    }
    assert {each["error"] for each in calls} <= _HARMLESS
    assert max(each["seconds"] for each in calls) < _ANSWERED_SECONDS


def test_the_centre_takes_the_host_for_down_and_then_for_up(run: Run) -> None:
    cut = [each.service_up for each in run.report.timeline.samples if not each.linked]
    assert cut[0]
    assert not cut[-1]
    assert run.report.timeline.samples[-1].service_up


def test_heartbeats_of_a_cut_become_one_and_go_last(
    stack: NovaStack, compute: Compute, servers: list[str]
) -> None:
    """The host is not up for the centre before the centre knows what has become of its guests."""
    _wait_beat(compute)  # so that none is under way when the link is cut
    cut = Witness(compute)
    with compute.site.cut_off():
        _wait_cut_off(cut)
        wait_until(lambda: not stack.client.is_up(compute.host), _NOTICED_SECONDS, "down")
        for each in servers:
            _pause_and_resume(compute, each, 5)
        _wait_beat(compute)
        written = cut.written()
        healed_at = time.time()
    wait_until(lambda: stack.client.is_up(compute.host), _SETTLED_SECONDS, "up")
    states = timeline.central_states(stack.client, servers)
    saves = [each for each in written if each.method == "Instance.save"]
    applied = witness.served(stack, "Instance.save", healed_at)[: len(saves)]
    first_beat = witness.served(stack, "Service.save", healed_at)[0]
    assert len(applied) == len(saves) >= 5 * len(servers)
    assert first_beat["at"] >= max(each["at"] + each["seconds"] for each in applied)
    beats = [each for each in written if each.method == "Service.save"]
    assert {each.power_state for each in states.values()} == {"PAUSED"}
    assert [each.state for each in beats] == [
        *[schema.State.MERGED] * (len(beats) - 1),
        schema.State.PENDING,
    ]
    assert len(beats) >= 3
    assert beats[-1].fields["report_count"] == max(
        each.fields["report_count"] for each in beats if each.message
    )


def test_commands_come_after_what_the_edge_wrote_even_when_it_is_cut_off_twice(
    stack: NovaStack, compute: Compute, servers: list[str]
) -> None:
    restless, kept, paused, deleted = servers
    seen = Witness(compute)
    with compute.site.cut_off():
        stack.client.act(paused, "pause")
        stack.client.request_delete(deleted)
        _wait_cut_off(seen)
        _pause_and_resume(compute, restless, 40)
    with _slow(compute):
        wait_until(lambda: _applied(seen, restless) > 0, _SETTLED_SECONDS, "some to be applied")
        again = Witness(compute)
        with compute.site.cut_off():
            assert _pending(compute) > 0
            assert not seen.methods("served") & _USERS
            _wait_cut_off(again)
            _pause_and_resume(compute, restless, 4)
            compute.hypervisor.set_state(restless, hypervisor.PAUSED)
            compute.hypervisor.set_state(kept, hypervisor.PAUSED)
            _wait_written(seen, kept)
        stack.client.wait_for(paused, "PAUSED")
    stack.client.wait_gone(deleted)
    stack.wait_linked(compute)
    wait_until(lambda: _pending(compute) == 0, _SETTLED_SECONDS, "the outbox to drain")
    written = seen.written()
    assert {each.state for each in written} <= {*schema.TAKEN, schema.State.MERGED}
    assert _applied(seen, restless) >= 44
    commands = [each for each in seen.rpcs("served") if each["method"] in _USERS]
    assert {each["method"] for each in commands} == _USERS
    applied = [each for each in written if each.fields.get("uuid") == restless]
    assert max(each.changed_at for each in applied) <= min(each["at"] for each in commands)
    assert compute.hypervisor.domains()[paused].state == hypervisor.PAUSED
    assert compute.hypervisor.find(deleted) is None
    states = timeline.central_states(stack.client, [restless, kept])
    assert {each.power_state for each in states.values()} == {"PAUSED"}


def test_a_build_at_the_moment_of_the_cut_ends_with_the_link(
    stack: NovaStack, compute: Compute
) -> None:
    """It has reached nova-compute, which can ask nobody for it any more: nothing is made up.

    Nova does not always say ERROR of a server whose placement cannot be asked, but it has no more
    to do with it, and the user can delete it.
    """
    client = stack.client
    compute.process.freeze()
    _let_come(compute)
    before = compute.relay.traffic
    server_id = client.create("too-late", host=compute.host)
    wait_until(
        lambda: (compute.relay.traffic - before).down > _BUILD_BYTES, _NOTICED_SECONDS, "the build"
    )
    seen = Witness(compute)
    with compute.site.cut_off():
        compute.process.thaw()
        wait_until(lambda: "Starting instance..." in seen.log(), _NOTICED_SECONDS, "its begin")
        _wait_cut_off(seen)
        time.sleep(_BREAK_SECONDS)
        assert not [each for each in seen.written() if each.method.endswith(".create")]
    stack.wait_linked(compute)
    wait_until(lambda: _has_ended(stack, server_id), _SETTLED_SECONDS, "the build to end")
    assert client.show(server_id)["OS-EXT-STS:task_state"] is None
    client.delete(server_id)
    wait_until(
        lambda: compute.hypervisor.find(server_id) is None, _SETTLED_SECONDS, "the domain to go"
    )


@pytest.mark.parametrize("what", ["endpoints killed", "conductors gone", "frozen conductors"])
def test_a_broken_centre_loses_nothing(
    stack: NovaStack, bus: EdgeBus, compute: Compute, servers: list[str], what: str
) -> None:
    stopped, powers_off, panics, deleted = servers
    seen = Witness(compute)
    broken: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
        "endpoints killed": lambda: breaks.endpoints_killed(bus),
        "conductors gone": lambda: breaks.conductors_gone(stack),
        "frozen conductors": lambda: breaks.frozen_conductors(stack),
    }
    with broken[what]():
        compute.hypervisor.set_state(powers_off, hypervisor.SHUTDOWN)
        compute.hypervisor.set_state(panics, hypervisor.CRASHED)
        stack.client.act(stopped, "os-stop")
        stack.client.request_delete(deleted)
        _wait_written(seen, powers_off)
        _wait_written(seen, panics)
        time.sleep(_BREAK_SECONDS)
    for each in (stopped, powers_off, panics):
        stack.client.wait_for(each, "SHUTOFF")
    stack.client.wait_gone(deleted)
    wait_until(
        lambda: compute.hypervisor.find(deleted) is None, _SETTLED_SECONDS, "the domain to go"
    )
    states = timeline.central_states(stack.client, [stopped, powers_off, panics])
    assert set(states.values()) == {_STOPPED}
    assert set(timeline.edge_states(compute, list(states)).values()) == {"SHUTDOWN"}
    assert {each["error"] for each in seen.rpcs("call")} <= _HARMLESS


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("restart", [site_cut.GRACEFUL, site_cut.KILL])
def test_all_is_right_after_a_long_cut(stack: NovaStack, compute: Compute, restart: str) -> None:
    run = _run(stack, compute, _LONG_SECONDS, restart)
    stack.wait_linked(compute)
    site_cut.delete_servers(stack, run.report)
    assert not run.report.wrong
    errors = {each["error"] for each in run.seen.rpcs("call") if each["at"] < run.healed_at}
    assert errors <= _HARMLESS
    assert run.report.longest_call < _ANSWERED_SECONDS


_HARMLESS = frozenset({None, "UnexpectedTaskStateError_Remote", "InstanceNotFound_Remote"})
"""What any nova sees: two who find a guest stopped, one who looks at a guest that has gone."""
_USERS = frozenset({"pause_instance", "terminate_instance"})
_BUILD_BYTES = 300
"""A build's command is larger than this, compressed; a PING is smaller by far."""


def _let_come(compute: Compute) -> None:
    """Wait for the replies that were under way to a compute that asks nothing any more."""
    down = -1
    while down != (down := compute.relay.traffic.down):
        time.sleep(0.3)


def _pending(compute: Compute) -> int:
    return journals.entries_pending(journal_directory(compute.state))


def _applied(seen: Witness, server_id: str) -> int:
    """Return how many saves of the server the centre has applied."""
    return sum(
        each.state in schema.TAKEN and each.fields.get("uuid") == server_id
        for each in seen.written()
    )


def _has_ended(stack: NovaStack, server_id: str) -> bool:
    """Whether all that nova-compute has begun for a server has a result."""
    (action,) = stack.client.actions(server_id)
    results = {each["event"]: each["result"] for each in action["events"]}
    return results.get("compute__do_build_and_run_instance") is not None


@contextlib.contextmanager
def _slow(compute: Compute) -> Iterator[None]:
    """Let the link be a slow one, so that catching up takes a while."""
    compute.relay.delay(0.2)
    compute.relay.throttle(30_000)
    try:
        yield
    finally:
        compute.relay.delay(0)
        compute.relay.throttle(None)


def _wait_beat(compute: Compute) -> None:
    """Return when the next heartbeat has been answered."""
    seen = Witness(compute)
    wait_until(lambda: "Service.save" in seen.methods("call"), _NOTICED_SECONDS, "a heartbeat")


def _wait_cut_off(seen: Witness) -> None:
    """Return when the edge has noticed, since a moment before the cut."""
    wait_until(lambda: " is cut off: " in seen.log(), _NOTICED_SECONDS, "the cut to be noticed")


def _wait_written(seen: Witness, server_id: str) -> None:
    """Return when the server's present power state is in the journal."""
    wait_until(
        lambda: any(
            each.method == "Instance.save" and each.fields.get("uuid") == server_id
            for each in seen.written()
        ),
        _NOTICED_SECONDS,
        f"an entry for {server_id}",
    )


def _pause_and_resume(compute: Compute, server_id: str, times: int) -> None:
    """Let the guest change its state, each time with an entry in the journal."""
    for number in range(times):
        seen = Witness(compute)
        state = hypervisor.RUNNING if number % 2 else hypervisor.PAUSED
        compute.hypervisor.set_state(server_id, state)
        _wait_written(seen, server_id)
