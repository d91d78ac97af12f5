# SPDX-License-Identifier: Apache-2.0
"""What the cell's database commits, in its order, told by triggers of the database itself.

What a transaction takes back its triggers take back too. The row of the inbox is told like the
rest, so it is seen which entry an effect was committed with.
"""

from __future__ import annotations

import collections
from typing import Any
from typing import NamedTuple

import sqlalchemy

from tests.consistency import history
from tests.consistency.history import Effect

FIELDS = {"name": "display_name", "description": "display_description"}
"""The registers of an instance, and their columns."""
_TOLD = (
    ("instances", "UPDATE", "NEW.uuid", "NEW.display_name", "NEW.display_description", "NEW.host"),
    ("instance_faults", "INSERT", "NEW.instance_uuid", "NEW.message", "NULL", "NULL"),
    ("services", "UPDATE", "NEW.host", "NEW.report_count", "NULL", "NULL"),
    ("edge_bus_inbox", "INSERT", "NEW.outbox", "NEW.seq", "NEW.part", "NULL"),
)
_OWN = "own"
_REFUSED = "-1"


class _Row(NamedTuple):
    """One row that the triggers have written; ``told_by`` is the connection."""

    number: int
    told_by: int
    what: str
    subject: str
    one: str | None
    two: str | None
    host: str | None
    deleted: int


def watch(database: str) -> None:
    """Have the database at this URL tell of its changes from now on."""
    engine = sqlalchemy.create_engine(database)
    is_mysql = engine.dialect.name == "mysql"
    number = f"number INTEGER PRIMARY KEY {'AUTO_INCREMENT' if is_mysql else 'AUTOINCREMENT'}"
    connection_id = "CONNECTION_ID()" if is_mysql else "0"
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TABLE commits ({number}, told_by BIGINT, what VARCHAR(40), "
            "subject VARCHAR(255), one VARCHAR(255), two VARCHAR(255), host VARCHAR(255), "
            "deleted INTEGER)"
        )
        for table, event, subject, one, two, host in _TOLD:
            deleted = "NEW.deleted" if table == "instances" else "0"
            connection.exec_driver_sql(
                f"CREATE TRIGGER commit_of_{table} AFTER {event} ON {table} FOR EACH ROW BEGIN "
                "INSERT INTO commits (told_by, what, subject, one, two, host, deleted) VALUES "
                f"({connection_id}, '{table}', {subject}, {one}, {two}, {host}, {deleted}); END"
            )
    engine.dispose()


def change(engine: sqlalchemy.Engine, instance: str, **values: Any) -> None:
    """Let the centre itself change an instance, as nova-api and other hosts do."""
    table = sqlalchemy.table("instances", *map(sqlalchemy.column, ["uuid", *values]))
    own = sqlalchemy.text(
        "INSERT INTO commits (told_by, what, deleted) VALUES (:told_by, :what, 0)"
    )
    with engine.begin() as connection:
        connection.execute(table.update().where(table.c.uuid == instance).values(**values))
        is_mysql = engine.dialect.name == "mysql"
        told_by = connection.scalar(sqlalchemy.text("SELECT CONNECTION_ID()")) if is_mysql else 0
        connection.execute(own, {"told_by": told_by, "what": _OWN})


def read(engine: sqlalchemy.Engine, instance: str) -> dict[str, str]:
    """The registers of an instance as they are now."""
    columns = ", ".join(FIELDS.values())
    query = sqlalchemy.text(f"SELECT {columns} FROM instances WHERE uuid = :uuid")
    with engine.connect() as connection:
        row = connection.execute(query, {"uuid": instance}).one()
    return dict(zip(FIELDS, (value or "" for value in row), strict=True))


def effects(engine: sqlalchemy.Engine, initial: dict[str, dict[str, str]]) -> list[Effect]:
    """The effects that the database has told, each with the entry it was committed with.

    :param initial: by instance, what each register and the host were at first
    """
    query = sqlalchemy.text(
        "SELECT number, told_by, what, subject, one, two, host, deleted FROM commits "
        "ORDER BY number"
    )
    with engine.connect() as connection:
        rows = [_Row(*row) for row in connection.execute(query)]
    state = {instance: {**values, history.DELETED: ""} for instance, values in initial.items()}
    found: list[Effect] = []
    waiting: dict[int, list[int]] = collections.defaultdict(list)
    for row in rows:
        if row.what in (_OWN, "edge_bus_inbox"):
            together = waiting.pop(row.told_by, [])
            if row.what != _OWN and row.two != _REFUSED:
                for place in together:
                    found[place] = found[place]._replace(outbox=row.subject, seq=int(row.one or 0))
            continue
        for group, field, value in _changes(row, state):
            waiting[row.told_by].append(len(found))
            found.append(Effect(len(found), group, field, value))
    return found


def refused(engine: sqlalchemy.Engine) -> list[tuple[str, int]]:
    """Outbox and seq of each entry that was ever on record as refused."""
    query = sqlalchemy.text(
        "SELECT subject, one FROM commits WHERE what = 'edge_bus_inbox' AND two = :part"
    )
    with engine.connect() as connection:
        return [
            (row.subject, int(row.one)) for row in connection.execute(query, {"part": _REFUSED})
        ]


def _changes(row: _Row, state: dict[str, dict[str, str]]) -> list[tuple[str, str, str]]:
    if row.what == "instance_faults":
        return [(row.subject, history.FAULT, row.one or "")]
    if row.what == "services":
        return [(row.subject, "beat", f"{row.subject}:{row.one}")]
    now = {
        "name": row.one or "",
        "description": row.two or "",
        history.HOST: row.host or "",
        history.DELETED: "yes" if row.deleted else "",
    }
    before = state.setdefault(row.subject, now)
    state[row.subject] = now
    return [(row.subject, field, now[field]) for field in now if now[field] != before[field]]
