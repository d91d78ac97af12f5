# SPDX-License-Identifier: Apache-2.0
"""Epochs: what an older owner of an outbox has under way lands no more once a newer one's has.

Receivers refuse what comes from an older owner, but each knows only what came its own way, and
forgets it when it is started again. So the database keeps the newest epoch that has had an effect
of each outbox. It is raised in the transaction of that effect, once for each epoch; every other
commit reads it together with the floor, as it is at that moment.
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
    """The epochs that the databases are known to have."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: weakref.WeakKeyDictionary[sqlalchemy.Engine, dict[str, int]]
        self._known = weakref.WeakKeyDictionary()

    def reach(self, connection: sqlalchemy.Connection, outbox: str, epoch: int) -> None:
        """Have the database know, when this transaction is committed, of an epoch at least.

        To be called before anything here has read that under a lock: two who had would wait for
        each other.
        """
        with self._lock:
            known = self._known.setdefault(connection.engine, {})
            if known.get(outbox, 0) >= epoch:
                return
        if floors.read(connection, outbox, table.EPOCHS) < epoch:
            connection.execute(_raised(connection.dialect.name, outbox, epoch))
        else:
            with self._lock:
                known[outbox] = epoch

    def forget(self, connection: sqlalchemy.Connection, outbox: str) -> None:
        """The database does not know any more what it did: it was put back."""
        with self._lock:
            self._known.setdefault(connection.engine, {}).pop(outbox, None)


def _raised(dialect: str, outbox: str, epoch: int) -> Any:
    """One statement for a row that is there and one that is not, and so without a race."""
    row = {"outbox": outbox, "stream": table.EPOCHS, "floor": epoch}
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
