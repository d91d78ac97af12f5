# SPDX-License-Identifier: Apache-2.0
"""One open journal file: identity, transactions, and giving space back.

A journal is used by one thread, and committed as SQLite commits in WAL mode with
``synchronous=FULL``: what a transaction wrote is on disk when :meth:`Journal.commit` returns, and
a crash at any moment leaves every transaction whole or absent.
"""

import contextlib
import os
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import select

from nova_edge_bus import concurrency
from nova_edge_bus import errors
from nova_edge_bus import events
from nova_edge_bus.journal import counters
from nova_edge_bus.journal import database
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import holdings
from nova_edge_bus.journal import housekeeping
from nova_edge_bus.journal import inbox
from nova_edge_bus.journal import kept
from nova_edge_bus.journal import migrations
from nova_edge_bus.journal import outbox
from nova_edge_bus.journal import quota
from nova_edge_bus.journal import schema
from nova_edge_bus.journal import wal

LOG = concurrency.NativeLogger(__name__)


class _Snapshot(NamedTuple):
    """What is in memory of a transaction and goes back with it."""

    outbox: tuple[int, int, int, int]
    counts: dict[str, int]
    reversals: int


class Journal:
    """An open journal; made by :meth:`open` or :meth:`attach`.

    ``outbox_id`` (8 bytes) names the journal for ever. ``epoch`` and ``nonce`` (8 bytes) tell this
    opening of it from every other, those of a copied or restored file included.
    """

    def __init__(
        self,
        db: database.Database,
        *,
        max_bytes: int,
        retention: float,
        clock: Callable[[], float],
    ) -> None:
        self._db = db
        self._quota = quota.Quota(db, max_bytes)
        self._counts = counters.Counters(db)
        self._retention = retention
        self._clock = clock
        self.path = db.path
        self.outbox = outbox.Outbox(db, self._quota, self._counts, clock)
        self.inbox = inbox.Inbox(db, self._quota, self._counts)
        self.kept = kept.Kept(db, self._quota)
        self.holdings = holdings.Holdings(db)
        self._housekeeping = housekeeping.Housekeeping(
            db, self._quota, self.outbox.settled, self.inbox
        )
        self._reversals: list[Callable[[], None]] = []
        # Whether what the outbox keeps in memory is what the file holds.
        self._current = False
        self._mark = self._snapshot()
        self.outbox_id = bytes(8)
        self.epoch = 0
        self.nonce = bytes(8)
        self.reclaim_again = True
        """Whether :meth:`reclaim` stopped with work left, or something was written since."""

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        max_bytes: int,
        retention: float,
        clock: Callable[[], float] = time.time,
        take_epoch: bool = True,
    ) -> "Journal":
        """Open the journal at *path* as its owner, creating or migrating it.

        The owner holds the file's slot. A new epoch and nonce are on disk when this returns, in
        the database itself, so that a lost WAL cannot bring an old epoch back.

        :param max_bytes: quota of the database and its WAL together, at least 1 MiB
        :param retention: seconds that settled entries are kept
        :param clock: the wall clock, in seconds
        :param take_epoch: False for one that may be a copy of a journal whose process lives
            elsewhere: under a newer epoch that process would be fenced
        :raises JournalCorrupt: when SQLite finds the file damaged
        :raises JournalTooNew: when a newer version of this package wrote it
        :raises JournalLocked: when another process keeps it locked
        :raises JournalFull: when the file system has no room
        :raises JournalError: when it cannot be opened for another reason
        :raises ValueError: when max_bytes is too low
        """
        name = os.fspath(path)
        try:
            database.create_file(name)
        except OSError as error:
            raise errors.JournalError(f"cannot create journal {name}: {error}") from error
        wal.tell_damage(name)
        with cls._opened(name, False, max_bytes, retention, clock) as journal:
            journal._db.set_up()
            journal._quota.apply()
            journal._db.check()
            migrations.upgrade(journal._db)
            if take_epoch:
                journal._take_epoch()
            else:
                journal._keep_epoch()
            cut_short = journal.inbox.count_interrupted()
        LOG.info(
            "journal %s open outbox=%s epoch=%s",
            name,
            journal.outbox_id.hex(),
            journal.epoch,
        )
        if cut_short:
            LOG.warning(events.COMMANDS_CUT_SHORT, name, cut_short)
        return journal

    @classmethod
    def attach(
        cls,
        path: str | os.PathLike[str],
        *,
        max_bytes: int,
        retention: float,
        read_only: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> "Journal":
        """Open an existing journal beside its owner, as an operator's tool does.

        Nothing is created, checked or migrated, and the epoch stays. The owner notices what was
        changed this way when it begins its next transaction. Keep transactions short: a long read
        lets the WAL grow, a long write makes the owner wait.

        :raises JournalTooNew: when a newer version of this package wrote it
        :raises JournalError: when there is no journal, or one of an older version
        """
        name = os.fspath(path)
        with cls._opened(name, read_only, max_bytes, retention, clock) as journal:
            version = int(journal._db.pragma("user_version"))
            if version > schema.VERSION:
                raise migrations.too_new(name, version)
            if version < schema.VERSION:
                raise errors.JournalError(
                    f"journal {name} has version {version} of {schema.VERSION}; "
                    "it is migrated when its owner starts"
                )
            if not read_only:
                journal._db.set_up()
                journal._quota.apply()
            with journal.transaction():
                journal._read_identity()
        return journal

    @classmethod
    @contextlib.contextmanager
    def _opened(
        cls,
        path: str,
        read_only: bool,
        max_bytes: int,
        retention: float,
        clock: Callable[[], float],
    ) -> Iterator["Journal"]:
        db = database.Database(path, read_only=read_only)
        try:
            with db.translated():
                yield cls(db, max_bytes=max_bytes, retention=retention, clock=clock)
        except BaseException:
            with contextlib.suppress(errors.JournalError):
                db.close()
            raise

    def _keep_epoch(self) -> None:
        with self.transaction():
            self._read_identity()
            if not self.epoch:
                raise errors.JournalError(f"journal {self.path} has never had a process")
            self.outbox.skip_ahead()

    def _take_epoch(self) -> None:
        with self.transaction():
            self._read_identity()
            table = schema.identity
            is_new = not self.epoch
            self.epoch += 1
            self.nonce = os.urandom(8)
            if is_new:
                self.outbox_id = os.urandom(8)
                values = {"id": 1, "outbox_id": self.outbox_id, "created_at": self._clock()}
                values |= {"epoch": self.epoch, "nonce": self.nonce}
                self._db.run(table.insert(), values)
            else:
                # Another copy of this file may have been opened any number of times.
                self.epoch = max(self.epoch, outbox.least_number(self._clock()))
                self._db.run(table.update().values(epoch=self.epoch, nonce=self.nonce))
                self.outbox.skip_ahead()
        if not self._db.empty_wal():
            # Another process reads; what is in the WAL can be moved all the same.
            self._db.pragma("wal_checkpoint(FULL)")

    def _read_identity(self) -> None:
        row = self._db.run(select(schema.identity)).first()
        if row is not None:
            self.outbox_id, self.epoch, self.nonce = row.outbox_id, row.epoch, row.nonce

    # Transactions

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is under way; some errors end it with a rollback."""
        return self._db.in_transaction

    def begin(self) -> None:
        """Begin a transaction, with the right to write.

        :raises JournalLocked: when another process keeps the journal locked
        :raises JournalError: in a child forked after the open
        """
        with self._db.translated():
            self._current = not self._db.begin() and self._current
            if not self._db.read_only:
                self._quota.fit()
            if not self._current:
                try:
                    self.outbox.reload()
                except BaseException:
                    self._db.rollback()
                    raise
                self._current = True
        self._reversals.clear()
        self._mark = self._snapshot()

    def commit(self) -> None:
        """Commit; on disk when this returns. When it raises, nothing was written.

        :raises JournalFull: when the quota or the file system has no room
        :raises JournalError: on another failure of the disk
        """
        try:
            with self._db.translated():
                self._counts.flush()
                self._db.commit()
        except BaseException:
            self.rollback()
            raise
        self._quota.committed()
        self.reclaim_again = True

    def rollback(self) -> None:
        """Undo everything since :meth:`begin`."""
        try:
            with self._db.translated():
                self._db.rollback()
        finally:
            self._undo(self._mark)

    def on_undo(self, reverse: Callable[[], None]) -> None:
        """Have *reverse* called if what is being done in this transaction is undone.

        It is called before anything else can be done, and the last one first: what was written
        gives its numbers to what is written next.
        """
        self._reversals.append(reverse)

    def _snapshot(self) -> _Snapshot:
        return _Snapshot(self.outbox.snapshot(), self._counts.snapshot(), len(self._reversals))

    def _undo(self, mark: _Snapshot) -> None:
        self.outbox.restore(mark.outbox)
        self._counts.restore(mark.counts)
        while len(self._reversals) > mark.reversals:
            self._reversals.pop()()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block did, or undo it when it raises.

        :raises JournalError: as :meth:`begin` and :meth:`commit`, and for the block's statements
        """
        self.begin()
        try:
            with self._db.translated():
                yield
        except BaseException:
            self.rollback()
            raise
        self.commit()

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what the block did when it raises, and keep the transaction around it.

        After an error :attr:`in_transaction` tells whether the transaction has survived it.

        :raises JournalError: for the block's statements
        """
        mark = self._snapshot()
        try:
            with self._db.translated(), self._db.savepoint():
                yield
        except BaseException:
            self._undo(mark)
            raise

    # Space

    def usage(self) -> entries.Usage:
        """Return how full the journal is.

        :raises JournalError: in a child forked after the open
        """
        with self._db.translated():
            live = self._quota.live()
        return entries.Usage(
            used=live,
            free=max(0, self._quota.append_limit - live),
            on_disk=database.files_size(self.path),
            max_bytes=self._quota.max_bytes,
        )

    @property
    def group_bytes(self) -> int:
        """The most bytes of bodies that one transaction should append, for the WAL's sake."""
        return self._quota.wal_pages * database.PAGE_SIZE // 2

    def reclaim(self) -> int:
        """Do a bounded piece of housekeeping and return the bytes given back to the disk.

        Purges settled entries beyond the retention time and beyond their share of the quota,
        returns free pages to the file system, and checkpoints. Meant for idle moments; see
        :attr:`reclaim_again`.

        :raises JournalError: when the disk fails
        """
        before = database.files_size(self.path)
        with self.transaction():
            # A second more, because the journal keeps whole seconds.
            more = self._housekeeping.tidy(self._clock() - self._retention - 1)
        self.checkpoint()
        self.reclaim_again = more
        return max(0, before - database.files_size(self.path))

    @property
    def checkpoint_due(self) -> bool:
        """Whether :meth:`checkpoint` should be called soon, while nobody waits for a commit.

        Otherwise SQLite does it by itself, later, and within some commit.
        """
        return self._quota.checkpoint_due

    def checkpoint(self) -> None:
        """Write the WAL's pages to their places in the database, without waiting for readers.

        :raises JournalError: when the disk fails
        """
        with self._db.translated():
            self._housekeeping.checkpoint()

    def close(self) -> None:
        """Undo an open transaction and close the file; in a forked child do nothing.

        :raises JournalError: when the disk fails; the journal is intact nevertheless
        """
        if self._db.inherited:
            return
        if self._db.in_transaction:
            self.rollback()
        self._db.close()
