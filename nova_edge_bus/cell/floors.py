# SPDX-License-Identifier: Apache-2.0
"""Floors: the rows of entries that are never going to be shipped again are folded into a number.

What lies below the floor of its stream was settled. The number stays when the rows go, so that a
journal that was put back from a copy, and ships what it had shipped before, does so in vain; and
so that a database that was itself put back can say from where on it lacks something.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable

import sqlalchemy
from sqlalchemy import exc

from nova_edge_bus import concurrency
from nova_edge_bus.cell import databases
from nova_edge_bus.cell import table

LOG = concurrency.NativeLogger(__name__)

REPEAT_WARNING = 3600.0
FOLD_EVERY = 64
"""How far the floor of a stream has to rise until rows below it are deleted."""
FOLD_ROWS = 500
"""The most rows deleted at a time, so that nobody waits for them."""
_inbox = table.inbox
_floors = table.floors


def read(connection: sqlalchemy.Connection, outbox: str, stream: str) -> int:
    """Return the floor of a stream, 0 when there is none yet."""
    query = sqlalchemy.select(_floors.c.floor).filter_by(outbox=outbox, stream=stream)
    return int(connection.execute(query).scalar() or 0)


class Remembered:
    """The floors that were in the databases when an outbox was first heard of in its epoch.

    That is enough: who owns an outbox ships nothing below its own floor. Only an older copy of
    it does, and that has an epoch of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: weakref.WeakKeyDictionary[
            sqlalchemy.Engine, dict[tuple[str, str], tuple[int, int]]
        ] = weakref.WeakKeyDictionary()

    def floor(
        self, connection: sqlalchemy.Connection, outbox: str, stream: str, epoch: int
    ) -> int:
        """Return the floor below which an entry of this epoch was settled before."""
        with self._lock:
            known = self._known.setdefault(connection.engine, {})
            found = known.get((outbox, stream))
        if found is None or found[0] != epoch:
            found = (epoch, read(connection, outbox, stream))
            with self._lock:
                known[(outbox, stream)] = found
        return found[1]


class Folding:
    """Deletes the rows below the floors."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folded: dict[tuple[str, str], int] = {}

    def fold(
        self, engines: Iterable[sqlalchemy.Engine], outbox: str, stream: str, floor: int
    ) -> None:
        """Delete what lies below *floor* now and then; failing to is no harm.

        The rows are deleted by their keys: a range would be locked with the gap above it, into
        which another conductor may be inserting.
        """
        with self._lock:
            if floor - self._folded.get((outbox, stream), 0) < FOLD_EVERY:
                return
            self._folded[(outbox, stream)] = floor
        for engine in list(engines):
            try:
                with engine.connect() as connection:
                    if databases.has_tables(connection):
                        _raise(connection, outbox, stream, floor)
                        _delete_below(connection, outbox, floor)
            except Exception as error:
                LOG.warning_once_in(REPEAT_WARNING, "cannot fold the inbox table: %s", error)


def _raise(connection: sqlalchemy.Connection, outbox: str, stream: str, floor: int) -> None:
    """Write the floor down, before any row goes."""
    key = {"outbox": outbox, "stream": stream}
    raised = (
        _floors.update()
        .where(_floors.c.outbox == outbox, _floors.c.stream == stream, _floors.c.floor < floor)
        .values(floor=floor)
    )
    if not connection.execute(raised).rowcount and not read(connection, outbox, stream):
        try:
            connection.execute(_floors.insert(), {**key, "floor": floor})
        except exc.IntegrityError:
            # Another conductor was faster; its floor is as good until the next time.
            connection.rollback()
            return
    connection.commit()


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
