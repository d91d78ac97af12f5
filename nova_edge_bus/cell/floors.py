# SPDX-License-Identifier: Apache-2.0
"""Floors: the rows of entries that are never going to be shipped again are folded into a number.

Below the floor of its stream, the database has had everything. The number stays when the rows go,
so that a journal that was put back from a copy, and ships what it had shipped before, does so in
vain; and so that a database that was itself put back can say from where on it lacks something.

That an entry is settled for its sender does not tell that this database has had it: it may have
been put back since. So a floor rises in the answer to an audit alone, to an entry that the sender
has seen confirmed before and of which the row is still there: whatever goes back in time loses the
newest first. Senders that ask for no audits bring nothing forward, and have floors of another
kind: these rise to what is settled there.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import Any
from typing import NamedTuple

import sqlalchemy
from sqlalchemy import exc

from nova_edge_bus import concurrency
from nova_edge_bus.cell import databases
from nova_edge_bus.cell import table
from nova_edge_bus.cell import transient

LOG = concurrency.NativeLogger(__name__)

REPEAT_WARNING = 3600.0
FOLD_EVERY = 64
"""How far the floor of a stream has to rise until rows below it are deleted."""
FOLD_ROWS = 500
"""The most rows deleted at a time, so that nobody waits for them."""
LOCKING = ("mysql", "mariadb")
"""Dialects where only a read that locks sees past the snapshot; the others see each commit."""
_inbox = table.inbox
_floors = table.floors


def _latest(*, is_locking: bool) -> sqlalchemy.Select[Any]:
    """Each row by its whole key: a search for all could lock rows of other outboxes."""
    streams: list[Any] = [sqlalchemy.bindparam("stream"), sqlalchemy.bindparam("other")]
    found = []
    for stream in [*streams, table.EPOCHS]:
        query = sqlalchemy.select(_floors.c.floor).where(
            _floors.c.outbox == sqlalchemy.bindparam("outbox"), _floors.c.stream == stream
        )
        query = query.with_for_update(read=True) if is_locking else query
        found.append(query.scalar_subquery())
    return sqlalchemy.select(*found)


_LATEST, _LATEST_LOCKED = _latest(is_locking=False), _latest(is_locking=True)


def read(connection: sqlalchemy.Connection, outbox: str, *streams: str) -> int:
    """Return the floor of a stream, 0 when there is none yet; of several the highest."""
    query = sqlalchemy.select(sqlalchemy.func.max(_floors.c.floor)).where(
        _floors.c.outbox == outbox, _floors.c.stream.in_(streams)
    )
    return int(connection.execute(query).scalar() or 0)


def read_latest(connection: sqlalchemy.Connection, outbox: str, stream: str) -> tuple[int, int]:
    """Return the floor of a stream of either kind, and its outbox's newest epoch with an effect.

    Both as they are now, however old the transaction's snapshot is; 0 for what there is not.
    """
    query = _LATEST_LOCKED if connection.dialect.name in LOCKING else _LATEST
    names = {"outbox": outbox, "stream": stream, "other": table.unaudited(stream)}
    audited, other, epoch = connection.execute(query, names).one()
    return max(int(audited or 0), int(other or 0)), int(epoch or 0)


class Remembered:
    """The floors that were in the databases when an outbox was first heard of in its epoch.

    Who owns an outbox ships nothing below its own floor; an older copy does, under an epoch of
    its own. A copy that is replayed keeps the epoch: it meets :func:`read_latest` at its commit.
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
            found = (epoch, read(connection, outbox, stream, table.unaudited(stream)))
            with self._lock:
                known[(outbox, stream)] = found
        return found[1]


class Folding:
    """Deletes the rows of senders that ask for no audits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folded: dict[tuple[str, str], float] = {}

    def fold(
        self, engines: Iterable[sqlalchemy.Engine], outbox: str, stream: str, settled: int
    ) -> None:
        """Raise a floor to *settled* and delete what lies below, now and then; failing is no harm.

        The rows are deleted by their keys: a range would be locked with the gap above it, into
        which another conductor may be inserting.
        """
        with self._lock:
            before = self._folded.get((outbox, stream), 0)
            if settled - before < FOLD_EVERY:
                return
            self._folded[(outbox, stream)] = settled
        for engine in list(engines):
            try:
                with engine.connect() as connection:
                    if not databases.has_tables(connection):
                        continue
                    if read(connection, outbox, stream):
                        self._folded[(outbox, stream)] = float("inf")
                        return
                    if _raise_unaudited(connection, outbox, stream, settled):
                        _delete_below(connection, outbox, _lowest_unaudited(connection, outbox))
                    else:
                        self._folded[(outbox, stream)] = before
            except Exception as error:
                LOG.warning_once_in(REPEAT_WARNING, "cannot fold the inbox table: %s", error)


def _raise_unaudited(
    connection: sqlalchemy.Connection, outbox: str, stream: str, settled: int
) -> bool:
    """Raise the floor of a stream that is not audited; False when that would have to wait."""
    name = table.unaudited(stream)
    if not read(connection, outbox, name):
        _write(connection, _floors.insert(), outbox, name, settled)
    elif _lock(connection, outbox, name):
        _write(connection, _raised(outbox, name, settled), outbox, name, settled)
    else:
        return False
    return True


def _lowest_unaudited(connection: sqlalchemy.Connection, outbox: str) -> int:
    """Below this each stream of the outbox is settled; a row does not tell of which it is."""
    query = sqlalchemy.select(sqlalchemy.func.min(_floors.c.floor)).where(
        _floors.c.outbox == outbox, _floors.c.stream.startswith(table.UNAUDITED)
    )
    return int(connection.execute(query).scalar() or 0)


class Claim(NamedTuple):
    """What a sender says of its stream in an audit.

    Everything below ``settled`` is settled there; ``confirmed`` is an entry that an earlier audit
    has found, 0 for none.
    """

    outbox: str
    stream: str
    settled: int
    confirmed: int


def audited(connection: sqlalchemy.Connection, claim: Claim, highest: int) -> int:
    """Return the floor of a stream that is being audited, raised as far as it can be.

    The first audit of a stream finds nothing missing: rows may have been deleted without a floor.
    Before that the stream had a floor of the other kind, and what lies below that one is not
    missing either: a conductor may have deleted it while the question was under way.

    :param highest: the highest seq of the outbox that has a row, 0 for none
    """
    floor = _audited(connection, claim, highest)
    return max(floor, read(connection, claim.outbox, table.unaudited(claim.stream)))


def _audited(connection: sqlalchemy.Connection, claim: Claim, highest: int) -> int:
    outbox, stream = claim.outbox, claim.stream
    floor = read(connection, outbox, stream)
    target = min(claim.settled, claim.confirmed)
    if not floor:
        # Where an earlier audit has found something, there was a floor, and it is lost.
        floor = 1 if claim.confirmed else max(1, min(claim.settled, highest + 1))
        _write(connection, _floors.insert(), outbox, stream, floor)
    elif target > floor and _has_row(connection, outbox, claim.confirmed):
        if not _lock(connection, outbox, stream):
            return floor
        floor = target
        _write(connection, _raised(outbox, stream, floor), outbox, stream, floor)
        _delete_below(connection, outbox, floor)
    return floor


def _lock(connection: sqlalchemy.Connection, outbox: str, stream: str) -> bool:
    """Lock a floor that is to be raised; False when somebody is about to commit under it.

    They read it under a lock, see :func:`read_latest`. Were one of them to stop right there, the
    others would wait behind whoever waits for that one; so nobody does.
    """
    row = sqlalchemy.select(_floors.c.floor).filter_by(outbox=outbox, stream=stream)
    try:
        connection.execute(row.with_for_update(nowait=True))
    except Exception as error:
        if not transient.is_passing(error):
            raise
        connection.rollback()
        return False
    return True


def _has_row(connection: sqlalchemy.Connection, outbox: str, seq: int) -> bool:
    row = sqlalchemy.select(_inbox.c.seq).filter_by(outbox=outbox, seq=seq).limit(1)
    return connection.execute(row).first() is not None


def _raised(outbox: str, stream: str, floor: int) -> sqlalchemy.Update:
    return _floors.update().where(
        _floors.c.outbox == outbox, _floors.c.stream == stream, _floors.c.floor < floor
    )


def _write(
    connection: sqlalchemy.Connection,
    statement: sqlalchemy.Insert | sqlalchemy.Update,
    outbox: str,
    stream: str,
    floor: int,
) -> None:
    try:
        connection.execute(statement.values(outbox=outbox, stream=stream, floor=floor))
        connection.commit()
    except Exception as error:
        if not is_duplicate(error):
            raise
        # Another conductor was faster, and its floor is as good.
        connection.rollback()


def is_duplicate(error: BaseException) -> bool:
    """Whether a row with that key is there; oslo.db wraps the error that says so."""
    return isinstance(error, exc.IntegrityError) or isinstance(
        getattr(error, "inner_exception", None), exc.IntegrityError
    )


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
