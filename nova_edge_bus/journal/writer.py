# SPDX-License-Identifier: Apache-2.0
"""Many callers' operations on a journal, one commit for all that wait.

One thread at a time uses the journal: the writer's own, or that of a caller who waits for the
commit anyway and finds nobody at it, which spares both the way to another thread and back. While a
commit is in the disk's hands, operations gather; the next commit takes them all. Nobody waits for
company: a lone operation is committed at once.
"""

import contextlib
import math
import os
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import TypeVar

from nova_edge_bus import concurrency
from nova_edge_bus import errors
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal

T = TypeVar("T")

GROUP_OPS = 256
"""The most operations in one commit, so that the first of them does not wait long."""
IDLE_SECONDS = 1.0
"""How long after the last operation housekeeping begins."""
RETENTION_SECONDS = 60.0
"""How often housekeeping looks for entries past their retention while nothing else happens."""
REOPEN_SECONDS = 1.0
"""The least time between attempts to open a journal that was full or locked."""


class _Operation:
    """One caller's wish: to run something, or to append an entry, in which others can join."""

    __slots__ = ("done", "entry", "error", "result", "run")

    def __init__(
        self,
        run: Callable[[journal.Journal], Any] | None,
        entry: entries.NewEntry | None,
        done: Callable[[Any, Exception | None], None],
    ) -> None:
        self.run = run
        self.entry = entry
        self.done = done
        self.result: Any = None
        self.error: Exception | None = None


class JournalWriter:
    """Opens a journal in a native thread of its own, and runs operations on it.

    Operations and their ``done`` callbacks run one after the other, in that thread or in the one
    of a caller that lends itself, see :meth:`append`.

    :param open_journal: opens the journal; called in the thread. It may set a corrupt file aside
        and open a fresh one. When it raises JournalFull or JournalLocked it is called again as
        operations come; any other error is final
    :param on_error: is told, like a ``done``, of errors that no operation's ``done`` gets: of the
        open, of housekeeping, of a ``done`` that raised
    """

    def __init__(
        self,
        open_journal: Callable[[], journal.Journal],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._open_journal = open_journal
        self._on_error = on_error
        self._pid = os.getpid()
        # Callers may be greenlets and this thread is native, so the lock between them has to be
        # native too. It is held for a list operation, never during I/O.
        self._wake = concurrency.native.threading.Condition()
        self._queue: list[_Operation] = []
        self._in_use = True
        self._wakes_at = 0.0
        self._is_checkpoint_due = False
        self._stopping = False
        self._journal: journal.Journal | None = None
        self._open_error: Exception | None = None
        self._reopen_at = 0.0
        self._tidied_at = concurrency.monotonic()
        self._tidy_at = self._tidied_at + IDLE_SECONDS
        self._thread = concurrency.spawn("edge-bus-journal", self._main)

    def submit(
        self,
        op: Callable[[journal.Journal], T],
        done: Callable[[T | None, Exception | None], None],
        *,
        waits: bool = False,
    ) -> None:
        """Run *op* and call *done* with its result, once that is on disk.

        Operations of several callers share a transaction; one that raises is undone alone and
        gets its error, and when the commit fails each is tried again on its own. So *op* may run
        more than once, each time but the last undone: it must change nothing but the journal,
        begin or end no transaction, let the journal's errors through, and do nothing slow.
        ``done`` callbacks come in the order of submission; one operation sees what those before
        it did.

        :param waits: see :meth:`append`
        :raises JournalError: after :meth:`stop`, or in a child forked since the writer was made
        """
        self._put(_Operation(op, None, done), waits=waits)

    def append(
        self,
        entry: entries.NewEntry,
        done: Callable[[int | None, Exception | None], None],
        *,
        waits: bool = False,
    ) -> None:
        """Append one entry and call *done* with its seq, once that is on disk.

        ``done`` gets JournalFull when there is no room, and the entry then has not been written.

        :param waits: the caller is going to wait for *done* and holds no lock: where nobody uses
            the journal, and the caller's thread may stand still, its thread does what there is to
            do before this returns, for others as well
        :raises JournalError: as :meth:`submit`
        """
        self._put(_Operation(None, entry, done), waits=waits)

    def _put(self, operation: _Operation, *, waits: bool) -> None:
        if os.getpid() != self._pid:
            raise errors.JournalError("the journal's writer was made before a fork")
        with self._wake:
            if self._stopping:
                raise errors.JournalError("the journal is closed: this process is stopping")
            self._queue.append(operation)
            if self._in_use:
                return
            if not (waits and self._may_be_led):
                self._wake.notify()
                return
            self._in_use = True
            operations, self._queue = self._queue, []
        try:
            self._serve(operations)
        finally:
            with self._wake:
                self._in_use = False
                if self._is_called or self._wakes_at > self._tidy_at:
                    self._wake.notify()

    @property
    def _may_be_led(self) -> bool:
        """Whether a caller may do what there is to do; not what only the thread does."""
        return (
            self._journal is not None
            and not self._is_checkpoint_due
            and concurrency.monotonic() < self._tidy_at
            and concurrency.may_stand_still()
        )

    @property
    def _is_called(self) -> bool:
        """Whether the thread has something to do at once."""
        return bool(self._queue) or self._stopping or self._is_checkpoint_due

    def stop(self, timeout: float) -> bool:
        """Commit what was submitted, close the journal, and tell whether that is finished.

        May be called again. In a child forked since the writer was made it does nothing.

        :param timeout: seconds to wait; the thread goes on afterwards
        """
        if os.getpid() != self._pid:
            return True
        with self._wake:
            self._stopping = True
            self._wake.notify()
        return concurrency.join(self._thread, timeout)

    # In the thread

    def _main(self) -> None:
        self._open()
        while True:
            operations, stopping = self._take()
            if operations:
                self._serve(operations)
            elif stopping:
                break
            if self._is_checkpoint_due:
                self._checkpoint()
            if concurrency.monotonic() >= self._tidy_at:
                self._tidy()
        if self._journal is not None:
            with self._reporting():
                self._journal.close()

    def _take(self) -> tuple[list[_Operation], bool]:
        """Wait for operations, the stop or housekeeping's time, whichever is first."""
        with self._wake:
            self._in_use = False
            while self._in_use or not self._is_called:
                left = self._tidy_at - concurrency.monotonic()
                if left <= 0 and not self._in_use:
                    break
                self._wakes_at = self._tidy_at if left > 0 else math.inf
                self._wake.wait(left if left > 0 else None)
            self._in_use = True
            operations, self._queue = self._queue, []
            return operations, self._stopping

    def _open(self) -> None:
        try:
            self._journal = self._open_journal()
            self._open_error = None
        except Exception as error:
            self._open_error = error
            self._reopen_at = concurrency.monotonic() + REOPEN_SECONDS
            self._report(error)

    def _reopen(self) -> None:
        transient = isinstance(self._open_error, errors.JournalFull | errors.JournalLocked)
        if transient and concurrency.monotonic() >= self._reopen_at:
            self._open()

    def _serve(self, operations: list[_Operation]) -> None:
        if self._journal is None:
            self._reopen()
        if self._journal is None:
            for operation in operations:
                operation.error = self._open_error
                self._finish(operation)
            return
        for group in _groups(operations, self._journal.group_bytes):
            if self._is_checkpoint_due:
                self._checkpoint()
            self._commit(self._journal, group)
            for operation in group:
                self._finish(operation)
            # The thread does it when the callers know of their commit; it takes a while.
            self._is_checkpoint_due = self._journal.checkpoint_due
        idle_at = concurrency.monotonic() + IDLE_SECONDS
        # Steady traffic never leaves an idle moment, and retention has to be kept nevertheless.
        self._tidy_at = min(idle_at, self._tidied_at + RETENTION_SECONDS)

    def _commit(self, it: journal.Journal, group: Sequence[_Operation]) -> None:
        try:
            with it.transaction():
                for run in _runs(group):
                    _run(it, run, alone=len(group) == 1)
        except errors.JournalLocked as error:
            # No operation's fault: alone, each would wait as long for the lock.
            for operation in group:
                operation.error = error
        except Exception as error:
            if len(group) == 1:
                group[0].error = error
                return
            for operation in group:
                operation.error = None
                self._commit(it, [operation])

    def _finish(self, operation: _Operation) -> None:
        result = operation.result if operation.error is None else None
        with self._reporting():
            operation.done(result, operation.error)

    def _checkpoint(self) -> None:
        self._is_checkpoint_due = False
        with self._reporting():
            if self._journal is not None:
                self._journal.checkpoint()

    def _tidy(self) -> None:
        pause = RETENTION_SECONDS
        with self._reporting():
            if self._journal is not None:
                self._journal.reclaim()
                pause = 0.0 if self._journal.reclaim_again else RETENTION_SECONDS
        self._tidied_at = concurrency.monotonic()
        self._tidy_at = self._tidied_at + pause

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._report(error)

    def _report(self, error: Exception) -> None:
        # Whoever is told may fail as well; the thread must not die of it.
        with contextlib.suppress(Exception):
            self._on_error(error)


def _groups(operations: list[_Operation], most_bytes: int) -> Iterator[list[_Operation]]:
    """Split operations into those of one commit each, in order."""
    group: list[_Operation] = []
    size = 0
    for operation in operations:
        size += len(operation.entry.body) if operation.entry else 0
        if group and (len(group) >= GROUP_OPS or size > most_bytes):
            yield group
            group = []
            size = len(operation.entry.body) if operation.entry else 0
        group.append(operation)
    yield group


def _runs(group: Sequence[_Operation]) -> Iterator[list[_Operation]]:
    """Split a group into runs of appends, each one statement, and single other operations."""
    run: list[_Operation] = []
    for operation in group:
        if run and (operation.entry is None or run[-1].entry is None):
            yield run
            run = []
        run.append(operation)
    yield run


def _run(it: journal.Journal, run: list[_Operation], *, alone: bool) -> None:
    """Run a part of a group.

    :param alone: the operation has the transaction to itself, whose rollback then undoes it
    :raises Exception: when the group has to be undone
    """
    if alone:
        _perform(it, run)
        return
    try:
        with it.savepoint():
            _perform(it, run)
    except Exception as error:
        if not it.in_transaction:
            raise
        if len(run) == 1:
            run[0].error = error
            return
        for operation in run:
            _run(it, [operation], alone=False)


def _perform(it: journal.Journal, run: list[_Operation]) -> None:
    new = [operation.entry for operation in run if operation.entry is not None]
    if new:
        for operation, seq in zip(run, it.outbox.append_many(new), strict=True):
            operation.result = seq
    elif run[0].run is not None:
        run[0].result = run[0].run(it)
