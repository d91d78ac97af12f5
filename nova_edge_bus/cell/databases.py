# SPDX-License-Identifier: Apache-2.0
"""Which databases nova uses in this process, and which of them have the tables of the bus."""

from __future__ import annotations

import sys
import threading
import time
import weakref

import sqlalchemy

from nova_edge_bus.cell import table

LOOK_AGAIN = 10.0
"""Seconds after which a database without the tables is looked at again."""

_seen: weakref.WeakSet[sqlalchemy.Engine] = weakref.WeakSet()
_lock = threading.Lock()
_look_at: weakref.WeakKeyDictionary[sqlalchemy.Engine, float] = weakref.WeakKeyDictionary()


def saw(engine: sqlalchemy.Engine) -> None:
    """Take note that nova uses this database for entries."""
    _seen.add(engine)


def engines() -> list[sqlalchemy.Engine]:
    """Those that nova has used for entries; before the first one, nova's own for its cell."""
    if not _seen:
        nova = sys.modules.get("nova.db.main.api")
        return [] if nova is None else [nova.get_engine()]
    return list(_seen)


def has_tables(connection: sqlalchemy.Connection) -> bool:
    """Tell whether a database has the tables, all of them."""
    engine = connection.engine
    with _lock:
        look_at = _look_at.get(engine, 0.0)
    if look_at == float("inf"):
        return True
    now = time.monotonic()
    if now < look_at:
        return False
    present = set(sqlalchemy.inspect(connection).get_table_names())
    found = present >= table.metadata.tables.keys()
    with _lock:
        _look_at[engine] = float("inf") if found else now + LOOK_AGAIN
    return found
