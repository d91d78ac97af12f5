# SPDX-License-Identifier: Apache-2.0
"""What comes twice has its effect once, on each kind of database, with nova's own objects."""

from __future__ import annotations

import concurrent.futures
import contextlib
import uuid
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from nova import exception
from nova import objects
from nova.db.main import models
from sqlalchemy import event
from sqlalchemy import orm

from nova_edge_bus.cell import audit
from nova_edge_bus.cell import databases
from nova_edge_bus.cell import floors
from nova_edge_bus.cell import once
from nova_edge_bus.cell import table
from tests.unit.cell import applying
from tests.unit.snapshot import rows
from tests.unit.snapshot.centre import Centre
from tests.unit.snapshot.centre import direct

ADDRESS = "/nova/conductor"
Audit = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.usefixtures("centre")


def stored(centre: Centre, uuid: str, **context: Any) -> Any:
    with direct():
        return objects.Instance.get_by_uuid(centre.context(**context), uuid)


def save(centre: Centre, uuid: str, expected: Any = None, **values: Any) -> applying.Entry:
    """The entry of a save as nova-compute would make it now."""
    instance = stored(centre, uuid)

    def write() -> None:
        for name, value in values.items():
            setattr(instance, name, value)
        instance.save(expected_task_state=expected)

    (entry,) = applying.written(write)
    return entry


def test_a_save_that_comes_again_overwrites_nothing_newer(centre: Centre) -> None:
    uuid = rows.instance(centre).uuid
    entry = save(centre, uuid, power_state=4)
    applying.apply(centre, entry)
    applying.apply(centre, save(centre, uuid, power_state=1))
    reply = applying.apply(centre, entry)
    assert stored(centre, uuid).power_state == 1
    assert reply[1] is None
    assert applying.parts(centre, entry) == list(range(len(applying.parts(centre, entry))))


def test_a_compare_and_set_that_comes_again_succeeded(centre: Centre) -> None:
    uuid = rows.instance(centre, task_state=None).uuid
    entry = save(centre, uuid, expected=[None], task_state="powering-off")
    applying.apply(centre, entry)
    assert applying.apply(centre, entry)[0]["obj_what_changed"] == []
    assert stored(centre, uuid).task_state == "powering-off"


def test_a_compare_and_set_that_never_held_goes_on_failing(centre: Centre) -> None:
    uuid = rows.instance(centre, task_state="deleting").uuid
    entry = save(centre, uuid, expected=["powering-off"], task_state=None)
    for _ in range(2):
        with pytest.raises(exception.UnexpectedDeletingTaskStateError):
            applying.apply(centre, entry)
    # The parts before the comparison are nova's own, and are made once.
    assert stored(centre, uuid).task_state == "deleting"


def test_what_adds_a_row_adds_one(centre: Centre) -> None:
    instance = rows.instance(centre)
    context = centre.context()
    fault = objects.InstanceFault(
        context, instance_uuid=instance.uuid, code=500, message="m", details="", host="h"
    )
    (entry,) = applying.written(fault.create)
    for _ in range(3):
        applying.apply(centre, entry)
    assert count(centre, models.InstanceFault, instance_uuid=instance.uuid) == 1


def test_a_destroy_that_comes_again_succeeded(centre: Centre) -> None:
    instance = stored(centre, rows.instance(centre).uuid)
    (entry,) = applying.written(instance.destroy)
    applying.apply(centre, entry)
    updates, _ = applying.apply(centre, entry)
    assert updates["deleted"] is True
    with pytest.raises(exception.InstanceNotFound):
        stored(centre, instance.uuid)


def test_a_destroy_of_what_is_not_there_goes_on_failing(centre: Centre) -> None:
    instance = stored(centre, rows.instance(centre).uuid)
    entries = applying.written(instance.destroy)
    with direct():
        stored(centre, instance.uuid).destroy()
    for _ in range(2):
        with pytest.raises(exception.InstanceNotFound):
            applying.apply(centre, entries[0])


class _Killed(BaseException):
    """Stands for the end of the process."""


def killed_after(commits: int) -> Callable[[orm.Session], None]:
    """Ends the process after so many commits."""
    made = 0

    def after_commit(session: orm.Session) -> None:
        nonlocal made
        made += not session.in_nested_transaction()
        if made == commits:
            raise _Killed

    return after_commit


def save_in_parts(centre: Centre) -> applying.Entry:
    """A save that nova commits in several parts: extras first, then the network, then the row."""
    with direct():
        instance = objects.Instance.get_by_uuid(
            centre.context(), rows.instance(centre).uuid, ["info_cache", "flavor", "metadata"]
        )

    def write() -> None:
        instance.info_cache.network_info = "[]"
        instance.info_cache.obj_what_changed()
        instance.flavor.extra_specs = {"a": "b"}
        instance.display_name = "renamed"
        instance.save()

    (entry,) = applying.written(write)
    return entry


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_an_entry_cut_short_between_its_parts_goes_on_where_it_was(
    centre: Centre, commits: int
) -> None:
    entry = save_in_parts(centre)
    kill = killed_after(commits)
    event.listen(orm.Session, "after_commit", kill)
    try:
        with pytest.raises(_Killed):
            applying.apply(centre, entry)
    finally:
        event.remove(orm.Session, "after_commit", kill)
    before = applying.parts(centre, entry)
    assert before == list(range(commits)), "each commit before the end has its row"
    applying.apply(centre, entry)
    after = applying.parts(centre, entry)
    assert after == list(range(len(after)))
    data = entry.message["args"]["objinst"]["nova_object.data"]
    assert stored(centre, data["uuid"]).display_name == "renamed"


def test_a_half_applied_entry_is_not_taken_for_applied_when_the_database_fails(
    centre: Centre,
) -> None:
    entry = save_in_parts(centre)
    with listening("after_commit", killed_after(1)), pytest.raises(_Killed):
        applying.apply(centre, entry)

    def fail(session: orm.Session) -> None:
        raise sqlalchemy.exc.OperationalError("COMMIT", {}, Exception("database is locked"))

    with listening("before_commit", fail), pytest.raises(Exception, match="locked"):
        applying.apply(centre, entry)
    applying.apply(centre, entry)
    data = entry.message["args"]["objinst"]["nova_object.data"]
    assert stored(centre, data["uuid"]).display_name == "renamed"


@contextlib.contextmanager
def listening(name: str, listener: Callable[[orm.Session], None]) -> Iterator[None]:
    event.listen(orm.Session, name, listener)
    try:
        yield
    finally:
        event.remove(orm.Session, name, listener)


def test_a_commit_that_fails_keeps_its_number(centre: Centre) -> None:
    """Nova repeats what met a deadlock; the repetition is the same part."""
    uuid = rows.instance(centre).uuid
    entry = save(centre, uuid, power_state=4)
    failures: list[str] = []

    def fail_once(session: orm.Session) -> None:
        if not failures:
            failures.append("deadlock")
            raise sqlalchemy.exc.OperationalError("COMMIT", {}, Exception("deadlock"))

    once.begin(b"listening", 1)
    once.end()
    event.listen(orm.Session, "before_commit", fail_once)
    try:
        with pytest.raises(Exception, match="deadlock"):
            applying.apply(centre, entry)
        assert applying.parts(centre, entry) == []
        applying.apply(centre, entry)
    finally:
        event.remove(orm.Session, "before_commit", fail_once)
    assert applying.parts(centre, entry)[0] == 0
    assert stored(centre, uuid).power_state == 4


def test_two_conductors_with_the_same_entry_apply_it_once(centre: Centre) -> None:
    if centre.url.startswith("sqlite"):
        pytest.skip("SQLite has one writer at a time")
    instance = rows.instance(centre)
    for _ in range(10):
        fault = objects.InstanceFault(
            centre.context(), instance_uuid=instance.uuid, code=500, message="m", host="h"
        )
        fault.details = str(uuid.uuid4())
        (entry,) = applying.written(fault.create)
        with concurrent.futures.ThreadPoolExecutor(2) as conductors:
            for each in [conductors.submit(applying.apply, centre, entry) for _ in range(2)]:
                each.result(60)
        assert count(centre, models.InstanceFault, details=fault.details) == 1


def test_a_database_without_the_table_works_as_before(tmp_path: Any) -> None:
    bare = Centre(tmp_path / "bare.sqlite")
    bare.create()
    uuid = rows.instance(bare).uuid
    entry = save(bare, uuid, power_state=4)
    applying.apply(bare, entry)
    assert stored(bare, uuid).power_state == 4
    bare.close()


def applied(centre: Centre, entry: applying.Entry, seq: int, *, epoch: int = 1) -> once.Applying:
    """Apply an entry as number *seq* of an outbox."""
    current = once.begin(entry.outbox, seq, address=ADDRESS, epoch=epoch)
    centre(entry.context, entry.message)
    once.end()
    return current


def test_rows_below_the_floor_are_folded_away(centre: Centre) -> None:
    uuid = rows.instance(centre).uuid
    folding = floors.Folding()
    entry = save(centre, uuid, power_state=4)
    for seq in range(1, 2 * floors.FOLD_EVERY):
        current = applied(centre, entry, seq)
        folding.fold(current.engines, current.outbox, current.stream, seq)
    kept = [seq for seq in range(1, 2 * floors.FOLD_EVERY) if at(centre, entry, seq)]
    assert kept[0] == floors.FOLD_EVERY, "what lies below the floor goes, a batch at a time"
    assert kept == list(range(kept[0], 2 * floors.FOLD_EVERY))


@pytest.fixture
def audited(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> Audit:
    """Audits the stream of an entry."""
    engine = centre._connection.writer.get_engine()
    monkeypatch.setattr(databases, "engines", lambda: [engine])

    def ask(entry: applying.Entry, seqs: list[int], **claim: int) -> dict[str, Any]:
        note = audit.question(entry.outbox, ADDRESS, seqs, **claim)
        answer = audit.answer(note)
        assert answer is not None
        return answer

    return ask


def test_what_a_copy_of_a_journal_ships_again_has_no_effect(
    centre: Centre, audited: Audit
) -> None:
    """The rows are folded away, and the copy thinks that its entry is pending."""
    uuid = rows.instance(centre).uuid
    entry = save(centre, uuid, power_state=4)
    audited(entry, [], settled=1)
    assert applied(centre, entry, 1).is_recorded
    newer = save(centre, uuid, power_state=1)
    newer.outbox = entry.outbox
    applied(centre, newer, 1001)
    assert audited(entry, [1001], settled=1002, confirmed=1001)["floor"] == 1001
    assert at(centre, entry, 1) == []
    again = applied(centre, entry, 1, epoch=2)
    assert again.is_recorded, "the copy is told that it is settled"
    assert stored(centre, uuid).power_state == 1
    other = once.begin(entry.outbox, 1, address="/other/conductor", epoch=2)
    centre(entry.context, entry.message)
    once.end()
    assert other.is_recorded
    assert stored(centre, uuid).power_state == 4, "streams have floors of their own"


def test_an_audit_tells_what_is_there(centre: Centre, audited: Audit) -> None:
    entry = save(centre, rows.instance(centre).uuid, power_state=4)
    assert audited(entry, [], settled=1) == {"floor": 1, "known": [], "highest": 0}
    for seq in (5, 7, 2000, 2002):
        applied(centre, entry, seq)
    answer = audited(entry, [5, 6, 7, 2000, 2001], settled=2003)
    assert answer == {"floor": 1, "known": [5, 7, 2000], "highest": 2002}


def test_an_audit_tells_what_came_before_the_journal_was_opened(
    centre: Centre, audited: Audit
) -> None:
    entry = save(centre, rows.instance(centre).uuid, power_state=4)
    audited(entry, [], settled=1)
    for seq in (5, 7, 2000):
        applied(centre, entry, seq)
    assert audited(entry, [], settled=1, first=2000)["highest"] == 7
    assert audited(entry, [], settled=1, first=5)["highest"] == 0
    assert audited(entry, [5], settled=8, confirmed=7)["floor"] == 7
    assert audited(entry, [], settled=8, confirmed=7, first=7)["highest"] == 6, "rows are gone"


def test_a_floor_rises_to_what_was_found_before(centre: Centre, audited: Audit) -> None:
    entry = save(centre, rows.instance(centre).uuid, power_state=4)
    audited(entry, [], settled=1)
    for seq in (5, 7, 9):
        applied(centre, entry, seq)
    assert audited(entry, [7], settled=10, confirmed=8)["floor"] == 1, "there is no row of 8"
    assert audited(entry, [7], settled=6, confirmed=7)["floor"] == 6, "not above what is pending"
    assert audited(entry, [7], settled=10, confirmed=7)["floor"] == 7
    assert audited(entry, [7], settled=10, confirmed=5)["floor"] == 7
    assert [seq for seq in (5, 7, 9) if at(centre, entry, seq)] == [7, 9]


def test_what_is_pending_at_the_first_audit_still_has_its_effect(
    centre: Centre, audited: Audit
) -> None:
    uuid = rows.instance(centre).uuid
    entry = save(centre, uuid, power_state=4)
    applied(centre, entry, 9)
    assert audited(entry, [9], settled=5)["floor"] == 5
    late = save(centre, uuid, power_state=1)
    late.outbox = entry.outbox
    applied(centre, late, 5, epoch=2)
    assert stored(centre, uuid).power_state == 1


def test_a_floor_that_is_lost_hides_nothing(centre: Centre, audited: Audit) -> None:
    """The dump was made before the first audit."""
    entry = save(centre, rows.instance(centre).uuid, power_state=4)
    applied(centre, entry, 9)
    answer = audited(entry, [7, 8, 9], settled=10, confirmed=7)
    assert answer == {"floor": 1, "known": [9], "highest": 9}


def test_what_is_settled_does_not_prove_that_it_was_had(centre: Centre, audited: Audit) -> None:
    """A database that was put back hears of newer entries before it is asked."""
    entry = save(centre, rows.instance(centre).uuid, power_state=4)
    audited(entry, [], settled=1)
    current = applied(centre, entry, 900)
    floors.Folding().fold(current.engines, current.outbox, current.stream, 900)
    assert audited(entry, [800, 900], settled=901, confirmed=800) == {
        "floor": 1,
        "known": [900],
        "highest": 900,
    }


def at(centre: Centre, entry: applying.Entry, seq: int) -> list[int]:
    return applying.parts(centre, applying.Entry(entry.outbox, seq, {}, {}))


def count(centre: Centre, model: Any, **values: Any) -> int:
    engine = sqlalchemy.create_engine(centre.url)
    query = sqlalchemy.select(sqlalchemy.func.count()).select_from(model).filter_by(**values)
    with engine.connect() as connection:
        found = int(connection.scalar(query))
    engine.dispose()
    return found


def test_the_table_is_what_the_migrations_make(centre: Centre) -> None:
    engine = sqlalchemy.create_engine(centre.url)
    made = sqlalchemy.inspect(engine).get_columns(table.inbox.name)
    engine.dispose()
    assert [each["name"] for each in made] == [each.name for each in table.inbox.c]
