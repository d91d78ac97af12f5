# SPDX-License-Identifier: Apache-2.0
"""A look into the edge bus's journals from outside, as an operator with sqlite3 would."""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
from collections.abc import Iterator

from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import outbox as outbox_module
from nova_edge_bus.journal import schema

_MAX_BYTES = 1 << 30
_MOST = 10_000


def entries_written(directory: pathlib.Path) -> int:
    """Return how many entries the outboxes in a journal directory ever got.

    Zero where there is no journal, as under RabbitMQ.
    """
    return sum(counters["appended"] for counters in _counters(directory))


def last_seq(directory: pathlib.Path) -> int:
    """Return the highest seq in a journal directory, zero without a journal."""
    return max((_highest_seq(path) for path in directory.glob("*.db")), default=0)


def forwarded(directory: pathlib.Path) -> int:
    """Return how many applied entries were brought forward after the centre had lost them."""
    return sum(counters["forwarded"] for counters in _counters(directory))


def entries_pending(directory: pathlib.Path) -> int:
    """Return how many entries in a journal directory still wait for their outcome."""
    query = f"SELECT count(*) FROM outbox WHERE state = {int(schema.State.PENDING)}"
    return sum(_number(path, query) for path in directory.glob("*.db"))


def settled(directory: pathlib.Path, outcome: entries.Outcome | None) -> list[entries.StoredEntry]:
    """Return the entries in a journal directory that ended so (None: that are pending)."""
    found = []
    for outbox in _outboxes(directory):
        found += outbox.settled.listing(outcome, limit=_MOST)
    return found


def _counters(directory: pathlib.Path) -> Iterator[dict[str, int]]:
    for outbox in _outboxes(directory):
        yield outbox.counters()


def _outboxes(directory: pathlib.Path) -> Iterator[outbox_module.Outbox]:
    """Yield the outboxes of the journals in a directory, each in a transaction."""
    for path in sorted(directory.glob("*.db")):
        with (
            contextlib.closing(
                journal.Journal.attach(path, max_bytes=_MAX_BYTES, retention=0, read_only=True)
            ) as attached,
            attached.transaction(),
        ):
            yield attached.outbox


def _highest_seq(journal: pathlib.Path) -> int:
    return _number(journal, "SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")


def _number(journal: pathlib.Path, query: str) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
        row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
