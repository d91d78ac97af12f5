# SPDX-License-Identifier: Apache-2.0
"""What has to be in the database from the first effect on: the epoch of an outbox, its streams.

Receivers refuse what comes from an older owner of an outbox, but each knows only what came its own
way, and forgets it when it is started again. So the database keeps the newest epoch that has had
an effect. It also keeps which streams an outbox has, because what one of them has settled says
nothing of another. Both are written in the transaction of an effect, and once; every other commit
reads them as they are at that moment, see :func:`~nova_edge_bus.cell.floors.read_latest`.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import sqlalchemy
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite

from nova_edge_bus.cell import floors
from nova_edge_bus.cell import table

_floors = table.floors


class Reached:
    """The numbers that the databases are known to have in their rows of floors."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: weakref.WeakKeyDictionary[sqlalchemy.Engine, dict[tuple[str, str], int]]
        self._known = weakref.WeakKeyDictionary()

    def reach(
        self, connection: sqlalchemy.Connection, outbox: str, stream: str, least: int
    ) -> None:
        """Have the database know, when this transaction is committed, of this number at least.

        To be called before anything here has read that under a lock: two who had would wait for
        each other.
        """
        with self._lock:
            known = self._known.setdefault(connection.engine, {})
            if known.get((outbox, stream), 0) >= least:
                return
        if floors.read(connection, outbox, stream) < least:
            connection.execute(_raised(connection.dialect.name, outbox, stream, least))
        else:
            with self._lock:
                known[outbox, stream] = least

    def forget(self, connection: sqlalchemy.Connection, outbox: str) -> None:
        """The database does not know any more what it did: it was put back."""
        with self._lock:
            known = self._known.setdefault(connection.engine, {})
            for key in [key for key in known if key[0] == outbox]:
                del known[key]


def _raised(dialect: str, outbox: str, stream: str, least: int) -> Any:
    """One statement for a row that is there and one that is not, and so without a race."""
    row = {"outbox": outbox, "stream": stream, "floor": least}
    if dialect in floors.LOCKING:
        insert = mysql.insert(_floors).values(row)
        highest = sqlalchemy.func.greatest(_floors.c.floor, insert.inserted.floor)
        return insert.on_duplicate_key_update(floor=highest)
    dialects: Any = postgresql if dialect == "postgresql" else sqlite
    other = dialects.insert(_floors).values(row)
    return other.on_conflict_do_update(
        index_elements=[_floors.c.outbox, _floors.c.stream],
        set_={"floor": other.excluded.floor},
        where=_floors.c.floor < other.excluded.floor,
    )
