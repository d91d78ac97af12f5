# SPDX-License-Identifier: Apache-2.0
"""One held SQLite connection through SQLAlchemy Core, and what its errors mean.

A connection is for one thread at a time, and belongs to the process that opened it; another one, a
forked child, is told by :meth:`Database.begin`.
"""

import contextlib
import ctypes
import os
import sqlite3
import stat
import weakref
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import exc
from sqlalchemy import pool
from sqlalchemy.dialects.sqlite import pysqlite

from nova_edge_bus import concurrency
from nova_edge_bus import errors

LOG = concurrency.NativeLogger(__name__)

PAGE_SIZE = 4096
BUSY_SECONDS = 5.0
"""How long a statement waits for another process, an operator's tool, to end its transaction."""
MAKE_ROOM_SECONDS = 1.0
"""The least time between attempts to empty the WAL on a file system without room."""

_MEBIBYTE = 1 << 20
_FILES = ("", "-wal", "-shm")

_open: weakref.WeakSet["Database"] = weakref.WeakSet()


def _keep_inherited() -> None:
    # SQLite forbids any use of a connection across a fork, closing it included: the child might
    # checkpoint and unlink the WAL. Python closes what it collects, at its own end if not before,
    # whoever still refers to it; a reference that nobody can give back is what prevents it.
    for db in _open:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(db._driver))
    _open.clear()


os.register_at_fork(after_in_child=_keep_inherited)


def compiled(statement: sqlalchemy.Executable, *names: str) -> str:
    """Return the SQL text of a Core statement for :meth:`Database.run_many`.

    Core builds each row's parameters from a dict, which for a group of appends costs more than
    SQLite itself does; a text that was compiled once takes tuples.

    :param names: the bound parameters, in the order in which the tuples hold them
    """
    text = statement.compile(dialect=pysqlite.dialect())  # type: ignore[attr-defined]
    if tuple(text.positiontup or ()) != names:
        raise ValueError(f"parameters are {text.positiontup}, not {list(names)}")
    return str(text)


def mebibytes(size: int) -> str:
    """Return a size in bytes as text for an operator."""
    return f"{size / _MEBIBYTE:.4g} MiB"


def translate(error: Exception, path: str) -> errors.JournalError:
    """Return the error that *error*, one of SQLite or SQLAlchemy, means to a caller.

    The text never holds a statement's parameters: bodies can carry tokens.
    """
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    match code & 0xFF if isinstance(code, int) else None:
        case sqlite3.SQLITE_FULL:
            return errors.JournalFull(
                f"cannot write to journal {path}: {grown(path)}; "
                "make room there or raise [edge_bus] journal_max_bytes"
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return errors.JournalCorrupt(_corrupt(path, str(cause)))
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return errors.JournalLocked(
                f"cannot lock journal {path} within {BUSY_SECONDS:g} s: another process writes it"
            )
    name = getattr(cause, "sqlite_errorname", type(cause).__name__)
    return errors.JournalError(f"journal {path} failed: {cause} ({name})")


def _corrupt(path: str, finding: str) -> str:
    return (
        f"journal {path} is corrupt: {finding}; "
        "keep the file for 'nova-edge-bus verify' and move it aside to start afresh"
    )


def grown(path: str) -> str:
    """Say, within an error, how large the journal at *path* is and what its file system has."""
    size, free = mebibytes(files_size(path)), mebibytes(free_bytes(path))
    return f"it has grown to {size} and the file system has {free} left"


def free_bytes(path: str) -> int:
    """Return the bytes that the file system of the journal at *path* has left for it."""
    space = os.statvfs(os.path.dirname(path) or ".")
    return space.f_bavail * space.f_frsize


def files_size(path: str) -> int:
    """Return the bytes of the journal's database and WAL files."""
    return file_size(path) + file_size(path + "-wal")


def file_size(path: str) -> int:
    """Return the size of a file in bytes, 0 when there is none."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def companions(path: str) -> list[str]:
    """Return the existing files that make up the journal at *path*, the database first."""
    return [path + suffix for suffix in _FILES if os.path.exists(path + suffix)]


def create_file(path: str) -> None:
    """Create an empty file of mode 0600 unless there is one.

    SQLite gives the WAL the mode of the database. ``os.mknod`` and not ``os.open``: the latter
    is patched under eventlet, and this runs in a native thread.
    """
    with contextlib.suppress(FileExistsError):
        os.mknod(path, stat.S_IFREG | 0o600)


class Database:
    """The connection, its transaction and its savepoints.

    SQLAlchemy builds and runs the statements. Transactions are begun and ended in SQLite's own
    words: SQLAlchemy knows neither BEGIN IMMEDIATE nor an error that ends a transaction, and it
    would take a tenth of a commit's time for its book-keeping.

    :param read_only: open without the right to write, for tools that look at a live journal
    :param immutable: nobody writes the file while it is open, and nothing is made beside it
    :raises JournalError: when the file cannot be opened
    """

    def __init__(self, path: str, *, read_only: bool = False, immutable: bool = False) -> None:
        self.path = path
        self._immutable = immutable
        self.read_only = read_only
        self._pid = os.getpid()
        self._seen_version: int | None = None
        self._is_wal_in_doubt = False
        self._is_full = False
        self._make_room_at = 0.0
        with self.translated():
            self._engine = sqlalchemy.create_engine(
                "sqlite://",
                creator=self._connect,
                poolclass=pool.StaticPool,
                hide_parameters=True,
            )
            self._connection = self._engine.connect()
        driver: Any = self._connection.connection.driver_connection
        self._driver: sqlite3.Connection = driver
        _open.add(self)

    def _connect(self) -> sqlite3.Connection:
        mode = "ro" if self.read_only else "rw"
        mode += "&immutable=1" if self._immutable else ""
        quoted = self.path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        return sqlite3.connect(
            f"file:{quoted}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            # Transactions are begun here, in words, and not by the driver's guess.
            isolation_level=None,
            # The journal's writer sees to it that there is one at a time.
            check_same_thread=False,
        )

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Turn errors of SQLite and SQLAlchemy into those of the journal.

        :raises JournalError: or the subclass that fits
        """
        try:
            yield
        except (exc.DBAPIError, sqlite3.Error) as error:
            meant = translate(error, self.path)
            self._is_full |= isinstance(meant, errors.JournalFull)
            raise meant from error

    @property
    def inherited(self) -> bool:
        """Whether this process got the connection by a fork and so must leave it alone."""
        return os.getpid() != self._pid

    def _check_process(self) -> None:
        if self.inherited:
            raise errors.JournalError(
                f"journal {self.path} was opened before a fork; open it anew in this process"
            )

    @property
    def in_transaction(self) -> bool:
        """Whether SQLite holds a transaction; it ends one by itself on some errors."""
        return self._driver.in_transaction

    @property
    def connection(self) -> sqlalchemy.Connection:
        """The SQLAlchemy connection, for what needs one whole (creating the schema)."""
        return self._connection

    def set_up(self) -> None:
        """Set what makes a committed transaction durable, and space returnable.

        :raises JournalError: when the file system cannot carry a WAL
        """
        # The first two only take effect before the first table, and before WAL mode.
        self.pragma(f"page_size = {PAGE_SIZE}")
        self.pragma("auto_vacuum = INCREMENTAL")
        mode = self.pragma("journal_mode = WAL")
        if mode != "wal":
            raise errors.JournalError(
                f"journal {self.path} cannot use a WAL (mode {mode}); "
                "[edge_bus] journal_dir must be on a local file system"
            )
        self.pragma("synchronous = FULL")

    def check(self) -> None:
        """Have SQLite look at every page, and whether tables and indexes say the same.

        Where they do not, entries would be passed over, or taken for what they are not.

        :raises JournalCorrupt: when it finds damage
        """
        findings = self.pragma_rows("integrity_check(3)")
        if findings != [("ok",)]:
            text = "; ".join(str(row[0]) for row in findings)
            raise errors.JournalCorrupt(_corrupt(self.path, text))

    def pragma(self, text: str) -> Any:
        """Run a pragma outside SQLAlchemy's transactions and return its first value, if any.

        Most of these pragmas do nothing or fail within a transaction, which SQLAlchemy would
        begin for them.
        """
        rows = self.pragma_rows(text)
        return rows[0][0] if rows else None

    def pragma_rows(self, text: str) -> list[Any]:
        """Run a pragma like :meth:`pragma` and return all its rows."""
        self._check_process()
        return self._driver.execute(f"PRAGMA {text}").fetchall()

    def begin(self) -> bool:
        """Begin a transaction with the write lock, so that nothing in it waits for it later.

        :returns: whether another connection has written since the last one
        :raises JournalError: in a process that got the journal by a fork
        """
        self._check_process()
        if self._is_wal_in_doubt:
            self._is_wal_in_doubt = not self.empty_wal()
        if self._is_full and concurrency.monotonic() >= self._make_room_at:
            self._make_room()
        self._driver.execute("BEGIN" if self.read_only else "BEGIN IMMEDIATE")
        try:
            version = int(self.pragma("data_version"))
        except BaseException:
            self.rollback()
            raise
        changed = version != self._seen_version
        self._seen_version = version
        return changed

    def _make_room(self) -> None:
        """Have the WAL begin anew after a write for which there was no room.

        What is in it may well fit into the pages that the database has; only commits that
        succeed would look after that.
        """
        self._make_room_at = concurrency.monotonic() + MAKE_ROOM_SECONDS
        try:
            self._is_full = not self.empty_wal()
        except sqlite3.Error as error:
            LOG.debug("the WAL of journal %s cannot be emptied: %s", self.path, error)

    def commit(self) -> None:
        """Commit; when that fails nothing of the transaction remains.

        A sync that has failed says nothing of what is on the disk, and a later one that succeeds
        does not either. What could not be synced lies in the WAL all the same, and whoever opens
        the file after a crash would take it for committed. SQLite writes the next commit over it;
        here the WAL is emptied before there is one, so that no frame of it is left behind that.

        :raises JournalError: when an error has ended the transaction before
        """
        if not self._driver.in_transaction:
            raise errors.JournalError(f"a transaction of journal {self.path} ended by an error")
        try:
            self._driver.commit()
        except BaseException as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
                self._is_wal_in_doubt = True
            self.rollback()
            raise

    def empty_wal(self) -> bool:
        """Move what is in the WAL to its place and cut the file to nothing.

        :returns: whether that was done; not while another process reads, which nobody waits for
        """
        self.pragma("busy_timeout = 0")
        try:
            busy, *_ = self.pragma_rows("wal_checkpoint(TRUNCATE)")[0]
        finally:
            self.pragma(f"busy_timeout = {int(BUSY_SECONDS * 1000)}")
        return not busy

    def rollback(self) -> None:
        """Undo the transaction; some errors have SQLite do so before."""
        if self._driver.in_transaction:
            self._driver.rollback()

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what the block did when it raises, and keep the transaction around it.

        An error may have cost the whole transaction: see :attr:`in_transaction`.
        """
        self._driver.execute("SAVEPOINT op")
        try:
            yield
        except BaseException:
            if self._driver.in_transaction:
                self._driver.execute("ROLLBACK TO op")
                self._driver.execute("RELEASE op")
            raise
        self._driver.execute("RELEASE op")

    def run(
        self, statement: sqlalchemy.Executable, values: dict[str, Any] | None = None
    ) -> sqlalchemy.CursorResult[Any]:
        """Execute a Core statement."""
        return self._connection.execute(statement, values)

    def run_many(self, text: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Execute a text of :func:`compiled` once for each row."""
        if rows:
            self._driver.executemany(text, rows)

    def close(self) -> None:
        """Close the connection, which checkpoints."""
        _open.discard(self)
        with self.translated():
            self._connection.close()
            self._engine.dispose()
