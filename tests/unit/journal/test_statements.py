# SPDX-License-Identifier: Apache-2.0
"""The statements take the indexes they were written for, and settling stays in place."""

import pathlib
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.dialects.sqlite import pysqlite

from nova_edge_bus.journal import database
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import schema
from nova_edge_bus.journal import statements
from tests.unit.journal import make

VALUES: dict[str, Any] = {
    "seqs": "[1]",
    "streams": [1],
    "after": 0,
    "most": 10,
    "now": 0,
    "at_least": 1,
}


def plan(it: journal.Journal, statement: Any) -> str:
    """How SQLite means to run a statement, its steps on one line."""
    names = statement.compile().binds
    bound = statement.params(**{name: VALUES[name] for name in names if name in VALUES})
    text = bound.compile(dialect=pysqlite.dialect()).construct_expanded_state()
    rows = it._db._driver.execute(
        f"EXPLAIN QUERY PLAN {text.statement}", text.positional_parameters
    )
    return "; ".join(row[3] for row in rows)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("PENDING", "SEARCH outbox USING INDEX outbox_pending (stream=? AND seq>?)"),
        ("STREAMS", "SCAN outbox USING COVERING INDEX outbox_pending"),
        ("FIRST_PENDING", "outbox USING COVERING INDEX outbox_pending"),
        ("EXPIRING", "SEARCH outbox USING COVERING INDEX outbox_expiring"),
        ("NOTIFICATION_BYTES", "SEARCH outbox USING COVERING INDEX outbox_expiring"),
        ("NEXT_PENDING", "SEARCH outbox USING INTEGER PRIMARY KEY (rowid>?)"),
        ("FIND", "SEARCH outbox USING INTEGER PRIMARY KEY (rowid=?)"),
    ],
)
def test_the_index_is_taken(it: journal.Journal, name: str, step: str) -> None:
    found = plan(it, getattr(statements, name))
    assert step in found
    assert "TEMP B-TREE" not in found


def test_parameters_that_are_not_those_of_the_text_are_refused() -> None:
    table = schema.counters
    statement = table.update().values(value=sqlalchemy.bindparam("a"))
    with pytest.raises(ValueError, match="parameters are"):
        database.compiled(statement, "b")


def wal_pages(it: journal.Journal, path: pathlib.Path) -> int:
    size = path.with_name(path.name + "-wal").stat().st_size
    it._db.pragma("wal_checkpoint(TRUNCATE)")
    return size // (database.PAGE_SIZE + 24)


def test_settling_and_pinning_do_not_write_the_bodies_again(
    it: journal.Journal, path: pathlib.Path, clock: make.Clock
) -> None:
    make.append(it, *[make.entry(body=bytes(12_288))] * 50)
    assert wal_pages(it, path) > 150
    with it.transaction():
        it.outbox.pin_many([(seq, b"inbox-01") for seq in range(1, 51)])
    assert wal_pages(it, path) < 20
    clock.now += 100
    make.settle(it, *[(seq, "applied", None) for seq in range(1, 51)])
    assert wal_pages(it, path) < 20


def test_dispatching_does_not_write_the_body_again(
    it: journal.Journal, path: pathlib.Path
) -> None:
    with it.transaction():
        it.inbox.accept_many([make.received(seq, body=bytes(12_288)) for seq in range(1, 51)])
    assert wal_pages(it, path) > 150
    with it.transaction():
        for seq in range(1, 51):
            it.inbox.mark_dispatched_many([(b"origin-1", seq)])
    assert wal_pages(it, path) < 20
