# SPDX-License-Identifier: Apache-2.0
"""One open journal, as the I/O thread uses it: nothing here blocks it, results come back to it."""

import collections
import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import Any
from typing import NamedTuple
from typing import TypeVar

from nova_edge_bus import concurrency
from nova_edge_bus import errors
from nova_edge_bus import events
from nova_edge_bus import settings as settings_module
from nova_edge_bus.autonomy import forward
from nova_edge_bus.autonomy import notes
from nova_edge_bus.journal import dead
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal as journal_module
from nova_edge_bus.journal import quarantine
from nova_edge_bus.journal import slots
from nova_edge_bus.journal import writer
from nova_edge_bus.runtime import combining

LOG = concurrency.NativeLogger(__name__)
T = TypeVar("T")

OPEN_TIMEOUT = 60.0
"""Seconds that opening a journal, with its integrity check, may take."""
STOP_TIMEOUT = 10.0
"""Seconds that the writer may take to finish what it was given."""
LAZY_SECONDS = 0.2
"""How long an outcome may wait for a commit; a crash before it costs a repetition only."""
REPEAT_WARNING = 60.0
"""Seconds after which a warning about something that goes on is repeated."""
LAZY_LIMIT = 256
"""How many outcomes may wait for a commit."""
PAGE_ENTRIES = 128
PAGE_BYTES = 4 << 20


@dataclasses.dataclass(slots=True)
class LeftOver:
    """What the outbox holds for one link.

    ``records`` has each unsettled record's ``(seq, group)``, ``streams`` each stream's ``(key,
    first seq)``, ``by_address`` the seqs of the records.
    """

    records: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    streams: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    by_address: dict[str, set[int]] = dataclasses.field(default_factory=dict)


class _Lazy(NamedTuple):
    verb: Callable[[journal_module.Journal, list[Any]], object]
    then: Callable[[list[Any]], object]


class Store:
    """A journal with its slot and its writer.

    :param call_soon: runs a function on the I/O thread
    :param take_epoch: see :meth:`~nova_edge_bus.journal.journal.Journal.open`; without it, a
        damaged journal is left where it is
    """

    def __init__(
        self,
        slot: slots.Slot,
        settings: settings_module.Settings,
        call_soon: Callable[[Callable[[], None]], None],
        *,
        take_epoch: bool = True,
    ) -> None:
        self._slot = slot
        self.call_soon = call_soon
        self._left_through = 0
        self._lazy: dict[_Lazy, list[Any]] = {}
        self._lazy_count = 0
        self._lazy_since: float | None = None
        self._writer = writer.JournalWriter(
            functools.partial(_open, slot.path, settings, take_epoch), on_error=_report
        )
        try:
            self.outbox_id, self.epoch, self.nonce = self.wait(
                lambda journal: (journal.outbox_id, journal.epoch, journal.nonce)
            )
        except Exception:
            self.close()
            raise

    @property
    def path(self) -> str:
        """The journal's file."""
        return str(self._slot.path)

    def wait(self, op: Callable[[journal_module.Journal], T]) -> T:
        """Run *op* in the writer and wait for it; not for the I/O thread.

        :raises JournalError: when the journal cannot be opened or written
        """
        done = concurrency.native.threading.Event()
        outcome: list[Any] = [None, None]

        def finish(result: T | None, error: Exception | None) -> None:
            outcome[:] = [result, error]
            done.set()

        self._writer.submit(op, finish)
        if not concurrency.wait(done, OPEN_TIMEOUT):
            raise errors.JournalError(
                f"journal {self.path} did not answer within {OPEN_TIMEOUT:g} s; is the disk stuck?"
            )
        if outcome[1] is not None:
            raise outcome[1]
        result: T = outcome[0]
        return result

    def left_over(self) -> dict[str, LeftOver]:
        """What the outbox holds from before, by link; not for the I/O thread.

        Nobody waits for any of it any more, and it may be applied much later than it was written.
        Dead letters that an operator wants shipped again are part of it, and so is what brings
        forward the receivers of records that an operator has said to be lost.

        :raises JournalError: when it cannot be read
        """
        self._take_up()
        self.wait(lambda journal: forward.bring(journal, forward.nothing_known))
        self._left_through = self.wait(lambda journal: journal.outbox.last_seq)
        return self.wait(_left_over)

    def page(
        self,
        journal: journal_module.Journal,
        key: str,
        after: int,
        link: str,
        known: notes.Known = notes.nothing_known,
    ) -> tuple[list[entries.Entry], list[int]]:
        """An operation: the next entries of a stream, and the seqs of those that are damaged.

        Writes that were left over get their notes here, and not all before the first is shipped.

        :param known: what is known of the centre, for these notes
        :raises JournalFull: when there is no room for the notes
        """
        page = journal.outbox.pending(key, after, PAGE_ENTRIES, PAGE_BYTES, link)
        for entry in page:
            if entry.seq <= self._left_through:
                notes.write_on_left_over(journal, entry, known)
        return page, journal.outbox.take_damaged()

    def _take_up(self) -> None:
        try:
            while len(self.wait(lambda journal: journal.outbox.dead.take_up())) == dead.TAKEN_UP:
                pass
        except errors.JournalFull as error:
            LOG.warning("cannot take up what is to be requeued yet: %s", error)

    def undone(self) -> list[entries.Received]:
        """The commands that were accepted and not dispatched; not for the I/O thread.

        :raises JournalError: when they cannot be read
        """
        return self.wait(lambda journal: list(journal.inbox.undone(sys.maxsize)))

    def run(
        self,
        op: Callable[[journal_module.Journal], T],
        then: Callable[[T | None, Exception | None], None],
    ) -> None:
        """Run *op* in the writer, and *then* on the I/O thread after the commit."""
        self._writer.submit(
            op, lambda result, error: self.call_soon(functools.partial(then, result, error))
        )

    def submit(
        self,
        op: Callable[[journal_module.Journal], T],
        done: Callable[[T | None, Exception | None], None],
        *,
        waits: bool = False,
    ) -> None:
        """Run *op* in the writer, and *done* there after the commit.

        :param waits: see :meth:`~nova_edge_bus.journal.writer.JournalWriter.append`
        """
        self._writer.submit(op, done, waits=waits)

    def append(
        self,
        entry: entries.NewEntry,
        done: Callable[[int | None, Exception | None], None],
        *,
        waits: bool = False,
    ) -> None:
        """Append an entry; *done* runs in the writer after the commit.

        :param waits: see :meth:`~nova_edge_bus.journal.writer.JournalWriter.append`
        """
        self._writer.append(entry, done, waits=waits)

    def combiner(self, verb: combining.Verb) -> combining.Combiner:
        """Writes with *verb* for many callers at once; they are told by the writer."""
        return combining.Combiner(self._writer.submit, verb)

    def lazily(
        self,
        verb: Callable[[journal_module.Journal, list[Any]], object],
        then: Callable[[list[Any]], object],
        argument: Any,
    ) -> None:
        """Write *argument* with a later commit; *then* runs on the I/O thread after that.

        Both get all the arguments that have gathered for the same pair of them.
        """
        self._lazy.setdefault(_Lazy(verb, then), []).append(argument)
        self._lazy_count += 1
        if self._lazy_since is None:
            self._lazy_since = concurrency.monotonic()
        if self._lazy_count == LAZY_LIMIT:
            self._flush()

    def tick(self, now: float) -> None:
        """Commit what has waited long enough."""
        if self._lazy_since is not None and now - self._lazy_since >= LAZY_SECONDS:
            self._flush()

    def next_deadline(self) -> float | None:
        """Monotonic seconds of the next lazy commit."""
        return None if self._lazy_since is None else self._lazy_since + LAZY_SECONDS

    def close(self) -> None:
        """Commit what is left, close the journal and give the slot back."""
        self._flush()
        if self._writer.stop(STOP_TIMEOUT):
            self._slot.release()
        else:
            LOG.error(
                "journal %s is still being written after %g s; its slot is kept until the "
                "process ends",
                self.path,
                STOP_TIMEOUT,
            )

    def _put_back(self, lazy: dict[_Lazy, list[Any]]) -> None:
        """These could not be written: try again with the next commit."""
        for each, arguments in lazy.items():
            self._lazy[each] = arguments + self._lazy.get(each, [])
            self._lazy_count += len(arguments)
        self._lazy_since = concurrency.monotonic()

    def _flush(self) -> None:
        lazy, self._lazy = self._lazy, {}
        self._lazy_since, self._lazy_count = None, 0
        if not lazy:
            return

        def apply(journal: journal_module.Journal) -> None:
            for each, arguments in lazy.items():
                each.verb(journal, arguments)

        def finish(_: object, error: Exception | None) -> None:
            if error is not None:
                LOG.warning_once_in(
                    REPEAT_WARNING, "cannot write outcomes to journal %s: %s", self.path, error
                )
                self._put_back(lazy)
                return
            for each, arguments in lazy.items():
                each.then(arguments)

        self.run(apply, finish)


def _open(
    path: Any, settings: settings_module.Settings, take_epoch: bool
) -> journal_module.Journal:
    open_journal = functools.partial(
        journal_module.Journal.open,
        path,
        max_bytes=settings.journal_max_bytes,
        retention=settings.journal_retention,
        take_epoch=take_epoch,
    )
    if not take_epoch:
        return open_journal()
    try:
        return open_journal()
    except errors.JournalCorrupt as error:
        aside = quarantine.quarantine(path)
        LOG.error(events.JOURNAL_CORRUPT, path, f"{error}; see {aside}")
        return open_journal()


def _report(error: Exception) -> None:
    LOG.error("journal writer: %s", error)


def _left_over(journal: journal_module.Journal) -> dict[str, LeftOver]:
    found: dict[str, LeftOver] = collections.defaultdict(LeftOver)
    for stream in journal.outbox.streams():
        found[stream.link].streams.append((stream.address, stream.first_seq))
    for link, address, seq, group in journal.outbox.record_groups():
        found[link].records.append((seq, group))
        found[link].by_address.setdefault(address, set()).add(seq)
    return dict(found)
