# SPDX-License-Identifier: Apache-2.0
"""A process that works on a journal and says, byte by byte, what it was told.

Run as ``python -m tests.faults.appender DIRECTORY SEED``. Each line that it appends to the file
``marks`` of the directory, and to its output, says what is true from then on::

    open EPOCH              the journal was opened
    appended SEQ CRC        the append of a body with this CRC 32 has returned
    settling SEQ            it is about to be settled
    settled SEQ             that has returned
    failed CRC ERROR        an append, by the body's CRC 32, has raised
"""

from __future__ import annotations

import os
import pathlib
import random
import sys
import threading
import time
import zlib

from nova_edge_bus import errors
from nova_edge_bus.journal import journal
from tests.unit.journal import make

QUOTA = 2 << 20
"""Small, so that there is a checkpoint every few entries."""
NAME = "edge.nova-compute-0.db"
_THREADS = 4
_KEPT = 40
"""The pending entries of each thread; what is older is settled."""


class _Marks:
    def __init__(self, path: pathlib.Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, text: str) -> None:
        line = f"{text}\n".encode()
        os.write(self._file, line)
        os.write(1, line)


def _work(writer: make.Writer, marks: _Marks, chance: random.Random) -> None:
    mine: list[int] = []
    while True:
        body = chance.randbytes(chance.choice([10, 3000, 12_288]))
        crc = zlib.crc32(body)
        try:
            seq = writer.append(make.entry(body=body))
            marks.add(f"appended {seq} {crc}")
            mine.append(seq)
            if len(mine) > _KEPT:
                _settle(writer, marks, mine.pop(0))
        except errors.JournalError as error:
            marks.add(f"failed {crc} {type(error).__name__}: {error}")
            time.sleep(0.01)


def _settle(writer: make.Writer, marks: _Marks, seq: int) -> None:
    marks.add(f"settling {seq}")
    while True:
        try:
            writer.run(lambda it: it.outbox.settle_many([(seq, "applied", None)]))
        except errors.JournalError:
            time.sleep(0.01)
        else:
            marks.add(f"settled {seq}")
            return


def main(directory: str, seed: str) -> None:
    """Work until killed."""
    path = pathlib.Path(directory, NAME)
    marks = _Marks(pathlib.Path(directory, "marks"))
    writer = make.Writer(
        lambda: journal.Journal.open(path, max_bytes=QUOTA, retention=make.RETENTION)
    )
    marks.add(f"open {writer.run(lambda it: it.epoch)}")
    threads = [
        threading.Thread(target=_work, args=(writer, marks, random.Random(f"{seed} {number}")))
        for number in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
