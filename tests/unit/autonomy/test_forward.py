# SPDX-License-Identifier: Apache-2.0
"""What the centre has lost is brought forward from the journal: all of it, and nothing newer."""

from __future__ import annotations

import json
import pathlib
import random
from collections.abc import Iterator
from typing import Any

import pytest
from nova import exception
from nova import objects

from nova_edge_bus.autonomy import bodies
from nova_edge_bus.autonomy import forward
from nova_edge_bus.journal import entries
from tests.unit.autonomy import site as sites
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot import rows
from tests.unit.snapshot import test_reads as reads


class Time:
    """A centre whose database can be put back to an earlier moment."""

    def __init__(self, site: sites.Site, directory: pathlib.Path) -> None:
        self._site = site
        self._directory = directory
        self._copies: list[centres.Centre] = []
        self._first = 0

    def keep(self) -> None:
        """Copy the database; what the site appends from now on is lost when it is put back."""
        self._copies.append(self._site.centre.copy(self._directory / f"{len(self._copies)}.db"))
        self._first = self.next_seq()

    def next_seq(self) -> int:
        with self._site.journal.transaction():
            return int(self._site.journal.outbox.counters()["appended"]) + 1

    def put_back(self) -> list[int]:
        """Put the copy in the place of the database; return the seqs of what it lacks."""
        self._site.centre = self._copies[-1]
        with self._site.journal.transaction():
            found = self._site.journal.outbox.history.down(None, self._first, None)
            pending = {
                each.seq
                for each in self._site.journal.outbox.pending(sites.ADDRESS, 0, 10**6, 1 << 40)
            }
        return [each.seq for each in found if each.seq not in pending]

    def close(self) -> None:
        for each in self._copies:
            each.close()


@pytest.fixture
def time(site: sites.Site, tmp_path: pathlib.Path) -> Iterator[Time]:
    made = Time(site, tmp_path)
    yield made
    made.close()


@pytest.fixture
def uuid(centre: centres.Centre, site: sites.Site) -> Iterator[str]:
    made = rows.instance(centre).uuid
    rows.service(centre)
    with centres.over(site):
        reads.startup(site)
        yield made


def at_centre(site: sites.Site, uuid: str) -> Any:
    with centres.direct():
        return objects.Instance.get_by_uuid(
            site.centre.context(), uuid, expected_attrs=["metadata", "system_metadata"]
        )


def request_at_centre(site: sites.Site, uuid: str, task_state: str) -> None:
    """What nova-api does before it sends a command."""
    with centres.direct():
        found = at_centre(site, uuid)
        found.task_state = task_state
        found.save(expected_task_state=[None])


def save(site: sites.Site, uuid: str, expected: Any = None, **values: Any) -> None:
    instance = reads.by_uuid(site, uuid)
    for name, value in values.items():
        setattr(instance, name, value)
    instance.save(expected_task_state=expected)


def bring_forward(site: sites.Site, lost: list[int]) -> list[forward.Moved]:
    run = forward.Forwarding(lost, site.keeper.known)
    more = True
    while more:
        with site.journal.transaction():
            more = run.look(site.journal)
    with site.journal.transaction():
        moved = run.write(site.journal)
    for each in moved:
        site.keeper.wrote(each.seq, each.entry.body)
    return moved


def changes(moved: forward.Moved) -> list[str]:
    target = bodies.request(moved.entry.body).message["args"]["objinst"]
    return list(target["nova_object.changes"])


def test_a_finished_operation_is_finished_again(site: sites.Site, time: Time, uuid: str) -> None:
    time.keep()
    request_at_centre(site, uuid, "powering-off")
    save(site, uuid, ["powering-off"], vm_state="stopped", power_state=4, task_state=None)
    lost = time.put_back()
    assert at_centre(site, uuid).vm_state == "active"
    bring_forward(site, lost)
    site.heal()
    found = at_centre(site, uuid)
    assert (found.vm_state, found.power_state, found.task_state) == ("stopped", 4, None)


def test_an_operation_begun_before_the_copy_is_finished(
    site: sites.Site, time: Time, uuid: str
) -> None:
    request_at_centre(site, uuid, "rebooting")
    time.keep()
    save(site, uuid, ["rebooting"], task_state="reboot_started")
    save(site, uuid, ["reboot_started"], task_state=None, power_state=1)
    lost = time.put_back()
    bring_forward(site, lost)
    site.heal()
    assert at_centre(site, uuid).task_state is None


def test_what_the_centre_has_begun_since_is_left_alone(
    site: sites.Site, time: Time, uuid: str
) -> None:
    time.keep()
    request_at_centre(site, uuid, "powering-off")
    save(site, uuid, ["powering-off"], vm_state="stopped", power_state=4, task_state=None)
    lost = time.put_back()
    request_at_centre(site, uuid, "deleting")
    (moved,) = bring_forward(site, lost)
    site.linked = True
    status, reply = site.apply(moved.entry.body)
    assert status != 0
    assert json.loads(reply)["class"] == "UnexpectedDeletingTaskStateError"
    assert at_centre(site, uuid).task_state == "deleting"


def test_what_was_applied_after_the_restore_stays(site: sites.Site, time: Time, uuid: str) -> None:
    time.keep()
    save(site, uuid, power_state=4, progress=10)
    lost = time.put_back()
    save(site, uuid, power_state=1)
    (moved,) = bring_forward(site, lost)
    assert changes(moved) == ["progress"]
    site.heal()
    found = at_centre(site, uuid)
    assert (found.power_state, found.progress) == (1, 10)


@pytest.mark.parametrize("late", [False, True], ids=["before", "while it is looked through"])
def test_what_is_under_way_stays(site: sites.Site, time: Time, uuid: str, late: bool) -> None:
    time.keep()
    save(site, uuid, power_state=4, progress=10)
    lost = time.put_back()
    site.linked = False
    run = forward.Forwarding(lost, site.keeper.known)
    if not late:
        save(site, uuid, power_state=1)
    with site.journal.transaction():
        while run.look(site.journal):
            pass
    if late:
        save(site, uuid, power_state=1)
    with site.journal.transaction():
        (moved,) = run.write(site.journal)
    assert changes(moved) == ["progress"]
    site.heal()
    found = at_centre(site, uuid)
    assert (found.power_state, found.progress) == (1, 10)


def test_a_field_is_written_once(site: sites.Site, time: Time, uuid: str) -> None:
    time.keep()
    for step in range(20):
        save(site, uuid, progress=step)
    save(site, uuid, power_state=4)
    lost = time.put_back()
    moved = bring_forward(site, lost)
    assert [changes(each) for each in moved] == [["progress"], ["power_state"]]
    site.heal()
    assert at_centre(site, uuid).progress == 19


def test_what_is_no_save_is_done_as_it_was(site: sites.Site, time: Time, uuid: str) -> None:
    time.keep()
    for message in ("first", "second"):
        fault = objects.InstanceFault(
            site.context(),
            instance_uuid=uuid,
            code=500,
            message=message,
            host="edge-1",
            details="",
        )
        fault.create()
    lost = time.put_back()
    bring_forward(site, lost)
    site.heal()
    with centres.direct():
        found = objects.InstanceFaultList.get_by_instance_uuids(site.centre.context(), [uuid])
    assert sorted(each.message for each in found) == ["first", "second"]


def test_it_is_fenced_by_where_the_instance_was(site: sites.Site, time: Time, uuid: str) -> None:
    time.keep()
    save(site, uuid, power_state=4)
    (moved,) = bring_forward(site, time.put_back())
    assert bodies.request(moved.entry.body).note == {"instance_host": "edge-1"}


def test_the_lost_entry_says_what_stands_for_it(site: sites.Site, time: Time, uuid: str) -> None:
    time.keep()
    save(site, uuid, power_state=3)
    save(site, uuid, power_state=4)
    lost = time.put_back()
    (moved,) = bring_forward(site, lost)
    ended = {each.seq: each for each in site.ended(entries.Outcome.MERGED)}
    assert ended.keys() == set(lost)
    assert ended[moved.was].reason == f"the centre has lost it; entry {moved.seq} stands for it"
    assert "later entries write all" in str(ended[min(lost)].reason)
    assert time.next_seq() - 1 == moved.seq


def test_what_is_not_applied_cannot_be_lost(site: sites.Site, uuid: str) -> None:
    site.linked = False
    save(site, uuid, power_state=4)
    (pending,) = site.pending()
    with pytest.raises(ValueError, match="are not applied"):
        bring_forward(site, [pending.seq])
    assert len(site.pending()) == 1


def test_a_restart_shows_the_newest(site: sites.Site, time: Time, uuid: str) -> None:
    time.keep()
    save(site, uuid, power_state=3, progress=1)
    save(site, uuid, power_state=4)
    lost = time.put_back()
    site.save()
    bring_forward(site, lost)
    site.restart()
    site.linked = False
    found = reads.by_uuid(site, uuid)
    assert (found.power_state, found.progress) == (4, 1)


@pytest.mark.parametrize("seed", range(12))
def test_any_history(
    site: sites.Site, time: Time, centre: centres.Centre, uuid: str, seed: int
) -> None:
    """Whatever was lost, and whatever came after, the last write of each field is what stands."""
    chance = random.Random(seed)
    instances = [uuid, rows.instance(centre).uuid]
    reads.startup(site)
    expected: dict[tuple[str, str], Any] = {}

    def write(most: int) -> None:
        for _ in range(chance.randrange(most)):
            values = {
                "power_state": chance.choice([1, 3, 4]),
                "progress": chance.randrange(100),
                "vm_state": chance.choice(["active", "stopped", "paused"]),
                "launched_on": f"host-{chance.randrange(9)}",
                "system_metadata": {"s": str(chance.randrange(9))},
            }
            chosen = chance.choice(instances)
            some = {name: values[name] for name in chance.sample(sorted(values), 2)}
            save(site, chosen, **some)
            expected.update({(chosen, name): value for name, value in some.items()})

    write(4)
    time.keep()
    write(10)
    lost = time.put_back()
    write(4)
    site.linked = False
    write(4)
    if lost:
        bring_forward(site, lost)
    write(4)
    assert {key: getattr(reads.by_uuid(site, key[0]), key[1]) for key in expected} == expected
    site.heal()
    assert {key: getattr(at_centre(site, key[0]), key[1]) for key in expected} == expected


def test_a_refused_copy_raises_at_the_centre(site: sites.Site, time: Time, uuid: str) -> None:
    """An instance that the restored database does not have cannot be brought forward."""
    time.keep()
    with centres.direct():
        made = rows.instance(site.centre)
    reads.startup(site)
    save(site, made.uuid, power_state=4)
    lost = time.put_back()
    (moved,) = bring_forward(site, lost)
    status, reply = site.apply(moved.entry.body)
    assert status != 0
    assert json.loads(reply)["class"] == exception.InstanceNotFound.__name__
