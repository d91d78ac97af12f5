# SPDX-License-Identifier: Apache-2.0
"""A conductor that was asleep with an entry, and wakes up when others have long gone on."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import Any

import pytest
import sqlalchemy
from nova import objects
from nova.db.main import models
from sqlalchemy import event
from sqlalchemy import orm

from nova_edge_bus.cell import floors
from nova_edge_bus.cell import once
from nova_edge_bus.cell import table
from tests.unit.cell import applying
from tests.unit.snapshot import rows
from tests.unit.snapshot.centre import Centre
from tests.unit.snapshot.centre import direct
from tests.unit.snapshot.edge import HOST

pytestmark = pytest.mark.usefixtures("centre")

NOTE = {"instance_host": HOST}
SECONDS = 60


def settle_elsewhere(centre: Centre, entry: applying.Entry) -> None:
    """Apply an entry, and fold its rows away as when others have followed."""
    later, outbox, stream = entry.seq + 10, entry.outbox.hex(), table.stream_of("")
    engine = sqlalchemy.create_engine(centre.url)
    with engine.connect() as connection:
        floors.audited(connection, floors.Claim(outbox, stream, 1, 0), 0)
        applying.apply(centre, entry)
        connection.execute(table.inbox.insert(), {"outbox": outbox, "seq": later, "part": 0})
        connection.commit()
        claim = floors.Claim(outbox, stream, settled=later, confirmed=later)
        assert floors.audited(connection, claim, later) == later
    engine.dispose()
    assert applying.parts(centre, entry) == []


def change(centre: Centre, uuid: str, **values: Any) -> None:
    with direct():
        stored = objects.Instance.get_by_uuid(centre.context(), uuid)
        for name, value in values.items():
            setattr(stored, name, value)
        stored.save()


def power_state(centre: Centre, uuid: str) -> Any:
    with direct():
        return objects.Instance.get_by_uuid(centre.context(), uuid).power_state


@pytest.mark.parametrize("task_state", ["powering-off", "rebuilding"])
def test_what_was_folded_away_has_no_effect_any_more(centre: Centre, task_state: str) -> None:
    """Neither as a whole, nor, where the state is another one by now, the facts in it."""
    uuid = rows.instance(centre, task_state="powering-off").uuid
    with direct():
        instance = objects.Instance.get_by_uuid(centre.context(), uuid)

    def write() -> None:
        instance.task_state, instance.power_state = None, 4
        instance.save(expected_task_state=["powering-off"])

    (entry,) = applying.written(write)
    # In this process the floor is known from before.
    other = applying.Entry(entry.outbox, entry.seq + 1, entry.context, entry.message)
    once.begin(other.outbox, other.seq)
    once.end()
    settle_elsewhere(centre, entry)
    change(centre, uuid, task_state=task_state, power_state=1)
    applying.apply(centre, entry, NOTE)
    assert power_state(centre, uuid) == 1
    assert applying.parts(centre, entry) == []


def test_what_was_settled_amid_a_transaction_has_no_effect(centre: Centre) -> None:
    if centre.url.startswith("sqlite"):
        pytest.skip("SQLite refuses to write from a snapshot that is not the latest")
    instance = rows.instance(centre)
    fault = objects.InstanceFault(
        centre.context(), instance_uuid=instance.uuid, code=500, message="m", host=HOST
    )
    fault.details = ""
    (entry,) = applying.written(fault.create)
    sleeper = threading.get_ident()
    asleep: list[int] = []

    def sleep(session: orm.Session, transaction: Any, connection: sqlalchemy.Connection) -> None:
        if threading.get_ident() != sleeper or asleep:
            return
        asleep.append(1)
        # From here on the transaction sees the database as it is now.
        connection.exec_driver_sql("SELECT count(*) FROM instances")
        with concurrent.futures.ThreadPoolExecutor(1) as other:
            other.submit(settle_elsewhere, centre, entry).result(SECONDS)

    once.begin(b"listening", 1)
    once.end()
    event.listen(orm.Session, "after_begin", sleep)
    try:
        applying.apply(centre, entry)
    finally:
        event.remove(orm.Session, "after_begin", sleep)
    assert asleep
    assert faults(centre, instance.uuid) == 1


def faults(centre: Centre, uuid: str) -> int:
    engine = sqlalchemy.create_engine(centre.url)
    query = sqlalchemy.select(sqlalchemy.func.count()).select_from(models.InstanceFault)
    with engine.connect() as connection:
        found = connection.scalar(query.filter_by(instance_uuid=uuid))
    engine.dispose()
    return int(found or 0)
