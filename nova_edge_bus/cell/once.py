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
import threading
import weakref
from collections.abc import Mapping
from typing import Any

import sqlalchemy
from sqlalchemy import event
from sqlalchemy import orm

from nova_edge_bus import concurrency
from nova_edge_bus.cell import databases
from nova_edge_bus.cell import fencing
from nova_edge_bus.cell import floors
from nova_edge_bus.cell import keyed
from nova_edge_bus.cell import reached
from nova_edge_bus.cell import table

LOG = concurrency.NativeLogger(__name__)

_PART = "edge_bus_part"
_REFUSAL = -1
"""The part whose row says that the entry was refused."""
_inbox = table.inbox
_remembered = floors.Remembered()
_reached = reached.Reached()


class Applying:
    """One entry that is being applied.

    :param outbox: the id of the outbox that it is from
    :param fence: the condition under which it may land, if any
    :param address: that of its stream
    :param epoch: the one that its outbox ships it under
    """

    __slots__ = (
        "engines",
        "epoch",
        "fence",
        "had_effect",
        "outbox",
        "parts",
        "seq",
        "stream",
        "was_fenced",
        "was_refused",
    )

    def __init__(
        self, outbox: bytes, seq: int, fence: fencing.Check | None, address: str, epoch: int
    ) -> None:
        self.outbox = outbox.hex()
        self.seq = seq
        self.fence = fence
        self.stream = table.stream_of(address)
        self.epoch = epoch
        self.parts = 0
        self.had_effect = False
        self.was_refused = False
        self.was_fenced = False
        self.engines: weakref.WeakSet[sqlalchemy.Engine] = weakref.WeakSet()

    @property
    def is_recorded(self) -> bool:
        """Whether the database has it on record that the entry had an effect."""
        return self.parts > 0 or self.had_effect

    def is_next_on_record(self, connection: sqlalchemy.Connection) -> bool:
        """Whether the commit that would be the next one has been made before.

        For an entry that has failed, and not because the database was in trouble: then it failed
        because of its own earlier effect.
        """
        if self.lies_below_floor(connection) or self._has_row(connection, self.parts):
            self.had_effect = True
        return self.had_effect

    def was_refused_before(self, connection: sqlalchemy.Connection) -> bool:
        """Whether the database has it on record that the entry was refused."""
        self.was_refused = self.was_refused or self._has_row(connection, _REFUSAL)
        return self.was_refused

    def note_part(self, connection: sqlalchemy.Connection) -> None:
        """Write down that the next commit has been made; there is nothing to commit.

        :raises IntegrityError: when another conductor has just written that down
        """
        connection.execute(_inbox.insert(), self.row(self.parts))
        self.had_effect = True

    def note_refusal(self, connection: sqlalchemy.Connection) -> None:
        """Write down that the entry was refused, so that its next commit cannot be made any more.

        :raises IntegrityError: when another conductor has just made that commit, or refused it
        """
        connection.execute(_inbox.insert(), [self.row(self.parts), self.row(_REFUSAL)])

    def row(self, part: int) -> dict[str, Any]:
        """The row of one of its commits."""
        return {"outbox": self.outbox, "seq": self.seq, "part": part}

    def _has_row(self, connection: sqlalchemy.Connection, part: int) -> bool:
        query = sqlalchemy.select(_inbox.c.seq).filter_by(**self.row(part))
        return connection.execute(query).first() is not None

    def lies_below_floor(self, connection: sqlalchemy.Connection) -> bool:
        """Whether the entry was settled before its outbox was put back from a copy."""
        return self.seq < _remembered.floor(connection, self.outbox, self.stream, self.epoch)

    def comes_too_late(self, connection: sqlalchemy.Connection) -> bool:
        """Whether the entry must not have an effect any more, since it came here.

        It was settled elsewhere, and its rows are gone; or what a newer owner of its outbox has
        written had an effect: then :attr:`was_fenced` is set. To be asked once its own row is
        written: whoever deletes rows raises the floor before.
        """
        floor, epoch = floors.read_latest(connection, self.outbox, self.stream)
        if epoch < self.epoch:
            _reached.forget(connection, self.outbox)
        self.was_fenced |= self.seq >= floor and self.epoch < epoch
        return self.seq < floor or self.was_fenced

    def announce(self, connection: sqlalchemy.Connection) -> None:
        """Write down, once, what others have to know from the first effect on."""
        _reached.reach(connection, self.outbox, table.EPOCHS, self.epoch)
        _reached.reach(connection, self.outbox, table.unaudited(self.stream), 1)


_current: contextvars.ContextVar[Applying | None] = contextvars.ContextVar(
    "entry being applied", default=None
)


def begin(
    outbox: bytes,
    seq: int,
    fence: fencing.Check | None = None,
    *,
    address: str = "",
    epoch: int = 0,
) -> Applying:
    """What this thread or greenlet commits from now on are the effects of this entry.

    With a *fence*, nova's method raises :class:`~nova_edge_bus.errors.Fenced` when the entry must
    not land.
    """
    _listen()
    applying = Applying(outbox, seq, fence, address, epoch)
    _current.set(applying)
    return applying


def guard(fence: fencing.Check) -> None:
    """What this thread or greenlet does from now on, for a call, has to meet a condition.

    Nova's method raises :class:`~nova_edge_bus.errors.Fenced` when it does not; no row is written.
    """
    _listen()
    _current.set(Applying(b"", 0, fence, "", 0))


def end() -> None:
    """The entry is applied, or has failed."""
    _current.set(None)


def with_keys_merged(message: Mapping[str, Any], base: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a save with its keyed fields merged; see :mod:`~nova_edge_bus.cell.keyed`.

    Where no database with the table has the instance, the save stays as it is.
    """
    for engine in databases.engines():
        try:
            with engine.connect() as connection:
                merged = databases.has_tables(connection) and keyed.merge(
                    message, base, connection
                )
        except Exception as error:
            # One that cannot be read now cannot be written a moment later either, and the entry
            # fails with nova's own error.
            LOG.warning_once_in(
                databases.LOOK_AGAIN, "cannot read metadata to merge with: %s", error
            )
            continue
        if merged:
            return merged
    return message


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
    databases.saw(connection.engine)
    if applying.fence is not None and not session.in_nested_transaction():
        if databases.has_tables(connection):
            applying.fence.check(connection)


def _before_commit(session: orm.Session) -> None:
    applying = _current.get()
    if applying is None or session.in_nested_transaction() or not session.in_transaction():
        return
    if not applying.outbox:
        return
    # SQLAlchemy flushes after this event, and what is flushed later could not be undone here.
    session.flush()
    connection = session.connection()
    if not databases.has_tables(connection):
        return
    row = applying.row(applying.parts)
    if applying.lies_below_floor(connection):
        LOG.info("outbox=%(outbox)s seq=%(seq)s lies below the floor and was settled", row)
        _empty(connection)
    else:
        _note(connection, applying, row)
    session.info[_PART] = applying


def _note(connection: sqlalchemy.Connection, applying: Applying, row: Mapping[str, Any]) -> None:
    """Write the row of this commit, or leave the commit empty where it must not be made."""
    try:
        applying.announce(connection)
        connection.execute(_inbox.insert(), row)
    except Exception as error:
        if not floors.is_duplicate(error):
            raise
        LOG.info("outbox=%(outbox)s seq=%(seq)s part=%(part)s was applied before", row)
        _empty(connection)
        applying.was_refused_before(connection)
        return
    if applying.comes_too_late(connection):
        LOG.info("outbox=%(outbox)s seq=%(seq)s was settled or fenced elsewhere meanwhile", row)
        _empty(connection)


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
