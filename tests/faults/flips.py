# SPDX-License-Identifier: Apache-2.0
"""Journals with one flipped bit, and what of it nobody is told."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pathlib
import random
import shutil
from collections.abc import Iterator
from typing import Any

from nova_edge_bus import errors
from nova_edge_bus.journal import checking
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import reading
from tests.unit.journal import make

ADDRESSES = ("conductor", "compute.edge-1", "compute.edge-2")
_ORIGINS = (b"origin-1", b"origin-2")
_NOW = 1.8e9
"""Wall clock seconds, in 2027."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """What must not change without being told."""

    outbox_id: bytes
    pending: dict[int, Any]
    undone: dict[tuple[bytes, int], Any]
    last_seq: int
    pins: frozenset[tuple[int, bytes]]


class Original:
    """A journal as a killed process left it, with something of everything in it."""

    def __init__(self, directory: pathlib.Path, chance: random.Random) -> None:
        self._directory = directory
        self._sent: dict[int, Any] = {}
        self._received: dict[tuple[bytes, int], Any] = {}
        live, self.path = directory / "live.db", directory / "killed.db"
        with make.opened(live, clock=lambda: _NOW) as it:
            for _ in range(6):
                self._fill(it, chance)
            assert it._db.empty_wal()
            for _ in range(2):
                self._fill(it, chance)
            for suffix in ("", "-wal"):
                shutil.copyfile(f"{live}{suffix}", f"{self.path}{suffix}")
            self.contents = _contents(it)
        self.files = [pathlib.Path(f"{self.path}{suffix}") for suffix in ("", "-wal")]

    def _fill(self, it: journal.Journal, chance: random.Random) -> None:
        def body() -> bytes:
            return chance.randbytes(chance.choice([20, 800, 6000]))

        seqs = []
        for number in range(10):
            kind = make.RECORD if number % 2 else make.COMMAND
            address = ADDRESSES[number % len(ADDRESSES)]
            new = make.entry(
                kind=kind, address=address, group=f"instance-{number % 4}", body=body()
            )
            seqs += self._append(it, new)
        self._append(it, make.notification(body=body(), expires_at=4e9))
        make.settle(it, (seqs[1], "applied", None), (seqs[3], "recorded", None))
        make.settle(it, (seqs[2], "accepted", None), (seqs[5], "dead", "refused"))
        with it.transaction():
            it.outbox.pin_many([(seqs[0], b"consumer")])
        first = seqs[0]
        with it.transaction():
            for origin in _ORIGINS:
                assert it.inbox.newest_epoch(origin, 3) == 3
                taken = [
                    make.received(first + n, origin=origin, body=body(), epoch=3) for n in range(3)
                ]
                it.inbox.accept_many(taken)
                self._received |= {(origin, one.seq): _command(one) for one in taken}
                it.inbox.mark_dispatched_many([(origin, first)])
                it.inbox.mark_done_many([(origin, first)])
                it.inbox.forget_below(origin, "compute.host-1", first + 1)
            it.kept.write([("entity/a", body()), ("meta", b"[]")])

    def _append(self, it: journal.Journal, new: entries.NewEntry) -> list[int]:
        (seq,) = make.append(it, new)
        self._sent[seq] = _content(new)
        return [seq]

    def positions(self, chance: random.Random, count: int) -> list[tuple[pathlib.Path, int]]:
        """So many bits of the files, drawn evenly: file and number of the bit."""
        sizes = [file.stat().st_size * 8 for file in self.files]
        found = []
        for _ in range(count):
            bit = chance.randrange(sum(sizes))
            file = self.files[bit >= sizes[0]]
            found.append((file, bit - (sizes[0] if bit >= sizes[0] else 0)))
        return found

    def flipped(self, name: str, file: pathlib.Path, bit: int) -> pathlib.Path:
        """A copy with one bit of one of its files flipped."""
        copy = self._directory / f"{name}.db"
        for each in self.files:
            data = bytearray(each.read_bytes())
            if each == file:
                data[bit // 8] ^= 1 << bit % 8
            pathlib.Path(str(each).replace(str(self.path), str(copy))).write_bytes(data)
        return copy

    def examine(self, path: pathlib.Path) -> tuple[str, list[str]]:
        """What a process that opens the copy, or an operator, is told; what nobody is told."""
        findings: list[str] = []
        try:
            with reading.opened(path) as reader:
                findings = [str(each) for each in checking.findings(reader)]
        except errors.JournalError as error:
            findings = [str(error)]
        with _errors_logged() as logged:
            try:
                with make.opened(path, clock=lambda: _NOW) as it:
                    found = _contents(it)
                    damaged = it.outbox.take_damaged()
            except errors.JournalError as error:
                return f"refused: {error}", []
        changes = list(self._changes(found))
        if damaged:
            changes = [each for each in changes if not each.endswith(f" {damaged[0]} is gone")]
        if logged:
            return f"told at the open: {logged[0]}", _wrong(changes)
        if findings:
            return f"verify: {findings[0]}", _wrong(changes)
        return "damaged entry" if damaged else "nothing", changes

    def _changes(self, found: Contents) -> Iterator[str]:
        was = self.contents
        if found.outbox_id != was.outbox_id:
            yield "wrong outbox id"
        if found.last_seq < was.last_seq:
            yield f"wrong last seq: {found.last_seq}"
        for what, before, now, ever in (
            ("entry", was.pending, found.pending, self._sent),
            ("command", was.undone, found.undone, self._received),
        ):
            for key in before.keys() - now.keys():
                yield f"{what} {key} is gone"
            for key in now.keys() - before.keys():
                yield f"{what} {key} is there again"
            for key, content in now.items():
                if ever.get(key) != content:
                    yield f"wrong {what} {key}: {content!s:.200}"
        if found.pins - was.pins:
            yield f"wrong pins: {found.pins - was.pins}"


def _wrong(changes: list[str]) -> list[str]:
    """What no telling makes good: something would be shipped that nobody has sent."""
    return [each for each in changes if each.startswith("wrong")]


def _contents(it: journal.Journal) -> Contents:
    pending, pins = {}, set()
    with it.transaction():
        for address in ADDRESSES:
            for one in it.outbox.pending(address, 0, 10_000, 1 << 30):
                pending[one.seq] = _content(one)
                if one.consumer is not None:
                    pins.add((one.seq, one.consumer))
        undone = {(one.origin, one.seq): _command(one) for one in it.inbox.undone()}
    last = make.append(it, make.entry())[0]
    return Contents(it.outbox_id, pending, undone, last, frozenset(pins))


def _content(one: entries.NewEntry) -> tuple[Any, ...]:
    return one.address, one.kind, one.group, one.body, one.expires_at


def _command(one: entries.Received) -> tuple[Any, ...]:
    return one.address, one.group, one.body


@contextlib.contextmanager
def _errors_logged() -> Iterator[list[str]]:
    logged: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(record.getMessage())

    handler = Handler(logging.WARNING)
    logger = logging.getLogger("nova_edge_bus")
    logger.addHandler(handler)
    try:
        yield logged
    finally:
        logger.removeHandler(handler)


def flip(
    directory: pathlib.Path, chance: random.Random, count: int
) -> tuple[list[str], list[str]]:
    """Flip so many bits, each in a copy of its own; what was told of each, and what of none."""
    original = Original(directory, chance)
    outcomes, silent = [], []
    for number, (file, bit) in enumerate(original.positions(chance, count)):
        copy = original.flipped(f"copy-{number}", file, bit)
        told, untold = original.examine(copy)
        outcomes.append(told)
        silent += [f"{file.name} byte {bit // 8} bit {bit % 8}: {told}: {text}" for text in untold]
        for each in directory.glob(f"copy-{number}.*"):
            each.unlink()
    return outcomes, silent
