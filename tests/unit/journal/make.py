# SPDX-License-Identifier: Apache-2.0
"""What the journal's tests begin with: entries, open journals, and a writer to wait for."""

import contextlib
import functools
import pathlib
import queue
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import TypeVar

from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import writer
from nova_edge_bus.protocol import messages

T = TypeVar("T")

RECORD = int(messages.Kind.RECORD)
COMMAND = int(messages.Kind.COMMAND)
ROOT = pathlib.Path(__file__).resolve().parents[3]
"""Where a script that a test starts finds the package and the tests."""
LINK = "tcp://a.example.org:5570"
MEBIBYTE = 1 << 20
QUOTA = 64 * MEBIBYTE
RETENTION = 3600.0
WAIT = 30.0
"""Seconds to wait for what must happen at some time."""


class Clock:
    """A wall clock that stands until it is set."""

    def __init__(self, now: float = 1_000_000.25) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def entry(**changes: Any) -> entries.NewEntry:
    """A record of a conductor's, with some fields changed."""
    values: dict[str, Any] = {
        "link": LINK,
        "address": "conductor",
        "kind": RECORD,
        "group": "instance-1",
        "method": "object_action",
        "body": b"some body",
        "consumer": None,
        "created_at": 1_000_000.25,
        "expires_at": None,
    }
    return entries.NewEntry(**(values | changes))


def command(**changes: Any) -> entries.NewEntry:
    return entry(kind=COMMAND, **changes)


def notification(**changes: Any) -> entries.NewEntry:
    return command(**({"expires_at": 2_000_000.5} | changes))


def received(seq: int, **changes: Any) -> entries.Received:
    values: dict[str, Any] = {
        "origin": b"origin-1",
        "seq": seq,
        "epoch": 1,
        "address": "compute.host-1",
        "group": "instance-1",
        "body": b"some body",
        "received_at": 1_000_000.25,
    }
    return entries.Received(**(values | changes))


@contextlib.contextmanager
def opened(path: pathlib.Path, **changes: Any) -> Iterator[journal.Journal]:
    """A journal that is open for the block."""
    values: dict[str, Any] = {"max_bytes": QUOTA, "retention": RETENTION, "clock": Clock()}
    it = journal.Journal.open(path, **(values | changes))
    try:
        yield it
    finally:
        it.close()


def append(it: journal.Journal, *new: entries.NewEntry) -> list[int]:
    with it.transaction():
        return it.outbox.append_many(new)


def settle(it: journal.Journal, *settlements: tuple[int, str, str | None]) -> list[int]:
    with it.transaction():
        return it.outbox.settle_many(settlements)


def pending(it: journal.Journal, address: str = "conductor") -> list[int]:
    with it.transaction():
        return [each.seq for each in it.outbox.pending(address, 0, 10_000, 1 << 40)]


def counters(it: journal.Journal) -> dict[str, int]:
    """The counters that are not 0."""
    with it.transaction():
        return {name: value for name, value in it.outbox.counters().items() if value}


def reclaim_all(it: journal.Journal) -> int:
    """Do all housekeeping there is; the bytes given back."""
    given = it.reclaim()
    while it.reclaim_again:
        given += it.reclaim()
    return given


class Writer:
    """A writer whose operations can be waited for, and whose thread can be held up."""

    def __init__(self, open_journal: Callable[[], journal.Journal]) -> None:
        self._release = threading.Event()
        self.errors: queue.Queue[Exception] = queue.Queue()
        self.writer = writer.JournalWriter(open_journal, self.errors.put)

    def run(self, op: Callable[[journal.Journal], T]) -> T:
        """Run *op* and return its result, or raise its error."""
        outcomes: queue.Queue[tuple[Any, Exception | None]] = queue.Queue()
        self.writer.submit(op, lambda result, error: outcomes.put((result, error)))
        result: T = self._outcome(outcomes)
        return result

    def append(self, new: entries.NewEntry) -> int:
        outcomes: queue.Queue[tuple[Any, Exception | None]] = queue.Queue()
        self.writer.append(new, lambda seq, error: outcomes.put((seq, error)))
        seq: int = self._outcome(outcomes)
        return seq

    @staticmethod
    def _outcome(outcomes: "queue.Queue[tuple[Any, Exception | None]]") -> Any:
        result, error = outcomes.get(timeout=WAIT)
        if error is not None:
            raise error
        return result

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Whatever the block submits is in the queue together before any of it is taken."""
        entered = threading.Event()
        self._release = threading.Event()

        def hold(_: journal.Journal) -> None:
            entered.set()
            self._release.wait(WAIT)

        self.writer.submit(hold, lambda *_: None)
        assert entered.wait(WAIT)
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Let the thread go on, within the block of :meth:`held`."""
        self._release.set()


class Outcomes:
    """Collects what ``done`` callbacks are given, under a name each."""

    def __init__(self, expected: int) -> None:
        self.seen: list[tuple[str, Any, Exception | None]] = []
        self._expected = expected
        self._complete = threading.Event()

    def of(self, name: str) -> Any:
        return functools.partial(self._add, name)

    def _add(self, name: str, result: Any, error: Exception | None) -> None:
        self.seen.append((name, result, error))
        if len(self.seen) == self._expected:
            self._complete.set()

    def wait(self) -> list[tuple[str, Any, type[Exception] | None]]:
        assert self._complete.wait(WAIT)
        return [
            (name, result, type(error) if error else None) for name, result, error in self.seen
        ]


def append_op(it: journal.Journal) -> int:
    return it.outbox.append_many([entry()])[0]


def pending_in(writer: Writer) -> list[int]:
    return writer.run(
        lambda it: [each.seq for each in it.outbox.pending("conductor", 0, 10_000, 1 << 30)]
    )


@contextlib.contextmanager
def writing(path: pathlib.Path, **changes: Any) -> Iterator[Writer]:
    """A writer on a journal, stopped after the block."""
    values: dict[str, Any] = {"max_bytes": QUOTA, "retention": RETENTION}
    it = Writer(lambda: journal.Journal.open(path, **(values | changes)))
    try:
        yield it
    finally:
        assert it.writer.stop(WAIT)


def pause() -> None:
    """Let other threads and the clock go on, between two looks at something."""
    time.sleep(0.05)
