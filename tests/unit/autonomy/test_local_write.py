# SPDX-License-Identifier: Apache-2.0
"""A write that is answered here: journaled with its answer, or not at all."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from nova import exception
from nova import objects

from nova_edge_bus import errors
from nova_edge_bus.autonomy import bodies
from nova_edge_bus.autonomy import local_write
from nova_edge_bus.autonomy import merging
from nova_edge_bus.journal import entries
from nova_edge_bus.protocol import messages
from tests.unit.autonomy import site as sites
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot import rows
from tests.unit.snapshot import test_reads as reads


class _Undone(Exception):
    """Rolls a transaction back."""


@contextlib.contextmanager
def undone(block: contextlib.AbstractContextManager[None]) -> Iterator[None]:
    """Roll a transaction or a savepoint back."""
    with contextlib.suppress(_Undone), block:
        yield
        raise _Undone


class Messages:
    """A way that keeps what was asked, to be done later."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def __call__(self, context: centres.Json, message: centres.Json) -> Any:
        self.bodies.append(bodies.pack(bodies.Request(context, message)))
        return [{"obj_what_changed": []}, None]


@pytest.fixture
def uuid(centre: centres.Centre, site: sites.Site) -> Iterator[str]:
    """An instance that the site knows, while nova's objects ask the site."""
    made = rows.instance(centre).uuid
    rows.service(centre)
    with centres.over(site):
        reads.startup(site)
        objects.Service.get_by_host_and_binary(site.context(), "edge-1", "nova-compute")
        yield made


def save(site: sites.Site, uuid: str, power_state: int) -> None:
    instance = reads.by_uuid(site, uuid)
    instance.power_state = power_state
    instance.save()


def power_state(site: sites.Site, uuid: str) -> int:
    found: int = reads.by_uuid(site, uuid).power_state
    return found


def body_of_save(site: sites.Site, uuid: str, power_state: int) -> bytes:
    """The body of a save that is not made."""
    instance = reads.by_uuid(site, uuid)
    way = Messages()
    with centres.over(way):
        instance.power_state = power_state
        instance.save()
    return way.bodies[0]


def heartbeats(site: sites.Site, *counts: int) -> list[bytes]:
    """The bodies of saves of the service."""
    service = objects.Service.get_by_host_and_binary(site.context(), "edge-1", "nova-compute")
    way = Messages()
    with centres.over(way):
        for count in counts:
            service.report_count = count
            service.save()
    return way.bodies


def test_a_write_is_answered_journaled_and_seen(site: sites.Site, uuid: str) -> None:
    site.linked = False
    save(site, uuid, 4)
    assert power_state(site, uuid) == 4
    (pending,) = site.pending()
    assert (pending.group, pending.method) == (f"instance:{uuid}", "Instance.save")
    site.heal()
    assert site.pending() == []
    assert power_state(site, uuid) == 4
    with centres.direct():
        found = objects.Instance.get_by_uuid(site.centre.context(), uuid)
    assert found.power_state == 4


def test_a_failure_is_raised_and_not_journaled(site: sites.Site, uuid: str) -> None:
    site.linked = False
    instance = reads.by_uuid(site, uuid)
    instance.task_state = "powering-off"
    with pytest.raises(exception.UnexpectedTaskStateError) as caught:
        instance.save(expected_task_state=["rebooting"])
    assert caught.value.kwargs["actual"] == {"task_state": None}
    assert site.pending() == []
    assert site.keeper.snapshot.unsettled() == []
    assert reads.by_uuid(site, uuid).task_state is None
    instance.save(expected_task_state=[None])
    assert reads.by_uuid(site, uuid).task_state == "powering-off"
    assert len(site.pending()) == 1


def test_what_only_the_centre_can_tell_is_not_journaled(
    site: sites.Site, uuid: str, centre: centres.Centre
) -> None:
    unknown = rows.instance(centre, host="other")
    unknown._context = site.context()
    site.linked = False
    unknown.task_state = "powering-off"
    with reads.absent():
        unknown.save(expected_task_state=[None])
    assert site.pending() == []


def test_a_rolled_back_write_is_not_seen(site: sites.Site, uuid: str) -> None:
    write = local_write.LocalWrite(
        site.keeper, sites.entry(body_of_save(site, uuid, 4), f"instance:{uuid}"), None
    )
    site.linked = False
    with undone(site.journal.transaction()):
        assert write.run(site.journal) is not None
        assert power_state(site, uuid) == 4
    assert power_state(site, uuid) == 1
    assert site.keeper.snapshot.unsettled() == []


def test_a_write_that_is_undone_alone_leaves_the_others_of_its_commit(
    site: sites.Site, uuid: str
) -> None:
    bodies_of = [body_of_save(site, uuid, value) for value in (4, 3)]
    first, other = (
        local_write.LocalWrite(site.keeper, sites.entry(body), None) for body in bodies_of
    )
    site.linked = False
    with site.journal.transaction():
        with undone(site.journal.savepoint()):
            first.run(site.journal)
        # The number is given out again.
        written = other.run(site.journal)
    assert written is not None
    assert [each.seq for each in site.pending()] == [written.seq]
    assert site.keeper.snapshot.unsettled() == [written.seq]
    assert power_state(site, uuid) == 3


@pytest.mark.parametrize("is_first_lost", [False, True])
def test_a_commit_that_fails_is_tried_again_write_by_write(
    site: sites.Site, uuid: str, is_first_lost: bool
) -> None:
    writes = [
        local_write.LocalWrite(site.keeper, sites.entry(body_of_save(site, uuid, value)), None)
        for value in (4, 3)
    ]
    site.linked = False
    with undone(site.journal.transaction()):
        for write in writes:
            write.run(site.journal)
    if is_first_lost:
        with undone(site.journal.transaction()):
            writes[0].run(site.journal)
    else:
        with site.journal.transaction():
            writes[0].run(site.journal)
    with site.journal.transaction():
        writes[1].run(site.journal)
    assert power_state(site, uuid) == 3
    assert len(site.pending()) == 1 + (not is_first_lost)
    assert site.keeper.snapshot.unsettled() == [each.seq for each in site.pending()]


def test_a_full_journal_is_the_callers_error_and_changes_nothing(
    site: sites.Site, uuid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.linked = False

    def full(*_: object) -> None:
        raise errors.JournalFull("no room")

    with monkeypatch.context() as patched:
        patched.setattr(site.journal.outbox, "append_many", full)
        with pytest.raises(errors.JournalFull):
            save(site, uuid, 4)
    assert power_state(site, uuid) == 1
    assert site.keeper.snapshot.unsettled() == []


def beat(site: sites.Site, body: bytes) -> local_write.Outcome:
    outcome = site.write_here(sites.entry(body, "host:edge-1"), site.candidates)
    assert outcome is not None
    return outcome


def test_one_of_many_heartbeats_is_left_and_each_other_names_the_next(
    site: sites.Site, uuid: str
) -> None:
    found = heartbeats(site, 1, 2, 3, 4)
    site.linked = False
    outcomes = [beat(site, body) for body in found]
    seqs = [outcome.seq for outcome in outcomes]
    assert [outcome.absorbed for outcome in outcomes] == [None, *seqs[:-1]]
    (pending,) = site.pending()
    assert pending.seq == seqs[-1]
    assert site.keeper.snapshot.unsettled() == seqs[-1:]
    merged = site.ended(entries.Outcome.MERGED)
    assert [(each.seq, each.reason) for each in merged] == [
        (seq, f"entry {later} stands for it") for seq, later in itertools.pairwise(seqs)
    ]
    site.heal()
    with centres.direct():
        service = objects.Service.get_by_host_and_binary(
            site.centre.context(), "edge-1", "nova-compute"
        )
    assert service.report_count == 4


def test_what_is_journaled_is_the_union_of_both(site: sites.Site, uuid: str) -> None:
    service = objects.Service.get_by_host_and_binary(site.context(), "edge-1", "nova-compute")
    site.linked = False
    service.disabled_reason = "one"
    service.save()
    service.report_count = 9
    service.save()
    (pending,) = site.pending()
    target = bodies.request(pending.body).message["args"]["objinst"]
    assert target["nova_object.changes"] == ["disabled_reason", "report_count"]
    read = objects.Service.get_by_host_and_binary(site.context(), "edge-1", "nova-compute")
    assert (read.disabled_reason, read.report_count) == ("one", 9)
    site.restart()
    read = objects.Service.get_by_host_and_binary
    site.heal()
    assert read(site.context(), "edge-1", "nova-compute").disabled_reason == "one"


def test_an_entry_that_was_applied_meanwhile_is_not_absorbed(site: sites.Site, uuid: str) -> None:
    first, second = heartbeats(site, 1, 2)
    site.linked = False
    earlier = beat(site, first)
    assert earlier.seq is not None
    with site.journal.transaction():
        site.journal.outbox.settle_many([(earlier.seq, entries.Outcome.APPLIED, None)])
    later = beat(site, second)
    assert later.absorbed is None
    assert site.ended(entries.Outcome.MERGED) == []
    assert [each.seq for each in site.pending()] == [later.seq]


def test_a_rolled_back_merge_leaves_the_earlier_one(site: sites.Site, uuid: str) -> None:
    first, second = heartbeats(site, 1, 2)
    site.linked = False
    earlier = beat(site, first)
    write = local_write.LocalWrite(
        site.keeper, sites.entry(second, "host:edge-1"), site.candidates
    )
    with undone(site.journal.transaction()):
        outcome = write.run(site.journal)
        assert outcome is not None
        assert outcome.absorbed == earlier.seq
    assert [each.seq for each in site.pending()] == [earlier.seq]
    assert site.keeper.snapshot.unsettled() == [earlier.seq]
    read = objects.Service.get_by_host_and_binary(site.context(), "edge-1", "nova-compute")
    assert read.report_count == 1
    assert beat(site, second).absorbed == earlier.seq


def test_an_uncommitted_entry_is_no_candidate(site: sites.Site, uuid: str) -> None:
    first, second = heartbeats(site, 1, 2)
    write = local_write.LocalWrite(site.keeper, sites.entry(first), site.candidates)
    with site.journal.transaction():
        write.run(site.journal)
    assert site.candidates == {}
    write.committed()
    assert list(site.candidates) == [merging.key(bodies.request(second))]


def test_without_candidates_nothing_is_merged(site: sites.Site, uuid: str) -> None:
    for body in heartbeats(site, 1, 2):
        outcome = site.write_here(sites.entry(body), None)
        assert outcome is not None
        assert outcome.status == messages.Status.OK
    assert len(site.pending()) == 2
