# SPDX-License-Identifier: Apache-2.0
"""What the figures were measured on: the machine, its disk, the versions."""

import contextlib
import importlib.metadata
import os
import pathlib
import platform
import sqlite3

import zmq

_VOLATILE = frozenset({"tmpfs", "ramfs"})
_PACKAGES = (
    "nova-edge-bus",
    "oslo.messaging",
    "kombu",
    "amqp",
    "pyzmq",
    "msgpack",
    "zstandard",
    "SQLAlchemy",
    "eventlet",
)


class NotOnDisk(Exception):
    """A directory is on a file system that keeps nothing."""


def filesystem(directory: pathlib.Path) -> str:
    """Type and device of the file system that *directory* is on, as ``ext4 on /dev/vda``."""
    real = pathlib.Path(os.path.realpath(directory))
    best, found = -1, "unknown"
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        # The kernel writes a space in a path as \040.
        mount = pathlib.Path(before.split()[4].replace("\\040", " "))
        if real.is_relative_to(mount) and len(mount.parts) >= best:
            kind, device = after.split()[:2]
            best, found = len(mount.parts), f"{kind} on {device}"
    return found


def require_disk(directory: pathlib.Path) -> str:
    """Like :func:`filesystem`, but insist on one that survives a power cut.

    :raises NotOnDisk: on tmpfs and the like.
    """
    found = filesystem(directory)
    if found.split()[0] in _VOLATILE:
        raise NotOnDisk(
            f"{directory} is on {found}, where a sync costs nothing; "
            "name a directory on a disk with --directory"
        )
    return found


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def describe(directory: pathlib.Path) -> dict[str, object]:
    """The machine, with the file system of *directory* and the load at this moment."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "filesystem": filesystem(directory),
        "load_average": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Python, the libraries beneath both buses, and what they link to."""
    found = {"python": platform.python_version(), **package_versions(*_PACKAGES)}
    found["libzmq"] = zmq.zmq_version()
    found["sqlite"] = sqlite3.sqlite_version
    return found


def package_versions(*packages: str) -> dict[str, str]:
    """The versions of those that are installed."""
    found = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
