# SPDX-License-Identifier: Apache-2.0
"""What an older owner of an outbox has under way, when a newer one's first write lands."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from nova import exception
from nova import objects
from sqlalchemy import event
from sqlalchemy import orm

from nova_edge_bus.cell import once
from nova_edge_bus.cell import reached
from nova_edge_bus.cell import refusals
from nova_edge_bus.cell import table
from tests.unit.cell import applying
from tests.unit.snapshot import rows
from tests.unit.snapshot.centre import Centre
from tests.unit.snapshot.centre import direct
from tests.unit.snapshot.edge import HOST

pytestmark = pytest.mark.usefixtures("centre")

SECONDS = 60
OLD, NEW = 1_000, 2_000
"""Epochs."""


@pytest.fixture(autouse=True)
def fresh_conductor(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A conductor that has heard of nobody; called, it is started again."""

    def start() -> None:
        monkeypatch.setattr(once, "_reached", reached.Reached())

    start()
    return start


def save(centre: Centre, uuid: str, expected: Any = None, **values: Any) -> applying.Entry:
    with direct():
        instance = objects.Instance.get_by_uuid(centre.context(), uuid)

    def write() -> None:
        for name, value in values.items():
            setattr(instance, name, value)
        instance.save(expected_task_state=expected)

    (entry,) = applying.written(write)
    return entry


def apply(centre: Centre, entry: applying.Entry, epoch: int, seq: int = 1) -> once.Applying:
    """Apply an entry as a conductor does, whatever comes of it."""
    current = once.begin(entry.outbox, seq, address="a", epoch=epoch)
    try:
        centre(entry.context, entry.message)
    except exception.NovaException as error:
        once.end()
        refusals.judge(current, entry.message, error, answered=True)
    finally:
        once.end()
    return current


def successor(centre: Centre, of: applying.Entry, **values: Any) -> applying.Entry:
    """What the newer owner of the same outbox writes to the same instance."""
    uuid = of.message["args"]["objinst"]["nova_object.data"]["uuid"]
    entry = save(centre, uuid, **values)
    entry.outbox = of.outbox
    return entry


def stored(centre: Centre, entry: applying.Entry) -> Any:
    uuid = entry.message["args"]["objinst"]["nova_object.data"]["uuid"]
    with direct():
        return objects.Instance.get_by_uuid(centre.context(), uuid)


def rows_of(centre: Centre, entry: applying.Entry, seq: int) -> list[int]:
    return applying.parts(centre, applying.Entry(entry.outbox, seq, {}, {}))


@pytest.fixture
def old(centre: Centre) -> applying.Entry:
    """A save, on its way to its conductor."""
    return save(centre, rows.instance(centre, host=HOST).uuid, power_state=4)


def test_what_an_older_owner_has_under_way_has_no_effect(
    centre: Centre, old: applying.Entry
) -> None:
    newer = successor(centre, old, power_state=1)
    assert not apply(centre, newer, NEW, seq=2).was_fenced
    assert apply(centre, old, OLD).was_fenced
    assert stored(centre, old).power_state == 1
    assert rows_of(centre, old, 1) == [], "the newer owner may have an entry of that number"


@contextlib.contextmanager
def at_the_beginning(do: Callable[[], Any], *, with_snapshot: bool = False) -> Iterator[None]:
    """Let something happen elsewhere when this thread's next transaction has begun."""
    sleeper = threading.get_ident()
    asleep: list[int] = []

    def sleep(session: orm.Session, transaction: Any, connection: sqlalchemy.Connection) -> None:
        if threading.get_ident() != sleeper or asleep:
            return
        asleep.append(1)
        if with_snapshot:
            connection.exec_driver_sql("SELECT count(*) FROM instances")
        with concurrent.futures.ThreadPoolExecutor(1) as other:
            other.submit(do).result(SECONDS)

    once.begin(b"listening", 1)
    once.end()
    event.listen(orm.Session, "after_begin", sleep)
    try:
        yield
    finally:
        event.remove(orm.Session, "after_begin", sleep)
    assert asleep


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_what_has_begun_before_the_newer_owner_has_no_effect_after_it(
    centre: Centre, old: applying.Entry, with_snapshot: bool
) -> None:
    """Its conductor was held up for a moment, while another one has applied what is newer."""
    if with_snapshot and centre.url.startswith("sqlite"):
        pytest.skip("SQLite refuses to write from a snapshot that is not the latest")
    newer = successor(centre, old, power_state=1)
    with at_the_beginning(lambda: apply(centre, newer, NEW, seq=2), with_snapshot=with_snapshot):
        assert apply(centre, old, OLD).was_fenced
    assert stored(centre, old).power_state == 1
    assert rows_of(centre, old, 1) == []


def test_it_is_not_refused_for_the_newer_owner_that_has_the_same_entry(
    centre: Centre, old: applying.Entry
) -> None:
    """A journal was put back in which the entry is pending; the state it expects comes late."""
    late = successor(centre, old, expected=["powering-off"], task_state=None)
    apply(centre, successor(centre, old, power_state=1), NEW, seq=2)
    assert apply(centre, late, OLD, seq=7).was_fenced, "the state is another one as well"
    assert rows_of(centre, late, 7) == []
    apply(centre, successor(centre, old, task_state="powering-off"), NEW, seq=3)
    assert not apply(centre, late, NEW, seq=7).was_fenced
    assert stored(centre, old).task_state is None


def test_a_conductor_that_is_started_again_still_fences(
    centre: Centre, old: applying.Entry, fresh_conductor: Callable[[], None]
) -> None:
    apply(centre, successor(centre, old, power_state=1), NEW, seq=2)
    fresh_conductor()
    assert apply(centre, old, OLD).was_fenced
    assert not apply(centre, successor(centre, old, power_state=4), NEW, seq=3).was_fenced
    assert stored(centre, old).power_state == 4


def test_what_was_settled_before_is_settled_for_an_older_owner_too(
    centre: Centre, old: applying.Entry
) -> None:
    apply(centre, old, NEW)
    again = apply(centre, old, OLD)
    assert not again.was_fenced
    assert again.is_recorded


def test_another_outbox_is_not_concerned(centre: Centre, old: applying.Entry) -> None:
    apply(centre, save(centre, stored(centre, old).uuid, power_state=1), NEW)
    assert not apply(centre, old, OLD).was_fenced
    assert stored(centre, old).power_state == 4


def test_a_database_that_was_put_back_is_told_again(centre: Centre, old: applying.Entry) -> None:
    for seq in (2, 3):
        apply(centre, successor(centre, old, power_state=1), NEW, seq=seq)
    engine = sqlalchemy.create_engine(centre.url)
    with engine.begin() as connection:
        connection.execute(table.floors.delete().filter_by(outbox=old.outbox.hex()))
    engine.dispose()
    for seq in (4, 5):
        apply(centre, successor(centre, old, power_state=1), NEW, seq=seq)
    assert apply(centre, old, OLD).was_fenced


def test_many_conductors_hear_of_a_newer_owner_at_once(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    if centre.url.startswith("sqlite"):
        pytest.skip("SQLite has one writer at a time")
    monkeypatch.setattr(reached.Reached, "reach", forgetful(reached.Reached.reach))
    saves = [save(centre, rows.instance(centre, host=HOST).uuid, power_state=4) for _ in range(6)]
    for epoch in range(1, 11):
        for each in saves:
            each.outbox = saves[0].outbox
        with concurrent.futures.ThreadPoolExecutor(len(saves)) as conductors:
            done = [
                conductors.submit(apply, centre, each, epoch, 100 * epoch + number)
                for number, each in enumerate(saves)
            ]
            assert not any(each.result(SECONDS).was_fenced for each in done)


def forgetful(reach: Callable[..., None]) -> Callable[..., None]:
    """As if each entry came to a conductor that had not heard of its outbox."""
    return lambda self, *arguments: reach(reached.Reached(), *arguments)
