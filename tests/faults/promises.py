# SPDX-License-Identifier: Apache-2.0
"""What :mod:`tests.faults.appender` was told, against what a journal holds."""

from __future__ import annotations

import pathlib
import zlib
from collections.abc import Iterator

from tests.faults import appender
from tests.unit.journal import make


class Promises:
    """What is true after these marks."""

    def __init__(self, marks: str) -> None:
        self.epoch = 0
        self.appended: dict[int, int] = {}
        self.settling: set[int] = set()
        self.settled: set[int] = set()
        self.failed: dict[int, str] = {}
        whole = marks[: marks.rfind("\n") + 1]
        for line in whole.splitlines():
            what, first, *rest = line.split(" ", 2)
            match what:
                case "open":
                    self.epoch = int(first)
                case "appended":
                    self.appended[int(first)] = int(rest[0])
                case "settling":
                    self.settling.add(int(first))
                case "settled":
                    self.settled.add(int(first))
                case "failed":
                    self.failed[int(first)] = rest[0]

    def broken_by(self, path: pathlib.Path, *, failed_are_absent: bool) -> Iterator[str]:
        """Open the journal as its next owner and yield what is not as it was promised.

        :param failed_are_absent: whether what has failed must not be there; after a power cut it
            may, for then nobody could take it back
        """
        with make.opened(path, max_bytes=appender.QUOTA) as it:
            if it.epoch <= self.epoch:
                yield f"epoch {it.epoch} comes after {self.epoch}"
            with it.transaction():
                found = it.outbox.pending("conductor", 0, 100_000, 1 << 30)
                damaged = it.outbox.take_damaged()
        crcs = {entry.seq: zlib.crc32(entry.body) for entry in found}
        yield from (f"entry {seq} is damaged" for seq in damaged)
        for seq, crc in self.appended.items():
            if seq in self.settled:
                if seq in crcs:
                    yield f"entry {seq} was settled and is pending"
            elif seq not in crcs and seq not in self.settling:
                yield f"entry {seq} is lost"
            elif crcs.get(seq, crc) != crc:
                yield f"entry {seq} is another one"
        for seq, crc in crcs.items():
            if failed_are_absent and crc in self.failed:
                yield f"entry {seq} is there and its append had failed: {self.failed[crc]}"
