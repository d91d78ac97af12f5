# SPDX-License-Identifier: Apache-2.0
"""Edge and centre have changed the same servers while they could not hear of each other."""

from __future__ import annotations

import collections
import contextlib
import json
import re
import sqlite3
import time
from collections.abc import Iterator

import pytest

from nova_edge_bus.journal import entries
from tests.nova import conflicts
from tests.nova import hypervisor
from tests.nova import witness
from tests.nova.bus import EdgeBus
from tests.nova.conflicts import Conflicts
from tests.nova.processes import wait_until
from tests.nova.stack import Compute
from tests.nova.stack import NovaStack
from tests.nova.timeline import CentralState

pytestmark = [pytest.mark.nova, pytest.mark.slow, pytest.mark.timeout(300)]

_SECONDS = 60
_HELD_SECONDS = 10
_ENTRIES_BYTES = 1000
"""More than it takes to dial, and less than the entries of six crashes, compressed."""
_PASSED_ON_SECONDS = 0.5
"""From the endpoint to the conductors, which then wait for the database."""
_LOCK_SECONDS = 30
_CRASHING = tuple(f"crashes-{number}" for number in range(6))
_DONE = (entries.Outcome.APPLIED, entries.Outcome.MERGED)
_DEAD = entries.Outcome.DEAD
_HISTORY = {
    "InstanceAction.action_start",
    "InstanceActionEvent.event_start",
    "InstanceActionEvent.event_finish_with_failure",
}


@pytest.fixture(scope="module")
def bus() -> EdgeBus:
    return EdgeBus()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, bus: EdgeBus) -> Iterator[NovaStack]:
    periodic = {
        "sync_power_state_interval": 4,
        "update_resources_interval": 4,
        "running_deleted_instance_poll_interval": 6,
        "periodic_fuzzy_delay": 0,
    }
    with NovaStack(
        tmp_path_factory.mktemp("nova"),
        bus,
        computes=2,
        conductors=2,
        far_sites=True,
        # a service is down when it is forced down, and not before
        options={"DEFAULT": {"report_interval": 2, "service_down_time": 60}},
        compute_options={"DEFAULT": periodic, "edge_bus": {"link_timeout": 2}},
    ) as stack:
        yield stack


@pytest.fixture(scope="module")
def compute(stack: NovaStack) -> Compute:
    return stack.computes[0]


@pytest.fixture(scope="module", params=[0, 1], ids=["one", "other"])
def seen(stack: NovaStack, request: pytest.FixtureRequest) -> Conflicts:
    """What becomes of everything, with one conductor to apply it and with the other."""
    return conflicts.run(stack, stack.conductors[request.param])


def test_a_user_stops_what_has_crashed(seen: Conflicts) -> None:
    assert seen.centre[conflicts.STOPPED] == CentralState("SHUTOFF", None, "SHUTDOWN")
    assert seen.guests[conflicts.STOPPED] == "SHUTDOWN"
    assert seen.of(conflicts.STOPPED, *_DONE)
    assert not seen.of(conflicts.STOPPED, _DEAD), "the state that it would set is there"


def test_a_deletion_waits_for_what_the_edge_wrote_and_wins(seen: Conflicts) -> None:
    row = seen.after[conflicts.DELETED]
    assert row["deleted"]
    assert row["vm_state"] == "deleted"
    assert seen.guests[conflicts.DELETED] == "gone"
    refused = seen.of(conflicts.DELETED, _DEAD)
    assert {each.name for each in refused} == {"Instance.save"}
    for each in refused:
        assert (each.reason or "").startswith("UnexpectedDeletingTaskStateError: ")


def test_nothing_lands_on_a_server_that_was_deleted(seen: Conflicts) -> None:
    before, after = seen.before[conflicts.REMOVED], seen.after[conflicts.REMOVED]
    assert before["deleted"]
    assert after == before
    assert seen.guests[conflicts.REMOVED] == "gone"
    _only_history_lands(seen, conflicts.REMOVED, "was deleted at the centre")


@pytest.mark.parametrize("role", [conflicts.EVACUATED, conflicts.LOST], ids=["crashed", "lost"])
def test_nothing_lands_on_a_server_that_was_evacuated(seen: Conflicts, role: str) -> None:
    before, after = seen.before[role], seen.after[role]
    assert before["host"] == "compute-1"
    assert after == before
    assert seen.centre[role] == CentralState("ACTIVE", None, "RUNNING")
    assert seen.refuge[role] == "RUNNING"
    reason = "is on host compute-1 at the centre; the entry was written while it was on compute-0"
    _only_history_lands(seen, role, reason)


def test_the_fault_of_a_guest_that_was_evacuated_does_not_land(seen: Conflicts) -> None:
    refused = {each.name for each in seen.of(conflicts.LOST, _DEAD)}
    assert "InstanceFault.create" in refused
    assert seen.faults == []


def test_nova_destroys_the_guest_that_was_evacuated(seen: Conflicts) -> None:
    """When nova-compute starts, as after any evacuation."""
    assert seen.guests[conflicts.EVACUATED] == "SHUTDOWN"
    assert seen.guests_restarted[conflicts.EVACUATED] == "gone"


def test_metadata_of_both_sides_is_kept(seen: Conflicts) -> None:
    assert seen.centre[conflicts.SUSPENDED] == CentralState("SUSPENDED", None, "SUSPENDED")
    assert seen.keys["instance_metadata"] == conflicts.BY_USER
    by_both = seen.keys["instance_system_metadata"].items()
    assert by_both >= {conflicts.BY_CENTRE, ("old_vm_state", "active")}
    assert not seen.of(conflicts.SUSPENDED, _DEAD)


def test_a_state_that_was_set_at_the_centre_stays(seen: Conflicts) -> None:
    """What the guest does is saved by itself, and the operator is told of both."""
    assert seen.centre[conflicts.RESET] == CentralState("ACTIVE", None, "PAUSED")
    (refused,) = seen.of(conflicts.RESET, _DEAD)
    reason = refused.reason or ""
    assert "Expected: {'task_state': ['pausing']}" in reason
    saved, _, missing = reason.partition(" saved: ")[2].partition("; not saved: ")
    assert saved == "power_state=3 (the centre had 1)"
    assert "vm_state='paused' (the centre has 'active')" in missing


def test_what_nobody_disputes_is_applied(seen: Conflicts) -> None:
    assert seen.centre[conflicts.OTHER] == CentralState("ACTIVE", None, "PAUSED")
    assert seen.of(conflicts.OTHER, *_DONE)
    assert not seen.of(conflicts.OTHER, _DEAD)


def test_each_refusal_is_reported(seen: Conflicts, compute: Compute) -> None:
    log = compute.process.log_text()
    dead = [each for each in seen.written if each.outcome is _DEAD]
    assert dead
    for each in dead:
        assert f" seq={each.seq} group=instance:{each.server_id}: it was answered here and" in log


def test_history_is_whole(seen: Conflicts) -> None:
    assert seen.unfinished == []


def test_a_lost_answer_is_not_taken_for_a_conflict(
    stack: NovaStack, bus: EdgeBus, compute: Compute
) -> None:
    """Conductors are killed after their commits, before anybody has heard of these."""
    ids = conflicts.boot(stack, compute, _CRASHING)
    after = conflicts.last_seq(compute)
    logged = _applied_before(stack)
    with compute.site.cut_off():
        for server_id in ids.values():
            compute.hypervisor.set_state(server_id, hypervisor.CRASHED)
        wait_until(lambda: _finished(compute, after) >= set(ids.values()), _SECONDS, "the edge")
        held = contextlib.ExitStack()
        held.enter_context(_database_held(stack))
        before = compute.relay.traffic
    with held:
        wait_until(
            lambda: (compute.relay.traffic - before).up > _ENTRIES_BYTES, _HELD_SECONDS, "entries"
        )
        time.sleep(_PASSED_ON_SECONDS)
        for endpoint in bus.processes:
            endpoint.freeze()
    _await_commits(stack)
    _kill_centre(stack, bus)
    left = conflicts.pending(compute)
    wait_until(lambda: conflicts.pending(compute) < left or left == 0, _SECONDS, "an answer")
    _kill_conductors(stack)
    for server_id in ids.values():
        stack.client.wait_for(server_id, "SHUTOFF")
    wait_until(lambda: conflicts.pending(compute) == 0, _SECONDS, "the outbox to drain")
    written = conflicts.written(compute, after)
    assert {each.outcome for each in written} <= set(_DONE)
    for server_id in ids.values():
        assert _events(stack, server_id) == {
            ("create", "compute__do_build_and_run_instance", "Success"): 1,
            ("stop", "compute_stop_instance", "Success"): 1,
        }
        actions = "SELECT action FROM instance_actions WHERE instance_uuid = :uuid"
        done = [each["action"] for each in witness.rows(stack, actions, uuid=server_id)]
        assert sorted(done) == ["create", "stop"]
        faults = "SELECT * FROM instance_faults WHERE instance_uuid = :uuid"
        assert witness.rows(stack, faults, uuid=server_id) == []
    again = _applied_before(stack) - logged
    shipped_again = {each.name for each in written if each.seq in again}
    # A few entries of a backlog are at work at once; which of them were, chance decides.
    assert shipped_again & {"Instance.save", *_HISTORY}


def _only_history_lands(seen: Conflicts, role: str, reason: str) -> None:
    """What happened did happen; what the edge said of the server is refused for that reason."""
    refused = seen.of(role, _DEAD)
    # the crash is noticed, a stop is asked for, and it is done
    assert len(refused) >= 3 or role == conflicts.LOST
    assert {each.name for each in refused} <= {"Instance.save", "InstanceFault.create"}
    for each in refused:
        said, _, found = (each.reason or "").partition("\n")
        assert said == f"Fenced: instance {each.server_id} {reason}"
        assert "actual" in json.loads(found)
    until = max(each.seq for each in refused)
    landed = [each for each in seen.of(role, *_DONE) if each.seq < until]
    assert {each.name for each in landed} <= _HISTORY


def _finished(compute: Compute, after: int) -> set[str]:
    return {
        each.server_id
        for each in conflicts.written(compute, after)
        if each.name == "InstanceActionEvent.event_finish_with_failure"
    }


@contextlib.contextmanager
def _database_held(stack: NovaStack) -> Iterator[None]:
    """Let nobody write to the cell's database."""
    path = stack.databases.url("nova_cell1").removeprefix("sqlite:///")
    connection = sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)
    with contextlib.closing(connection):
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def _await_commits(stack: NovaStack) -> None:
    """Return when the conductors have applied what they had been given."""
    count = "SELECT count(*) AS entries FROM edge_bus_inbox"
    found = [-1, -2]

    def calm() -> bool:
        time.sleep(0.5)
        found.append(int(witness.rows(stack, count)[0]["entries"]))
        return found[-1] == found[-2]

    wait_until(calm, _SECONDS, "the conductors to be through")


def _applied_before(stack: NovaStack) -> set[int]:
    """Return the seqs of all entries that conductors have met for a second time."""
    log = "".join(each.log_text() for each in stack.conductors)
    return {int(seq) for seq in re.findall(r"seq=(\d+) part=\d+ was applied before", log)}


def _kill_centre(stack: NovaStack, bus: EdgeBus) -> None:
    """Kill conductors and endpoints, and start them again."""
    for process in (*stack.conductors, *bus.processes):
        process.kill()
    for number, _ in enumerate(bus.processes):
        bus.start_endpoint(number)
    for conductor in stack.conductors:
        stack.start_conductor(conductor)


def _kill_conductors(stack: NovaStack) -> None:
    for conductor in stack.conductors:
        conductor.kill()
    for conductor in stack.conductors:
        stack.start_conductor(conductor)


def _events(stack: NovaStack, server_id: str) -> dict[tuple[str, str, str], int]:
    query = (
        "SELECT a.action, e.event, e.result FROM instance_actions_events e"
        " JOIN instance_actions a ON a.id = e.action_id WHERE a.instance_uuid = :uuid"
    )
    found = witness.rows(stack, query, uuid=server_id)
    return collections.Counter((row["action"], row["event"], row["result"]) for row in found)
