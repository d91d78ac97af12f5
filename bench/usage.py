# SPDX-License-Identifier: Apache-2.0
"""What a process uses, from /proc."""

import dataclasses
import os
import pathlib
import re

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_IO_THREAD = re.compile("ZMQbg")


@dataclasses.dataclass(frozen=True)
class Usage:
    """Of one process at one moment; seconds of processor time since its start.

    ``loop_seconds`` are those of its first thread, ``io_seconds`` those of ZeroMQ's.
    """

    memory_bytes: int
    descriptors: int
    cpu_seconds: float
    loop_seconds: float
    io_seconds: float


def read(pid: int) -> Usage:
    """What process *pid* uses now.

    :raises OSError: when there is none
    """
    place = pathlib.Path("/proc", str(pid))
    loop = io = other = 0.0
    for task in (place / "task").iterdir():
        name, seconds = _thread(task)
        if int(task.name) == pid:
            loop += seconds
        elif _IO_THREAD.match(name):
            io += seconds
        else:
            other += seconds
    return Usage(
        memory_bytes=int((place / "statm").read_text().split()[1]) * _PAGE,
        descriptors=len(os.listdir(place / "fd")),
        cpu_seconds=loop + io + other,
        loop_seconds=loop,
        io_seconds=io,
    )


def _thread(task: pathlib.Path) -> tuple[str, float]:
    # The name stands in brackets and may hold anything.
    before, _, after = (task / "stat").read_text().rpartition(")")
    fields = after.split()
    return before.partition("(")[2], (int(fields[11]) + int(fields[12])) / _TICKS
