# SPDX-License-Identifier: Apache-2.0
"""A disk that fails when it is told to, and that tells what was done to it; see shims/disk.c."""

from __future__ import annotations

import enum
import errno
import mmap
import pathlib
import struct
from collections.abc import Iterator
from typing import NamedTuple

from tests.faults import shims

_PLAN = struct.Struct("7i")
_RECORD = struct.Struct("iiQqq")
_PLAN_BYTES = 4096


class Operation(enum.IntEnum):
    """What can fail."""

    OPEN = 1
    WRITE = 2
    SYNC = 3
    TRUNCATE = 4


class File(enum.IntEnum):
    """On which file of a journal."""

    ANY = 0
    DATABASE = 1
    WAL = 2


class Record(NamedTuple):
    """One thing that was done to a file; ``what`` is a letter of shims/disk.c."""

    what: str
    inode: int
    offset: int
    length: int
    data: bytes


class Disk:
    """The disk below one directory, as processes with :attr:`environment` see it.

    :param scratch: where the plan and the log are kept, not below *root*
    :param is_recorded: whether to write down what is done; nothing is synced for real then
    """

    def __init__(self, root: pathlib.Path, scratch: pathlib.Path, *, is_recorded: bool) -> None:
        self.root = root
        self.log = scratch / "disk.log"
        plan = scratch / "disk.plan"
        plan.write_bytes(bytes(_PLAN_BYTES))
        with plan.open("r+b") as file:
            self._plan = mmap.mmap(file.fileno(), _PLAN_BYTES)
        self.environment = {
            "LD_PRELOAD": shims.built("disk"),
            "DISK_ROOT": str(root),
            "DISK_PLAN": str(plan),
        }
        if is_recorded:
            self.environment["DISK_LOG"] = str(self.log)

    def fail(
        self,
        operation: Operation,
        file: File = File.ANY,
        error: int = errno.EIO,
        *,
        skip: int = 0,
        count: int = -1,
        forget: bool = False,
    ) -> None:
        """Have operations fail from now on.

        :param skip: how many succeed before
        :param count: how many fail, -1 for all
        :param forget: when a sync fails, what was not synced is gone from the file as well, as
            where the kernel has thrown its pages away
        """
        self._plan[: _PLAN.size] = bytes(_PLAN.size)
        self._plan[4 : _PLAN.size] = _PLAN.pack(0, int(file), error, skip, count, int(forget), 0)[
            4:
        ]
        # Last, because it is what puts the rest into force.
        self._plan[:4] = struct.pack("i", int(operation))

    def heal(self) -> int:
        """Let everything succeed again; how often something has failed."""
        self._plan[:4] = bytes(4)
        return self.failures

    @property
    def failures(self) -> int:
        """How often something has failed since :meth:`fail`."""
        return int(_PLAN.unpack(self._plan[: _PLAN.size])[6])

    def records(self) -> Iterator[Record]:
        """What was done, in its order."""
        with self.log.open("rb") as log:
            while head := log.read(_RECORD.size):
                what, _, inode, offset, length = _RECORD.unpack(head)
                has_data = chr(what) in "OWRU"
                data = log.read(length) if has_data else b""
                yield Record(chr(what), inode, offset, length, data)
