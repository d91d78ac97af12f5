# SPDX-License-Identifier: Apache-2.0
"""Opening, identity, transactions, damage, and looking at a journal that is someone else's."""

import os
import pathlib
import sqlite3
import stat
import subprocess
import sys
import threading
from typing import Any

import pytest

from nova_edge_bus import errors
from nova_edge_bus.journal import database
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import quarantine
from nova_edge_bus.journal import schema
from nova_edge_bus.journal import work
from tests.unit.journal import make


def pragma(it: journal.Journal, name: str) -> Any:
    return it._db.pragma(name)


def test_a_commit_is_a_durable_one(it: journal.Journal) -> None:
    assert pragma(it, "journal_mode") == "wal"
    assert pragma(it, "synchronous") == 2
    assert pragma(it, "auto_vacuum") == 2
    assert pragma(it, "page_size") == database.PAGE_SIZE


def test_a_commit_waits_for_the_disk(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    script = """
import os
import sys
from tests.unit.journal import make
with make.opened(sys.argv[1]) as it:
    make.append(it, make.entry())
    os.write(2, b"mark")
    for _ in range(5):
        make.append(it, make.entry())
    os.write(2, b"mark")
"""
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=fdatasync,fsync,write", "-o", str(trace)]
    try:
        subprocess.run(
            [*command, sys.executable, "-c", script, str(path)],
            check=True,
            capture_output=True,
            cwd=make.ROOT,
        )
    except FileNotFoundError:
        pytest.skip("strace is not installed")
    within = trace.read_text().split('"mark"')[1]
    assert within.count("fdatasync(") == 5


def test_the_files_are_private(path: pathlib.Path) -> None:
    old = os.umask(0)
    try:
        with make.opened(path) as it:
            make.append(it, make.entry())
            modes = {stat.S_IMODE(os.stat(file).st_mode) for file in database.companions(it.path)}
    finally:
        os.umask(old)
    assert modes == {0o600}


def test_each_opening_has_an_epoch_and_a_nonce(path: pathlib.Path) -> None:
    seen = []
    for _ in range(3):
        with make.opened(path) as it:
            seen.append((it.outbox_id, it.epoch, it.nonce))
    assert [epoch for _, epoch, _ in seen] == [1, 2, 3]
    assert len({outbox_id for outbox_id, _, _ in seen}) == 1
    assert len({nonce for _, _, nonce in seen}) == 3
    assert all(len(it) == 8 for outbox_id, _, nonce in seen for it in (outbox_id, nonce))


def test_two_journals_have_different_outbox_ids(tmp_path: pathlib.Path) -> None:
    with make.opened(tmp_path / "a.db") as a, make.opened(tmp_path / "b.db") as b:
        assert a.outbox_id != b.outbox_id


def test_a_path_may_hold_any_character(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a?b#c%41 d&mode=memory.db"
    with make.opened(path) as it:
        make.append(it, make.entry())
    assert path.stat().st_size > 0
    with make.opened(path) as it:
        assert make.pending(it) == [1]


def test_no_directory(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.JournalError, match="cannot create journal /"):
        journal.Journal.open(tmp_path / "absent" / "x.db", max_bytes=make.QUOTA, retention=1)


def test_a_transaction_is_whole_or_absent(it: journal.Journal) -> None:
    make.append(it, make.entry())

    def work() -> None:
        with it.transaction():
            it.outbox.append_many([make.entry()])
            it.outbox.settle_many([(1, "applied", None)])
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert make.pending(it) == [1]
    assert make.counters(it) == {"appended": 1}


def test_a_savepoint_is_undone_alone(it: journal.Journal) -> None:
    def work() -> None:
        with it.savepoint():
            it.outbox.append_many([make.entry(address="new")])
            it.outbox.settle_many([(1, "applied", None)])
            raise KeyError

    with it.transaction():
        it.outbox.append_many([make.entry(), make.entry(address="scheduler")])
        with pytest.raises(KeyError):
            work()
        assert it.outbox.append_many([make.entry(address="newer")]) == [3]
    with it.transaction():
        found = [(s.address, s.entries, s.first_seq) for s in it.outbox.streams()]
    assert sorted(found) == [("conductor", 1, 1), ("newer", 1, 3), ("scheduler", 1, 2)]
    assert make.counters(it) == {"appended": 3}


def test_threads_use_it_one_after_the_other(it: journal.Journal) -> None:
    make.append(it, make.entry())
    thread = threading.Thread(target=lambda: make.append(it, make.entry()))
    thread.start()
    thread.join(make.WAIT)
    assert make.pending(it) == [1, 2]


def test_close_undoes_what_is_not_committed(path: pathlib.Path) -> None:
    with make.opened(path) as it:
        make.append(it, make.entry())
        it.begin()
        it.outbox.append_many([make.entry()])
    with make.opened(path) as it:
        assert make.pending(it) == [1]


# Damage


def fill(path: pathlib.Path, count: int = 50) -> None:
    with make.opened(path) as it:
        make.append(it, *(make.entry(body=bytes([n % 256]) * 9000) for n in range(count)))


def flip(path: pathlib.Path, offset: int, size: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        old = file.read(size)
        file.seek(offset)
        file.write(bytes(byte ^ 0xFF for byte in old))


def root_page(path: pathlib.Path, name: str) -> int:
    with sqlite3.connect(path) as connection:
        row = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,))
        return int(row.fetchone()[0])


@pytest.mark.parametrize("name", ["outbox", "outbox_pending", "sqlite_master"])
def test_a_flipped_page_is_found_at_open(path: pathlib.Path, name: str) -> None:
    fill(path)
    page = 1 if name == "sqlite_master" else root_page(path, name)
    flip(path, (page - 1) * database.PAGE_SIZE + 100 * (page == 1), 12)
    with pytest.raises(errors.JournalCorrupt) as caught:
        journal.Journal.open(path, max_bytes=make.QUOTA, retention=1)
    assert f"journal {path} is corrupt: " in str(caught.value)
    assert "nova-edge-bus verify" in str(caught.value)


def test_what_is_no_database_is_corrupt(path: pathlib.Path) -> None:
    path.write_bytes(b"hello, world! " * 1000)
    with pytest.raises(errors.JournalCorrupt, match="is not a database"):
        journal.Journal.open(path, max_bytes=make.QUOTA, retention=1)


def test_damage_that_comes_later_is_named_too(path: pathlib.Path) -> None:
    fill(path, 2000)
    with make.opened(path) as it:
        flip(path, 300 * database.PAGE_SIZE, 1500 * database.PAGE_SIZE)
        with pytest.raises(errors.JournalCorrupt, match="malformed"):
            make.pending(it)


def test_an_empty_file_is_a_new_journal(path: pathlib.Path) -> None:
    path.touch()
    with make.opened(path) as it:
        assert it.epoch == 1


def test_another_applications_database_is_left_alone(path: pathlib.Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (x)")
    with pytest.raises(errors.JournalError, match="database of another application"):
        journal.Journal.open(path, max_bytes=make.QUOTA, retention=1)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("other",)]


def test_an_index_that_has_not_what_the_table_has_is_found_at_the_open(
    path: pathlib.Path,
) -> None:
    """Entries would never be shipped; SQLite's quick check does not see it."""
    fill(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'state = 2', 'state = 3') "
            "WHERE name = 'outbox_pending'"
        )
    with pytest.raises(errors.JournalCorrupt), make.opened(path):
        pass


def test_a_corrupt_journal_can_be_set_aside(path: pathlib.Path) -> None:
    fill(path)
    with make.opened(path) as it:
        old_id = it.outbox_id
    damaged = path.read_bytes()
    path.with_name(path.name + "-wal").write_bytes(b"the WAL")
    aside = quarantine.quarantine(path)
    assert aside.startswith(f"{path}.corrupt-")
    assert pathlib.Path(aside).read_bytes() == damaged
    assert pathlib.Path(aside + "-wal").read_bytes() == b"the WAL"
    with make.opened(path) as it:
        assert it.outbox_id != old_id
        assert make.pending(it) == []


def test_two_corrupt_journals_within_a_second(path: pathlib.Path) -> None:
    names = set()
    for number in range(3):
        path.write_bytes(bytes([number]))
        names.add(quarantine.quarantine(path))
    contents = {pathlib.Path(name).read_bytes() for name in names}
    assert contents == {b"\x00", b"\x01", b"\x02"}


def test_what_is_not_there_cannot_be_set_aside(path: pathlib.Path) -> None:
    with pytest.raises(errors.JournalError, match="there is no such file"):
        quarantine.quarantine(path)


# Beside the owner


def attached(path: pathlib.Path, *, read_only: bool = True) -> journal.Journal:
    return journal.Journal.attach(
        path, max_bytes=make.QUOTA, retention=1, read_only=read_only, clock=make.Clock()
    )


def test_a_tool_reads_beside_the_owner(path: pathlib.Path, it: journal.Journal) -> None:
    make.append(it, make.entry())
    beside = attached(path)
    assert (beside.outbox_id, beside.epoch, beside.nonce) == (it.outbox_id, it.epoch, it.nonce)
    assert make.pending(beside) == [1]
    make.append(it, make.entry())
    assert make.pending(beside) == [1, 2]
    with pytest.raises(errors.JournalError, match="readonly"):
        make.append(beside, make.entry())
    beside.close()
    assert make.append(it, make.entry()) == [3]


def test_the_owner_sees_what_a_tool_wrote(path: pathlib.Path, it: journal.Journal) -> None:
    make.append(it, make.entry(), make.notification(body=b"x" * 100))
    beside = attached(path, read_only=False)
    assert make.append(beside, make.entry(address="of the tool")) == [3]
    make.settle(beside, (2, "dead", "of the tool"))
    assert make.append(it, make.entry()) == [4], "the owner has read the numbering anew"
    with it.transaction():
        assert {s.address for s in it.outbox.streams()} == {"conductor", "of the tool"}
    assert make.counters(it) == {"appended": 4, "dead": 1}
    beside.close()


def test_a_tool_waits_for_nobodys_migration(path: pathlib.Path) -> None:
    path.touch()
    with pytest.raises(errors.JournalError, match="has version 0 of"):
        attached(path)
    assert path.stat().st_size == 0


def test_a_tool_needs_a_journal(path: pathlib.Path) -> None:
    with pytest.raises(errors.JournalError, match="unable to open database file"):
        attached(path)
    assert not path.exists()


def test_the_owner_waits_for_a_tool_only_so_long(
    path: pathlib.Path, it: journal.Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    it._db.pragma("busy_timeout = 10")
    beside = attached(path, read_only=False)
    beside.begin()
    with pytest.raises(errors.JournalLocked, match="another process writes it"):
        make.append(it, make.entry())
    beside.rollback()
    assert make.append(it, make.entry()) == [1]
    beside.close()


def test_has_work(path: pathlib.Path) -> None:
    with pytest.raises(errors.JournalError):
        work.has_work(path)
    path.touch()
    assert not work.has_work(path), "a crash at creation leaves an empty file"
    with make.opened(path) as it:
        assert not work.has_work(path)
        make.append(it, make.entry())
        assert work.has_work(path)
        make.settle(it, (1, "applied", None))
        assert not work.has_work(path)


def test_the_version_is_written_where_a_tool_finds_it(path: pathlib.Path) -> None:
    with make.opened(path):
        pass
    header = path.read_bytes()[:100]
    assert int.from_bytes(header[60:64], "big") == schema.VERSION
    assert int.from_bytes(header[68:72], "big") == schema.APPLICATION_ID


def test_a_received_command_is_work_until_it_is_dispatched(path: pathlib.Path) -> None:
    with make.opened(path) as it:
        with it.transaction():
            it.inbox.accept_many([make.received(1)])
        assert work.has_work(path)
        with it.transaction():
            it.inbox.mark_dispatched_many([(make.received(1).origin, 1)])
        assert not work.has_work(path)
