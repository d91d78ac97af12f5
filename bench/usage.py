# SPDX-License-Identifier: Apache-2.0
"""What a process uses, from /proc."""

import collections.abc
import contextlib
import dataclasses
import os
import pathlib
import re

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LISTEN = "0A"
_IO_THREAD = re.compile("ZMQbg")


@dataclasses.dataclass(frozen=True)
class Usage:
    """Of one process at one moment; seconds of processor time since its start.

    ``loop_seconds`` are those of its first thread, ``io_seconds`` those of ZeroMQ's.
    ``waited_seconds`` are those in which the thread that waited longest was ready to run and had
    no processor.
    """

    memory_bytes: int
    descriptors: int
    cpu_seconds: float
    loop_seconds: float
    io_seconds: float
    waited_seconds: float


def read(pid: int) -> Usage:
    """What process *pid* uses now.

    :raises OSError: when there is none
    """
    place = pathlib.Path("/proc", str(pid))
    loop = io = other = waited = 0.0
    for task in (place / "task").iterdir():
        name, seconds = _thread(task)
        waited = max(waited, _waited(task))
        if int(task.name) == pid:
            loop += seconds
        elif _IO_THREAD.match(name):
            io += seconds
        else:
            other += seconds
    return Usage(
        memory_bytes=memory_bytes(pid),
        descriptors=len(os.listdir(place / "fd")),
        cpu_seconds=loop + io + other,
        loop_seconds=loop,
        io_seconds=io,
        waited_seconds=waited,
    )


def busy_cores_seconds() -> float:
    """How long the processors of this machine have been busy since it started, all together."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / _TICKS


def cpu_seconds(pid: int) -> float:
    """How long process *pid* has computed so far, in itself and for it in the kernel.

    :raises OSError: when there is none
    """
    return _thread(pathlib.Path("/proc", str(pid)))[1]


def memory_bytes(pid: int) -> int:
    """The memory that process *pid* has now.

    :raises OSError: when there is none
    """
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def listener(port: int) -> int | None:
    """The process of this machine that listens on a TCP port, where that can be told."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for descriptors in pathlib.Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            if any(os.readlink(each) in sockets for each in descriptors.iterdir()):
                return int(descriptors.parent.name)
    return None


def _listening(port: int) -> collections.abc.Iterator[str]:
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in pathlib.Path("/proc/net", name).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _waited(task: pathlib.Path) -> float:
    """Seconds; 0 where the kernel does not tell."""
    try:
        return int((task / "schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _thread(task: pathlib.Path) -> tuple[str, float]:
    # The name stands in brackets and may hold anything.
    before, _, after = (task / "stat").read_text().rpartition(")")
    fields = after.split()
    return before.partition("(")[2], (int(fields[11]) + int(fields[12])) / _TICKS
