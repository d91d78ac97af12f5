# SPDX-License-Identifier: Apache-2.0
"""What the journals of a test hold, read beside their owners."""

from __future__ import annotations

import contextlib
import json
import pathlib
import sqlite3
import sys
from collections.abc import Iterator

from nova_edge_bus import errors
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import work
from tests.faults.history import Mark

_SHOWN = 20


def has_work(path: pathlib.Path) -> bool:
    """Whether a journal still has something to ship or to dispatch."""
    return work.has_work(path)


def pending_commands(path: pathlib.Path) -> int:
    """How many commands of a journal nobody has accepted yet."""
    query = "SELECT count(*) FROM outbox WHERE state = 2 AND kind = 3"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return int(connection.execute(query).fetchone()[0])


def interrupted(path: pathlib.Path) -> set[Mark]:
    """The commands that were dispatched and whose end nobody has seen."""
    with _attached(path) as opened:
        return {_mark(row.body) for row in opened.inbox.interrupted(sys.maxsize)}


def counters(path: pathlib.Path) -> dict[str, int]:
    """How the entries of a journal have ended."""
    with _attached(path) as opened:
        return opened.outbox.counters()


def describe(path: pathlib.Path) -> str:
    """What is pending in the outbox, and undone or interrupted in the inbox."""
    try:
        with _attached(path) as opened:
            lines = [f"--- {path} outbox={opened.outbox_id.hex()} epoch={opened.epoch}"]
            for stream in opened.outbox.streams():
                lines.append(str(stream))
                some = opened.outbox.pending(stream.address, 0, _SHOWN, 1 << 20)
                lines += [f"  seq={one.seq} pin={_pin(one)} {_mark(one.body)}" for one in some]
            for name, rows in (
                ("undone", opened.inbox.undone()),
                ("interrupted", opened.inbox.interrupted()),
            ):
                lines.append(f"{name}: {len(rows)}")
                lines += [
                    f"  outbox={one.origin.hex()} seq={one.seq} {_mark(one.body)}"
                    for one in rows[:_SHOWN]
                ]
    except errors.JournalError as error:
        return f"--- {path}: {error}"
    return "\n".join(lines)


@contextlib.contextmanager
def _attached(path: pathlib.Path) -> Iterator[journal.Journal]:
    opened = journal.Journal.attach(path, max_bytes=1 << 30, retention=3600)
    with contextlib.closing(opened), opened.transaction():
        yield opened


def _pin(entry: entries.Entry) -> str:
    return entry.consumer.hex() if entry.consumer else "none"


def _mark(body: bytes) -> Mark:
    _, message = json.loads(body)
    args = message["args"]
    return Mark(*(args["mark"] if "mark" in args else args["kwargs"]["mark"]))
