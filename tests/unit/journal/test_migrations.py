# SPDX-License-Identifier: Apache-2.0
"""An older journal is brought to this version step by step, a newer one is refused."""

import pathlib
import sqlite3

import pytest
import sqlalchemy

from nova_edge_bus import errors
from nova_edge_bus.journal import inbox
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import migrations
from nova_edge_bus.journal import schema
from nova_edge_bus.journal import work
from tests.unit.journal import make


def version(path: pathlib.Path) -> int:
    with sqlite3.connect(path) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def columns(path: pathlib.Path, table: str) -> list[str]:
    with sqlite3.connect(path) as connection:
        return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def add_column(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE outbox ADD COLUMN colour TEXT")
    connection.exec_driver_sql("UPDATE outbox SET colour = 'blue'")


def add_table(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE later AS SELECT seq, colour FROM outbox")


def fail(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE later (x)")
    connection.exec_driver_sql("UPDATE outbox SET colour = 'red'")
    raise OSError("power cut")


@pytest.fixture
def old(path: pathlib.Path) -> pathlib.Path:
    """A journal of version 1, with entries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "VERSION", 1)
        with make.opened(path) as it:
            make.append(it, make.entry(), make.entry())
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE snapshot")
        connection.execute("DELETE FROM counters WHERE name = 'forwarded'")
        connection.execute("ALTER TABLE inbox DROP COLUMN identity")
    return path


def test_version_2_has_a_snapshot(old: pathlib.Path) -> None:
    with make.opened(old) as it:
        with it.transaction():
            it.kept.write([("a", b"1")])
        with it.transaction():
            assert it.kept.read() == [("a", b"1")]
            assert len(it.outbox.records(0, 10)) == 2
    assert version(old) == schema.VERSION


def test_version_3_counts_what_was_forwarded(old: pathlib.Path) -> None:
    with make.opened(old) as it:
        make.settle(it, (1, "recorded", None))
        with it.transaction():
            it.outbox.history.retire([1], 1.0)
        assert make.counters(it)["forwarded"] == 1


def test_version_4_knows_who_sent_a_command(old: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with sqlite3.connect(old) as connection:
        connection.execute(
            'INSERT INTO inbox (origin, seq, epoch, address, "group", received_at, checksum, '
            "state, body) VALUES (?, 5, 1, 'a', 'g', 1.0, ?, 2, ?)",
            (b"origin-1", inbox.checksum(make.received(5, address="a", group="g")), b"some body"),
        )
    with make.opened(old) as it:
        with it.transaction():
            it.inbox.accept_many([make.received(6, identity="compute:edge-7")])
        with it.transaction():
            assert [(row.seq, row.identity) for row in it.inbox.undone()] == [
                (5, ""),
                (6, "compute:edge-7"),
            ]
    with make.opened(tmp_path / "new.db"):
        pass
    assert columns(old, "inbox") == columns(tmp_path / "new.db", "inbox")


def test_a_new_journal_is_of_this_version(path: pathlib.Path) -> None:
    with make.opened(path):
        pass
    assert version(path) == schema.VERSION


def test_every_version_has_the_step_that_leads_to_it() -> None:
    assert set(migrations.STEPS) == set(range(2, schema.VERSION + 1))


def test_steps_run_in_order_and_once(old: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "VERSION", 3)
    monkeypatch.setattr(migrations, "STEPS", {2: add_column, 3: add_table})
    for epoch in (2, 3):
        with make.opened(old) as it:
            assert it.epoch == epoch
            assert make.pending(it) == [1, 2]
        assert version(old) == 3
        with sqlite3.connect(old) as connection:
            rows = connection.execute("SELECT * FROM later").fetchall()
        assert rows == [(1, "blue"), (2, "blue")]


def test_a_step_that_fails_leaves_the_version_before_it(
    old: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "VERSION", 3)
    monkeypatch.setattr(migrations, "STEPS", {2: add_column, 3: fail})
    with pytest.raises(OSError, match="power cut"):
        journal.Journal.open(old, max_bytes=make.QUOTA, retention=1)
    assert version(old) == 2
    assert columns(old, "later") == []
    with sqlite3.connect(old) as connection:
        assert connection.execute("SELECT DISTINCT colour FROM outbox").fetchall() == [("blue",)]
    monkeypatch.setattr(migrations, "STEPS", {2: fail, 3: add_table})
    with make.opened(old) as it:
        assert make.pending(it) == [1, 2]
    assert version(old) == 3


def test_a_new_file_is_made_at_once_without_steps(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "VERSION", 2)
    monkeypatch.setattr(migrations, "STEPS", {2: fail})
    with make.opened(path):
        pass
    assert version(path) == 2


def test_a_newer_journal_is_refused_and_left_alone(
    old: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(old) as connection:
        connection.execute("PRAGMA user_version = 7")
    before = old.read_bytes()
    for use in (
        lambda: journal.Journal.open(old, max_bytes=make.QUOTA, retention=1),
        lambda: journal.Journal.attach(old, max_bytes=make.QUOTA, retention=1),
        lambda: work.has_work(old),
    ):
        with pytest.raises(
            errors.JournalTooNew, match=f"has version 7, this package knows {schema.VERSION}"
        ):
            use()
    assert old.read_bytes() == before


def test_an_older_journal_waits_for_its_owner(
    old: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "VERSION", 2)
    with pytest.raises(errors.JournalError, match="has version 1 of 2; it is migrated when"):
        journal.Journal.attach(old, max_bytes=make.QUOTA, retention=1)
    assert work.has_work(old)
