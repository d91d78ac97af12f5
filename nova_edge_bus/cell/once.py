# SPDX-License-Identifier: Apache-2.0
"""Effect exactly once: what an entry does to the cell's database, it does there once.

Every commit that nova makes while it applies an entry writes a row of the inbox table, in the same
transaction: the entry's outbox id and seq, and which commit of it this is. An entry that comes
again, because its acknowledgement was lost with a process or a link, meets its rows: a commit
whose row is there already is emptied, so that the entry goes on with whatever it had not yet done.
An entry whose compare-and-set fails because of its own earlier effect is known by its row as well.

That nova's own transactions are enough for this was tried against nova 34: a method of a remotable
object commits through a writer session of oslo.db for each of its parts, in an order that depends
on its arguments alone, and compares states in the last of them.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any

import sqlalchemy
from sqlalchemy import event
from sqlalchemy import exc
from sqlalchemy import orm

from nova_edge_bus import concurrency
from nova_edge_bus.cell import fencing
from nova_edge_bus.cell import keyed
from nova_edge_bus.cell import table

LOG = concurrency.NativeLogger(__name__)

LOOK_AGAIN = 10.0
"""Seconds after which a database without the table is looked at again."""
REPEAT_WARNING = 3600.0
FOLD_EVERY = 64
"""How far the floor of an outbox has to rise until rows below it are deleted."""
FOLD_ROWS = 500
"""The most rows deleted at a time, so that nobody waits for them."""
_PART = "edge_bus_part"
_inbox = table.inbox


class Applying:
    """One entry that is being applied.

    :param outbox: the id of the outbox that it is from
    :param fence: the condition under which it may land, if any
    """

    __slots__ = ("engines", "fence", "outbox", "parts", "seq")

    def __init__(self, outbox: bytes, seq: int, fence: fencing.Fence | None) -> None:
        self.outbox = outbox.hex()
        self.seq = seq
        self.fence = fence
        self.parts = 0
        self.engines: weakref.WeakSet[sqlalchemy.Engine] = weakref.WeakSet()

    def was_applied(self) -> bool:
        """Whether the commit that would be the next one has been made before.

        For an entry that has failed: then it failed because of its own effect.
        """
        key = {"outbox": self.outbox, "seq": self.seq, "part": self.parts}
        query = sqlalchemy.select(_inbox.c.seq).filter_by(**key)
        for engine in list(self.engines):
            with engine.connect() as connection:
                if _tables.exists(connection) and connection.execute(query).first():
                    return True
        return False


_current: contextvars.ContextVar[Applying | None] = contextvars.ContextVar(
    "entry being applied", default=None
)


def begin(outbox: bytes, seq: int, fence: fencing.Fence | None = None) -> Applying:
    """What this thread or greenlet commits from now on are the effects of this entry.

    With a *fence*, nova's method raises :class:`~nova_edge_bus.errors.Fenced` when the entry must
    not land.
    """
    _listen()
    applying = Applying(outbox, seq, fence)
    _current.set(applying)
    return applying


def end() -> None:
    """The entry is applied, or has failed."""
    _current.set(None)


def with_keys_merged(message: Mapping[str, Any], base: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a save with its keyed fields merged; see :mod:`~nova_edge_bus.cell.keyed`.

    Where no database with the table has the instance, the save stays as it is.
    """
    for engine in _engines():
        try:
            with engine.connect() as connection:
                merged = _tables.exists(connection) and keyed.merge(message, base, connection)
        except Exception as error:
            # One that cannot be read now cannot be written a moment later either, and the entry
            # fails with nova's own error.
            LOG.warning_once_in(LOOK_AGAIN, "cannot read metadata to merge with: %s", error)
            continue
        if merged:
            return merged
    return message


_seen: weakref.WeakSet[sqlalchemy.Engine] = weakref.WeakSet()


def _engines() -> list[sqlalchemy.Engine]:
    """Those that nova has used for entries; before the first one, nova's own for its cell."""
    if not _seen:
        nova = sys.modules.get("nova.db.main.api")
        return [] if nova is None else [nova.get_engine()]
    return list(_seen)


class _Tables:
    """Which databases have the inbox table."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: weakref.WeakKeyDictionary[sqlalchemy.Engine, float]
        self._known = weakref.WeakKeyDictionary()

    def exists(self, connection: sqlalchemy.Connection) -> bool:
        engine = connection.engine
        with self._lock:
            look_at = self._known.get(engine, 0.0)
        if look_at == float("inf"):
            return True
        now = time.monotonic()
        if now < look_at:
            return False
        found = bool(sqlalchemy.inspect(connection).has_table(_inbox.name))
        with self._lock:
            self._known[engine] = float("inf") if found else now + LOOK_AGAIN
        return found


_tables = _Tables()
_listening = threading.Lock()
_is_listening = False


def _listen() -> None:
    global _is_listening
    with _listening:
        if not _is_listening:
            event.listen(orm.Session, "after_begin", _after_begin)
            event.listen(orm.Session, "before_commit", _before_commit)
            event.listen(orm.Session, "after_commit", _after_commit)
            event.listen(orm.Session, "after_rollback", _after_rollback)
            _is_listening = True


def _after_begin(
    session: orm.Session, transaction: Any, connection: sqlalchemy.Connection
) -> None:
    applying = _current.get()
    if applying is None:
        return
    applying.engines.add(connection.engine)
    _seen.add(connection.engine)
    if applying.fence is not None and not session.in_nested_transaction():
        if _tables.exists(connection):
            applying.fence.check(connection)


def _before_commit(session: orm.Session) -> None:
    applying = _current.get()
    if applying is None or session.in_nested_transaction() or not session.in_transaction():
        return
    # SQLAlchemy flushes after this event, and what is flushed later could not be undone here.
    session.flush()
    connection = session.connection()
    if not _tables.exists(connection):
        return
    row = {"outbox": applying.outbox, "seq": applying.seq, "part": applying.parts}
    try:
        connection.execute(_inbox.insert(), row)
    except Exception as error:
        if not _is_duplicate(error):
            raise
        LOG.info("outbox=%(outbox)s seq=%(seq)s part=%(part)s was applied before", row)
        _empty(connection)
    session.info[_PART] = applying


def _is_duplicate(error: BaseException) -> bool:
    """Whether a row with that key is there; oslo.db wraps the error that says so."""
    return isinstance(error, exc.IntegrityError) or isinstance(
        getattr(error, "inner_exception", None), exc.IntegrityError
    )


def _empty(connection: sqlalchemy.Connection) -> None:
    """Undo what the transaction did; the commit that follows commits nothing.

    SQLAlchemy must not know of it: a rollback that it knows of ends nova's method.
    """
    driver = connection.connection.dbapi_connection
    assert driver is not None
    driver.rollback()


def _after_commit(session: orm.Session) -> None:
    if session.in_nested_transaction():
        return
    applying = session.info.pop(_PART, None)
    if applying is not None:
        applying.parts += 1


def _after_rollback(session: orm.Session) -> None:
    session.info.pop(_PART, None)


class Folding:
    """Deletes the rows of entries that are never going to be shipped again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folded: dict[str, int] = {}

    def fold(self, applying: Applying, floor: int) -> None:
        """Delete what lies below *floor* now and then; failing to is no harm.

        The rows are deleted by their keys: a range would be locked with the gap above it, into
        which another conductor may be inserting.
        """
        with self._lock:
            if floor - self._folded.get(applying.outbox, 0) < FOLD_EVERY:
                return
            self._folded[applying.outbox] = floor
        for engine in list(applying.engines):
            try:
                with engine.connect() as connection:
                    if _tables.exists(connection):
                        _delete_below(connection, applying.outbox, floor)
            except Exception as error:
                LOG.warning_once_in(REPEAT_WARNING, "cannot fold the inbox table: %s", error)


def _delete_below(connection: sqlalchemy.Connection, outbox: str, floor: int) -> None:
    below = (
        sqlalchemy.select(_inbox)
        .where(_inbox.c.outbox == outbox, _inbox.c.seq < floor)
        .limit(FOLD_ROWS)
    )
    delete = _inbox.delete().where(
        *(column == sqlalchemy.bindparam(f"its_{column.name}") for column in _inbox.c)
    )
    while found := connection.execute(below).all():
        keys = [{f"its_{name}": value for name, value in row._mapping.items()} for row in found]
        connection.execute(delete, keys)
        connection.commit()
