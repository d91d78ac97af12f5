# SPDX-License-Identifier: Apache-2.0
"""Each effect on nova's tables, in the order of the commits, told by triggers of the database.

What a transaction takes back its triggers take back, so the table of effects holds what has
happened, as often as it has happened.
"""

from __future__ import annotations

import pathlib

import sqlalchemy

from tests.unit.snapshot import centre as centres
from tests.unit.snapshot import rows

_WATCHED = (
    ("instance_faults", "INSERT", "instance_uuid", "NEW.message"),
    ("instances", "UPDATE", "uuid", "NEW.display_name"),
    ("instance_extra", "UPDATE", "instance_uuid", "'flavor'"),
)
"""By table: what is done to it, where the instance stands, and what is told.

A write that changes nothing is told as well, for it is an effect that came twice.
"""


def watch(database: str) -> None:
    """Have the database at this URL tell of its changes from now on."""
    engine = sqlalchemy.create_engine(database)
    with engine.begin() as connection:
        for statement in _statements(engine.dialect.name):
            connection.exec_driver_sql(statement)
    engine.dispose()


def _statements(dialect: str) -> list[str]:
    counted = "AUTO_INCREMENT" if dialect == "mysql" else "AUTOINCREMENT"
    number = f"number INTEGER PRIMARY KEY {counted}"
    made = [f"CREATE TABLE effects ({number}, instance VARCHAR(36), what VARCHAR(255))"]
    for name, event, instance, what in _WATCHED:
        made.append(
            f"CREATE TRIGGER effect_on_{name} AFTER {event} ON {name} FOR EACH ROW BEGIN "
            f"INSERT INTO effects (instance, what) VALUES (NEW.{instance}, {what}); END"
        )
    return made


class Effects:
    """The effects in a database that is watched."""

    def __init__(self, database: str) -> None:
        self._centre = centres.Centre(pathlib.Path("unused"), database)
        self._engine = sqlalchemy.create_engine(database)

    def add_group(self) -> str:
        """Make an instance, and return its uuid."""
        return str(rows.instance(self._centre, task_state=None, display_name="new").uuid)

    def of(self, group: str) -> list[str]:
        """What has happened to an instance, in order."""
        query = "SELECT what FROM effects WHERE instance = :instance ORDER BY number"
        with self._engine.connect() as connection:
            return list(connection.scalars(sqlalchemy.text(query), {"instance": group}))

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()
        self._centre.close()
