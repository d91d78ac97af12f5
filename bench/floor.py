# SPDX-License-Identifier: Apache-2.0
"""What the machine itself costs: a disk sync, a SQLite commit, an echo over raw sockets."""

import collections.abc
import contextlib
import dataclasses
import itertools
import os
import pathlib
import sqlite3
import sys
import time

import zmq

from bench import bodies
from bench import echo
from bench import figures
from bench import processes

_PAGE = 4096
_FILE_BYTES = 1000 * _PAGE
"""As many pages as SQLite lets its log grow to before it starts over."""
_WINDOW = 64
"""Echoes in flight while the rate is measured."""
_ECHO_TIMEOUT_MS = 10_000
_BATCH = 128
"""Rows that are sent, and deleted, together."""


@dataclasses.dataclass(frozen=True)
class Floor:
    """One floor; times in milliseconds, the rate a second."""

    what: str
    samples: int
    p50_ms: float | None
    p99_ms: float | None
    per_second: float


def _timed(act: collections.abc.Callable[[], object], seconds: float) -> list[int]:
    times = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter_ns()
        act()
        times.append(time.perf_counter_ns() - began)
    return times


def fdatasync(directory: pathlib.Path, size: int, seconds: float) -> list[int]:
    """What a write of *size* bytes into a file that has its length takes, with its sync, in ns.

    :param directory: where to write, on the disk to measure
    :param seconds: for how long to go on
    """
    path = directory / "fdatasync.bin"
    places = itertools.cycle(range(_FILE_BYTES // size))
    body = os.urandom(size)
    path.write_bytes(bytes(_FILE_BYTES))
    file = os.open(path, os.O_WRONLY)
    try:
        os.fsync(file)

        def write() -> None:
            os.pwrite(file, body, next(places) * size)
            os.fdatasync(file)

        return _timed(write, seconds)
    finally:
        os.close(file)
        path.unlink()


def _sqlite(directory: pathlib.Path, size: int, seconds: float) -> list[int]:
    path = directory / "commit.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS entry (seq INTEGER PRIMARY KEY, body BLOB)")
        body = os.urandom(size)

        def commit() -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO entry (body) VALUES (?)", (body,))
            connection.execute("COMMIT")

        return _timed(commit, seconds)


class Echo:
    """The client of the raw echo; this process is the third."""

    def __init__(self, stack: contextlib.ExitStack, logs: pathlib.Path, size: int) -> None:
        self._body = repr(bodies.instance(size, 0)).encode()
        router = self._child(stack, "router", "tcp://127.0.0.1", logs)
        address = router.line(_ECHO_TIMEOUT_MS / 1000).strip()
        self._child(stack, "echo", address, logs).line(_ECHO_TIMEOUT_MS / 1000)
        context = stack.enter_context(zmq.Context())
        self._socket = stack.enter_context(context.socket(zmq.DEALER))
        self._socket.linger = 0
        self._socket.rcvtimeo = _ECHO_TIMEOUT_MS
        self._socket.connect(address)
        self._wait_for_route()

    @staticmethod
    def _child(
        stack: contextlib.ExitStack, role: str, address: str, logs: pathlib.Path
    ) -> processes.Child:
        command = [sys.executable, "-m", "bench.echo", role, address]
        child = processes.Child(f"raw {role}", command, logs / f"raw-{role}.log")
        stack.callback(child.stop)
        return child

    def _wait_for_route(self) -> None:
        # The router drops what is for a DEALER whose connection it has not yet seen.
        for _ in range(100):
            self._send()
            if self._socket.poll(100):
                break
        while self._socket.poll(100):
            self._socket.recv_multipart()

    def _send(self, body: bytes | None = None) -> None:
        self._socket.send_multipart([echo.ECHO_ID, self._body if body is None else body])

    def once(self) -> None:
        """One round trip."""
        self._send()
        self._socket.recv_multipart()

    def stream(self, seconds: float) -> float:
        """Echoes a second with :data:`_WINDOW` of them in flight."""
        began = time.monotonic()
        for _ in range(_WINDOW):
            self._send()
        count = 0
        while time.monotonic() - began < seconds:
            self._socket.recv_multipart()
            self._send()
            count += 1
        taken = time.monotonic() - began
        for _ in range(_WINDOW):
            self._socket.recv_multipart()
        return count / taken

    def pass_on(
        self,
        batches: collections.abc.Iterable[list[bytes]],
        done: collections.abc.Callable[[int], object],
    ) -> None:
        """Send each body of *batches*, and call *done* with the size of each that is back whole.

        A batch is sent before the one ahead of it is back, so that no process waits for another.
        """
        ahead = 0
        for batch in batches:
            for body in batch:
                self._send(body)
            if ahead:
                self._back(ahead, done)
            ahead = len(batch)
        if ahead:
            self._back(ahead, done)

    def _back(self, count: int, done: collections.abc.Callable[[int], object]) -> None:
        for _ in range(count):
            self._socket.recv_multipart()
        done(count)


def drain(directory: pathlib.Path, logs: pathlib.Path, size: int, entries: int) -> float:
    """Entries a second of a drain that does the least a drain can do.

    Rows of SQLite are read in order, sent through a ROUTER to a process that sends them back,
    and deleted, one synced commit for each batch.

    :param directory: where the rows are, on the disk to measure
    :param size: bytes of a row
    """
    path = directory / "drain.db"
    connections = contextlib.closing(sqlite3.connect(path, isolation_level=None))
    with contextlib.ExitStack() as stack, connections as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE entry (seq INTEGER PRIMARY KEY, body BLOB)")
        connection.execute("BEGIN")
        rows = ((os.urandom(size),) for _ in range(entries))
        connection.executemany("INSERT INTO entry (body) VALUES (?)", rows)
        connection.execute("COMMIT")
        client = Echo(stack, logs, size)
        settled = 0

        def batches() -> collections.abc.Iterator[list[bytes]]:
            for first in range(0, entries, _BATCH):
                select = "SELECT body FROM entry WHERE seq > ? ORDER BY seq LIMIT ?"
                yield [body for (body,) in connection.execute(select, (first, _BATCH))]

        def delete(count: int) -> None:
            nonlocal settled
            settled += count
            connection.execute("DELETE FROM entry WHERE seq <= ?", (settled,))

        began = time.monotonic()
        client.pass_on(batches(), delete)
        return entries / (time.monotonic() - began)


def store(
    directory: pathlib.Path, logs: pathlib.Path, size: int, callers: int, seconds: float
) -> tuple[list[int], float]:
    """What keeping messages and passing them on takes at least: ns of each commit, and a rate.

    The rows of all *callers* are committed together, then sent through a ROUTER to a process that
    sends them back, and deleted, with one synced commit for many.

    :param directory: where the rows are, on the disk to measure
    """
    path = directory / "store.db"
    connections = contextlib.closing(sqlite3.connect(path, isolation_level=None))
    with contextlib.ExitStack() as stack, connections as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE entry (seq INTEGER PRIMARY KEY, body BLOB)")
        client = Echo(stack, logs, size)
        bodies_ = [os.urandom(size) for _ in range(callers)]
        times: list[int] = []
        settled = deleted = 0
        began = time.monotonic()

        def batches() -> collections.abc.Iterator[list[bytes]]:
            while time.monotonic() < began + seconds:
                before = time.perf_counter_ns()
                connection.execute("BEGIN IMMEDIATE")
                rows = ((body,) for body in bodies_)
                connection.executemany("INSERT INTO entry (body) VALUES (?)", rows)
                connection.execute("COMMIT")
                times.append(time.perf_counter_ns() - before)
                yield bodies_

        def delete(count: int) -> None:
            nonlocal settled, deleted
            settled += count
            if settled - deleted >= _BATCH:
                connection.execute("DELETE FROM entry WHERE seq <= ?", (settled,))
                deleted = settled

        client.pass_on(batches(), delete)
        return times, settled / (time.monotonic() - began)


def _floor(what: str, times: list[int], rate: float | None = None) -> Floor:
    return Floor(
        what=what,
        samples=len(times),
        p50_ms=figures.milliseconds(figures.percentile(times, 50)),
        p99_ms=figures.milliseconds(figures.percentile(times, 99)),
        per_second=rate if rate is not None else len(times) / (sum(times) / 1e9),
    )


def measure(directory: pathlib.Path, logs: pathlib.Path, size: int, seconds: float) -> list[Floor]:
    """Measure all floors.

    :param directory: where to write, on the disk that the journals are on
    :param size: bytes of a row and of a message
    :param seconds: for each
    """
    with contextlib.ExitStack() as stack:
        client = Echo(stack, logs, size)
        trips = _timed(client.once, seconds)
        rate = client.stream(seconds)
    return [
        _floor("fdatasync of a 4 KiB page", fdatasync(directory, _PAGE, seconds)),
        _floor(f"SQLite commit of a {size}-byte row", _sqlite(directory, size, seconds)),
        _floor(f"raw echo of {size} bytes, one in flight", trips),
        _floor(f"raw echo of {size} bytes, {_WINDOW} in flight", [], rate),
    ]
