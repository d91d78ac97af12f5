# SPDX-License-Identifier: Apache-2.0
"""What a live process says of itself in a small file beside its journal, and how it is read.

A journal cannot tell which endpoints are linked. The process that owns it therefore writes
``HOST.SERVICE-N.status``: JSON, whole or not at all, replaced at changes and every
:data:`INTERVAL` seconds. It is a hint for operators; nothing of the bus depends on it, and a crash
makes no more of it than an old or an unreadable file.
"""

import io
import json
import os
import time
from typing import Any

from nova_edge_bus.journal import database
from nova_edge_bus.journal import slots

VERSION = 1
INTERVAL = 10.0
"""Seconds after which a record is replaced though nothing has changed."""
STALE_SECONDS = 3 * INTERVAL
"""The age from which on a record says nothing of the present."""
_ENDING = ".status"
RUNNING = "running"
"""What ``state`` says while the process lives."""


def path_of(journal: str) -> str:
    """Return where the process that owns the journal at *journal* writes its record."""
    return journal.removesuffix(".db") + _ENDING


def write(journal: str, record: dict[str, Any]) -> None:
    """Replace the record beside a journal; who this process is is added to it.

    :raises OSError: when it cannot be written; the one before it is still there
    """
    target = path_of(journal)
    new = f"{target}.new"
    database.create_file(new)
    # No open() here: os.open is patched under eventlet, and this runs in a native thread.
    own = {"version": VERSION, "pid": os.getpid(), "pid_namespace": pid_namespace()}
    with io.FileIO(new, "w") as file:
        file.write(json.dumps({**own, **record}).encode())
    os.replace(new, target)


def read(journal: str) -> dict[str, Any] | None:
    """Return the record beside a journal; None when there is none that can be understood."""
    try:
        with open(path_of(journal), "rb") as file:
            record = json.load(file)
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("version") != VERSION:
        return None
    return record


def pid_namespace() -> str:
    """Return what names the namespace that this process's pids are from."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def owner(journal: str, record: dict[str, Any] | None) -> tuple[int | None, bool]:
    """Return the pid that holds the slot of a journal, and whether *record* is of now and of it.

    Of a process in another container only its record tells.
    """
    pid = slots.holder(journal)
    if record is None or record["state"] != RUNNING:
        return pid, False
    is_fresh = age(record) < STALE_SECONDS
    if pid is None and is_fresh and record["pid_namespace"] != pid_namespace():
        pid = int(record["pid"])
    return pid, is_fresh and record["pid"] == pid


def age(record: dict[str, Any]) -> float:
    """Return the seconds since a record was written."""
    return max(0.0, time.time() - float(record["written_at"]))
