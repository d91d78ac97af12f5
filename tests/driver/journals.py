# SPDX-License-Identifier: Apache-2.0
"""What stands in a journal, read with SQLite alone while its owner runs."""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
from collections.abc import Iterator
from typing import Any

from nova_edge_bus.journal import schema


def files(journal_dir: pathlib.Path) -> list[str]:
    """The names of the journals in a directory."""
    return sorted(path.name for path in journal_dir.glob("*.db"))


def only(journal_dir: pathlib.Path) -> pathlib.Path:
    """The one journal of a directory."""
    (found,) = journal_dir.glob("*.db")
    return found


def pending(journal: pathlib.Path) -> int:
    """How many entries are on disk and not settled."""
    query = f"SELECT count(*) FROM outbox WHERE state = {int(schema.State.PENDING)}"
    return int(_value(journal, query))


def counter(journal: pathlib.Path, name: str) -> int:
    """What the journal has counted."""
    return int(_value(journal, f"SELECT value FROM counters WHERE name = '{name}'"))


@contextlib.contextmanager
def stalled(journal: pathlib.Path) -> Iterator[None]:
    """Keep the owner from committing anything, as a disk that does not answer would."""
    with contextlib.closing(sqlite3.connect(journal, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def _value(journal: pathlib.Path, query: str) -> Any:
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as reader:
        row = reader.execute(query).fetchone()
        return row[0] if row else 0
