# SPDX-License-Identifier: Apache-2.0
"""Saves that nova refuses at replay: what is there already, and what of them is true anyway."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from nova import exception
from nova import objects
from nova.db.main import models

from nova_edge_bus.cell import conflicts
from nova_edge_bus.cell import once
from nova_edge_bus.cell import refusals
from tests.unit.cell import applying
from tests.unit.snapshot import rows
from tests.unit.snapshot.centre import Centre
from tests.unit.snapshot.centre import direct
from tests.unit.snapshot.edge import HOST

pytestmark = pytest.mark.usefixtures("centre")

NOTE = {"instance_host": HOST}
LAUNCHED = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def refused_save(centre: Centre, centrally: dict[str, Any], **wanted: Any) -> applying.Entry:
    """A save of what was being powered off, which meets what the centre has made of it since."""
    uuid = rows.instance(centre, task_state="powering-off", vm_state="active").uuid
    with direct():
        instance = objects.Instance.get_by_uuid(centre.context(), uuid, ["metadata"])

    def write() -> None:
        for name, value in wanted.items():
            setattr(instance, name, value)
        instance.save(expected_task_state=["powering-off"])

    (entry,) = applying.written(write)
    change(centre, uuid, **centrally)
    return entry


def change(centre: Centre, uuid: str, **values: Any) -> None:
    with direct():
        stored = objects.Instance.get_by_uuid(centre.context(), uuid, ["metadata"])
        for name, value in values.items():
            setattr(stored, name, value)
        stored.save()


def stored(centre: Centre, entry: applying.Entry) -> Any:
    with direct():
        return objects.Instance.get_by_uuid(centre.context(), uuid_of(entry), ["metadata"])


def uuid_of(entry: applying.Entry) -> str:
    return str(entry.message["args"]["objinst"]["nova_object.data"]["uuid"])


def test_what_is_there_already_counts_as_applied(centre: Centre) -> None:
    entry = refused_save(
        centre,
        {"task_state": None, "vm_state": "stopped", "power_state": 4, "launched_at": LAUNCHED},
        task_state=None,
        vm_state="stopped",
        power_state=4,
        launched_at=LAUNCHED,
    )
    for _ in range(2):
        assert applying.apply(centre, entry, NOTE)[0]["obj_what_changed"] == []
    assert applying.parts(centre, entry) == [0]


@pytest.mark.parametrize("field", ["vm_state", "launched_at", "metadata"])
def test_what_is_there_in_part_does_not(centre: Centre, field: str) -> None:
    values = {
        "task_state": None,
        "vm_state": "stopped",
        "launched_at": LAUNCHED,
        "metadata": {"k": "edge"},
    }
    present = {name: value for name, value in values.items() if name != field}
    entry = refused_save(centre, present, **values)
    with pytest.raises(exception.UnexpectedTaskStateError, match=f"{field}="):
        applying.apply(centre, entry, NOTE)


def test_what_the_hypervisor_says_is_saved_by_itself(centre: Centre) -> None:
    entry = refused_save(
        centre,
        {"task_state": "rebuilding", "vm_state": "error"},
        task_state=None,
        vm_state="stopped",
        power_state=4,
        launched_at=LAUNCHED,
    )
    with pytest.raises(exception.UnexpectedTaskStateError) as refused:
        applying.apply(centre, entry, NOTE)
    row = stored(centre, entry)
    assert (row.power_state, row.launched_at) == (4, LAUNCHED)
    assert (row.task_state, row.vm_state) == ("rebuilding", "error")
    text = str(refused.value)
    assert "Expected: {'task_state': ['powering-off']}" in text
    saved, _, missing = text.partition("saved: ")[2].partition("; not saved: ")
    assert "power_state=4 (the centre had 1)" in saved
    assert "launched_at=2026-01-02T03:04:05 (the centre had None)" in saved
    assert "task_state=None (the centre has 'rebuilding')" in missing
    assert "vm_state='stopped' (the centre has 'error')" in missing


def test_it_is_saved_once_and_refused_again(centre: Centre) -> None:
    """The answer was lost with the conductor that gave it."""
    entry = refused_save(centre, {"task_state": "rebuilding"}, task_state=None, power_state=4)
    with pytest.raises(exception.UnexpectedTaskStateError):
        applying.apply(centre, entry, NOTE)
    change(centre, uuid_of(entry), power_state=1)
    with pytest.raises(exception.UnexpectedTaskStateError, match="not saved: task_state=None"):
        applying.apply(centre, entry, NOTE)
    assert stored(centre, entry).power_state == 1


def test_what_was_refused_stays_refused_when_it_would_not_be_any_more(centre: Centre) -> None:
    """A conductor that was asleep comes to it, after the state has changed back."""
    entry = refused_save(centre, {"task_state": "rebuilding"}, task_state=None, vm_state="stopped")
    with pytest.raises(exception.UnexpectedTaskStateError):
        applying.apply(centre, entry, NOTE)
    change(centre, uuid_of(entry), task_state="powering-off")
    with pytest.raises(refusals.Refused):
        applying.apply(centre, entry, NOTE)
    row = stored(centre, entry)
    assert (row.task_state, row.vm_state) == ("powering-off", "active")


def test_a_caller_that_waits_gets_nova_s_own_error_and_nothing_is_saved(centre: Centre) -> None:
    entry = refused_save(centre, {"task_state": None}, task_state=None, power_state=4)
    with pytest.raises(exception.UnexpectedTaskStateError) as refused:
        applying.apply(centre, entry)
    assert "saved:" not in str(refused.value)
    assert stored(centre, entry).power_state == 1


@pytest.mark.parametrize("host", ["another", HOST])
def test_facts_are_fenced_like_the_save(centre: Centre, host: str) -> None:
    entry = refused_save(centre, {"task_state": "rebuilding"}, task_state=None, power_state=4)
    current = once.begin(entry.outbox, entry.seq)
    with pytest.raises(exception.UnexpectedTaskStateError) as refused:
        centre(entry.context, entry.message)
    once.end()
    # The evacuation comes between nova's transaction and ours.
    change(centre, uuid_of(entry), host=host)
    current.fence = applying.fence(entry, NOTE)
    verdict = refusals.judge(current, entry.message, refused.value, answered=True)
    assert not verdict.is_applied
    assert bool(verdict.text) == (host == HOST)
    assert stored(centre, entry).power_state == (4 if host == HOST else 1)


def test_a_save_of_what_is_being_deleted_is_only_refused(centre: Centre) -> None:
    entry = refused_save(centre, {"task_state": "deleting"}, task_state=None, power_state=4)
    with pytest.raises(exception.UnexpectedDeletingTaskStateError) as refused:
        applying.apply(centre, entry, NOTE)
    assert "saved:" not in str(refused.value)
    assert stored(centre, entry).power_state == 1


def test_metadata_in_a_refused_save_is_named(centre: Centre) -> None:
    entry = refused_save(
        centre, {"task_state": "rebuilding"}, task_state=None, metadata={"k": "v" * 100}
    )
    with pytest.raises(exception.UnexpectedTaskStateError, match=r"not saved: .*metadata=.*…"):
        applying.apply(centre, entry, NOTE)
    assert stored(centre, entry).metadata == {"m": "1"}


def test_the_facts_are_columns_of_nova() -> None:
    assert set(conflicts.FACTS) <= set(models.Instance.__table__.columns.keys())
