# SPDX-License-Identifier: Apache-2.0
"""Which journal file is whose: one slot per process, held by a lock that ends with the process.

A slot is the pair of files ``HOST.SERVICE-N.db`` and ``HOST.SERVICE-N.lock``. HOST and SERVICE
are percent-encoded, in SERVICE the dot as well, so that the last dot before ``-N`` separates them.
The lock is ``flock``'s: it is gone the moment its process is, however that ended, and the lock
file stays, because deleting it could leave two processes with a lock on two files of one name.
"""

import contextlib
import fcntl
import io
import os
import re
import urllib.parse
from collections.abc import Callable
from collections.abc import Iterator

from nova_edge_bus import errors
from nova_edge_bus.journal import database

MAX_SLOTS = 1000
"""The most slots of one service on one host."""

_NAME = re.compile(r"(?P<host>.+)\.(?P<service>[^.]+)-(?P<number>[0-9]+)\.db")

_held: set["Slot"] = set()


def _drop_inherited() -> None:
    # The lock belongs to the open file, which a fork shares: a child that kept its copy open
    # would keep the slot taken after its parent's death. Closing a copy does not unlock.
    for slot in _held:
        slot._lock.close()
    _held.clear()


os.register_at_fork(after_in_child=_drop_inherited)


class Slot:
    """A slot that this process holds; after a fork the child holds nothing.

    ``path`` is the journal file, which may not exist yet.
    """

    def __init__(self, path: str, host: str, service: str, number: int, lock: io.FileIO) -> None:
        self.path = path
        self.host = host
        self.service = service
        self.number = number
        self._lock = lock
        _held.add(self)

    def release(self) -> None:
        """Let another process take the slot; may be called again. Close the journal first."""
        _held.discard(self)
        self._lock.close()

    def __enter__(self) -> "Slot":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()


def take(journal_dir: str | os.PathLike[str], host: str, service: str) -> Slot:
    """Take the lowest slot of a service on a host that nobody holds.

    The directory is made, with mode 0700, when there is none; one that exists keeps its mode.

    :raises JournalLocked: when all slots are held
    :raises JournalError: when the directory or the lock file cannot be made
    :raises ValueError: when host or service is empty
    """
    directory = os.fspath(journal_dir)
    if not host or not service:
        raise ValueError(f"a journal needs a host and a service, not {host!r} and {service!r}")
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        for number in range(MAX_SLOTS):
            slot = _try(directory, host, service, number)
            if slot is not None:
                return slot
    except OSError as error:
        raise errors.JournalError(f"cannot take a journal in {directory}: {error}") from error
    raise errors.JournalLocked(
        f"all {MAX_SLOTS} journals of {service} on {host} in {directory} are held; "
        "see [edge_bus] journal_dir"
    )


def orphans(
    journal_dir: str | os.PathLike[str],
    host: str,
    wanted: Callable[[str], bool] = os.path.exists,
) -> Iterator[Slot]:
    """Take, one at a time, each slot of a host whose journal exists and whose holder is gone.

    The caller releases each. Slots are tried as the iterator advances, so a slot that the caller
    releases at once is still not yielded twice.

    :param wanted: tells from a journal's path whether to try its slot at all; a service that
        starts while its own slot is tried has to take another one
    :raises JournalError: when the directory cannot be read
    """
    directory = os.fspath(journal_dir)
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return
    except OSError as error:
        raise errors.JournalError(f"cannot look for journals in {directory}: {error}") from error
    for name in names:
        parsed = parse(name)
        if parsed is None or parsed[0] != host:
            continue
        slot = _try(directory, *parsed) if wanted(os.path.join(directory, name)) else None
        if slot is None:
            continue
        if os.path.exists(slot.path):
            yield slot
        else:
            slot.release()


def take_file(path: str | os.PathLike[str]) -> Slot:
    """Take the slot of a journal file that exists, whatever its name.

    :raises JournalLocked: when its process lives
    :raises JournalError: when the lock file cannot be made
    """
    file = os.path.abspath(os.fspath(path))
    base = file.removesuffix(".db")
    host, service, number = parse(os.path.basename(file)) or ("", "", 0)
    try:
        slot = _lock(base, file, host, service, number)
    except OSError as error:
        raise errors.JournalError(f"cannot take journal {file}: {error}") from error
    if slot is None:
        raise errors.JournalLocked(f"journal {file} has a process: {holder(file) or 'unseen'}")
    return slot


def holder(path: str | os.PathLike[str]) -> int | None:
    """Return the pid of the process that holds the slot of a journal; None when none is seen.

    Nothing is locked to find out, for a service that starts at that moment would take another
    slot. A process in another container's pid namespace is not seen.

    :param path: the journal's file
    """
    lock = os.fspath(path).removesuffix(".db") + ".lock"
    try:
        inode = os.stat(lock).st_ino
        with open("/proc/locks", encoding="ascii") as locks:
            lines = locks.readlines()
    except OSError:
        return None
    for line in lines:
        # 1: FLOCK  ADVISORY  WRITE 3725 fe:00:1466425 0 EOF; one that waits has an arrow.
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
            if _has_open(int(fields[4]), lock):
                return int(fields[4])
    return None


def _has_open(pid: int, file: str) -> bool:
    """Whether a process has a file open, or may have: another user's cannot be looked into."""
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except PermissionError:
        return True
    except OSError:
        return False
    for name in names:
        try:
            if os.path.samefile(os.path.join(folder, name), file):
                return True
        except OSError:
            continue
    return False


def stem(host: str, service: str, number: int) -> str:
    """Return the name of a slot's files without their endings."""
    safe_host = urllib.parse.quote(host, safe="")
    safe_service = urllib.parse.quote(service, safe="").replace(".", "%2E")
    return f"{safe_host}.{safe_service}-{number}"


def parse(name: str) -> tuple[str, str, int] | None:
    """Return host, service and number of a journal file's name, None for another file's."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    host, service = (urllib.parse.unquote(match[part]) for part in ("host", "service"))
    return host, service, int(match["number"])


def _try(directory: str, host: str, service: str, number: int) -> Slot | None:
    base = os.path.join(directory, stem(host, service, number))
    return _lock(base, base + ".db", host, service, number)


def _lock(base: str, file: str, host: str, service: str, number: int) -> Slot | None:
    # No os.open here: it is patched under eventlet, and this may run in a native thread.
    database.create_file(base + ".lock")
    lock = io.FileIO(base + ".lock", "r+")
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(lock.close)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        on_failure.pop_all()
    return Slot(file, host, service, number, lock)
