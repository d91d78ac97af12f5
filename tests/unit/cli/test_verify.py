# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus verify``: each kind of damage is found, and a sound journal is left in peace."""

from __future__ import annotations

import json
import pathlib
import sqlite3

import pytest

from nova_edge_bus.cli import main
from tests.unit.journal import make

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """A journal in which something of every kind has happened."""
    path = tmp_path / "edge-7.nova-compute-0.db"
    with make.opened(path) as it:
        make.append(
            it, *(make.entry(body=bytes(3000)) for _ in range(6)), make.command(), make.entry()
        )
        make.settle(
            it,
            (1, "applied", None),
            (2, "merged", "entry 3 stands for it"),
            (3, "dead", "refused"),
            (4, "dead", "refused"),
            (5, "expired", None),
            (7, "accepted", None),
        )
        with it.transaction():
            it.outbox.dead.discard_many([3])
            it.outbox.dead.ask_many([4])
        with it.transaction():
            assert it.outbox.dead.take_up()
        with it.transaction():
            it.inbox.accept_many([make.received(1), make.received(2)])
            it.inbox.mark_done_many([(b"origin-1", 2)])
            it.kept.write([("entity/a", b"{}"), ("meta", b"[]")])
    return path


def verify(capsys: Capture, path: pathlib.Path) -> tuple[int, list[str]]:
    status = main.main(["verify", "--journal", str(path)])
    out, err = capsys.readouterr()
    assert err == ""
    return status, out.splitlines()


def tamper(path: pathlib.Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(statement)


def test_a_sound_journal_passes(path: pathlib.Path, capsys: Capture) -> None:
    assert verify(capsys, path) == (0, [f"{path}: nothing found"])


def test_it_passes_beside_its_owner_and_after_a_purge(path: pathlib.Path, capsys: Capture) -> None:
    with make.opened(path, retention=0.0, clock=make.Clock(2_000_000.0)) as it:
        make.append(it, make.entry())
        assert verify(capsys, path)[0] == 0
        make.reclaim_all(it)
        assert verify(capsys, path)[0] == 0


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE outbox SET body = x'00' WHERE seq = 6", "checksums: entry 6: pending, its"),
        ("UPDATE outbox SET body = x'00' WHERE seq = 1", "checksums: entry 1: applied, its"),
        ("UPDATE outbox SET body = x'' WHERE seq = 6", "checksums: entry 6: pending, its"),
        ("UPDATE outbox SET \"group\" = 'b' WHERE seq = 8", "checksums: entry 8: pending, its"),
        ("UPDATE inbox SET body = x'00' WHERE seq = 1", "inbox: command 1 of 6f726967696e2d31: "),
        ("UPDATE snapshot SET body = x'0001' WHERE key = 'meta'", "snapshot: meta: its bytes"),
        ("DELETE FROM outbox WHERE seq = 1", "counters: settled entries: 4 are there, 5 are"),
        ("UPDATE outbox SET state = 6 WHERE seq = 6", "counters: dead letters: 1 are there, 0"),
        ("UPDATE outbox SET state = 77 WHERE seq = 6", "states: entry 6: has state 77"),
        ("UPDATE sqlite_sequence SET seq = 5 WHERE name = 'outbox'", "seqs: entry 9: is above 5"),
        ("DELETE FROM streams", "streams: entry 6: goes to a destination that is not there"),
        ("INSERT INTO reasons VALUES (70, 'x')", "reasons: entry 70: has a reason and is not"),
        (
            "UPDATE reasons SET reason = 'entry 1 stands for it' WHERE seq = 2",
            "successors: entry 2: entry 1 stands for it, which cannot be",
        ),
        ("DELETE FROM counters WHERE name = 'dead'", "counters: dead: is not there"),
        ("DELETE FROM journal", "identity: journal: there are 0 identities, not one"),
        ("UPDATE journal SET nonce = x'00'", "identity: journal: the nonce has 1 bytes, not 8"),
        ("UPDATE journal SET epoch = 0", "identity: journal: the epoch is 0"),
    ],
)
def test_each_damage_is_one_line_and_status_1(
    path: pathlib.Path, capsys: Capture, statement: str, finding: str
) -> None:
    tamper(path, statement)
    status, lines = verify(capsys, path)
    assert status == 1
    assert any(line.startswith(f"{path}: {finding}") for line in lines), lines


def test_a_broken_index_is_found(path: pathlib.Path, capsys: Capture) -> None:
    """SQLite's quick check does not see it."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'state = 2', 'state = 3') "
            "WHERE name = 'outbox_pending'"
        )
    status, lines = verify(capsys, path)
    assert status == 1
    assert lines[0].startswith(f"{path}: integrity: database: ")


@pytest.mark.parametrize("page", [0, 1, 3])
def test_a_torn_page_is_found(path: pathlib.Path, capsys: Capture, page: int) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * page + 100 : 4096 * (page + 1)] = b"\xff" * 3996
    path.write_bytes(content)
    before = path.read_bytes()
    status, lines = verify(capsys, path)
    assert status == 1
    assert lines[0].startswith(f"{path}: integrity: database: ")
    assert path.read_bytes() == before


def test_findings_as_json(path: pathlib.Path, capsys: Capture) -> None:
    tamper(path, "UPDATE journal SET epoch = 0")
    assert main.main(["verify", "--json", "--journal", str(path)]) == 1
    assert json.loads(capsys.readouterr().out) == [
        {
            "journal": str(path),
            "findings": [{"check": "identity", "place": "journal", "text": "the epoch is 0"}],
        }
    ]


def test_what_is_no_journal_is_status_2(tmp_path: pathlib.Path, capsys: Capture) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
    assert main.main(["verify", "--journal", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"nova-edge-bus: {path} is not a journal (application id 0x0)\n"
