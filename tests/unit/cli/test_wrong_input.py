# SPDX-License-Identifier: Apache-2.0
"""Whatever a command is pointed at that it cannot use, one line says so; its status is 2 or 1."""

from __future__ import annotations

import fcntl
import os
import pathlib
import shlex
import shutil
import socket
import sqlite3
from collections.abc import Callable
from collections.abc import Iterator

import pytest

from nova_edge_bus.cli import main
from nova_edge_bus.journal import schema
from tests.unit.cli import example

Capture = pytest.CaptureFixture[str]
COMMANDS = (
    "status",
    "outbox list",
    "outbox show 1",
    "dead-letters list",
    "dead-letters show 1",
    "dead-letters requeue 1",
    "dead-letters discard 1",
    "replay",
    "replay --since 1d --dry-run",
    "verify",
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return example.journal(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def journal(sound: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(shutil.copy(sound, tmp_path))


def _text(journal: pathlib.Path) -> None:
    journal.write_text("this is no database, and it is long enough to be sure\n" * 90)


def _empty(journal: pathlib.Path) -> None:
    journal.write_bytes(b"")


def _older(journal: pathlib.Path) -> None:
    _set_version(journal, schema.VERSION - 1)


def _newer(journal: pathlib.Path) -> None:
    _set_version(journal, schema.VERSION + 1)


def _set_version(journal: pathlib.Path, version: int) -> None:
    connection = sqlite3.connect(journal)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


def _cut_short(journal: pathlib.Path) -> None:
    os.truncate(journal, 5000)


def _damaged(journal: pathlib.Path) -> None:
    size = journal.stat().st_size
    with journal.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


DAMAGE = {
    "text": (_text, "is not a journal|not a database"),
    "empty": (_empty, "not a journal"),
    "older": (_older, f"has version {schema.VERSION - 1} of {schema.VERSION}"),
    "newer": (_newer, "install the newer|newer version"),
    "cut short": (_cut_short, "malformed|corrupt"),
    "damaged": (_damaged, "malformed|corrupt"),
}


def said(capsys: Capture, command: str, *more: str) -> tuple[int, str]:
    """The status, and the one line that stands on stderr; in what `status` shows, its error."""
    try:
        status = main.main([*shlex.split(command), *more])
    except SystemExit as error:
        status = int(error.code or 0)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    if not lines and command.startswith(("status", "verify")):
        lines = [line for line in out.splitlines() if "error" in line or ": " in line][-1:]
    assert len(lines) == 1, (out, err)
    assert "Traceback" not in err
    return status, lines[0]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_file_that_cannot_be_used(
    journal: pathlib.Path, capsys: Capture, command: str, kind: str
) -> None:
    damage: Callable[[pathlib.Path], None]
    damage, expected = DAMAGE[kind]
    damage(journal)
    status, line = said(capsys, command, "--journal", str(journal))
    assert status in (1, 2)
    assert any(word in line for word in expected.split("|")), line
    assert journal.name in line or str(journal) in line or command == "status"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--journal absent.db", "cannot read journal absent.db: no such file"),
        ("--journal-dir absent", "cannot look for journals in absent: No such file"),
        ("--journal-dir .", "no journal in .; see [edge_bus] journal_dir"),
        ("--journal-dir journals --host edge-8", "none of the 1 journals in"),
        ("--config-file absent.conf", "absent.conf"),
        ("--config-file broken.conf", "broken.conf"),
    ],
)
def test_a_place_that_cannot_be_used(
    sound: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    command: str,
    arguments: str,
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "journals").mkdir()
    shutil.copy(sound, tmp_path / "journals")
    (tmp_path / "broken.conf").write_text("journal_dir without a section\n")
    status, line = said(capsys, command, *arguments.split())
    assert status == 2
    assert expected in line


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("outbox list --seq 5-3", "the range 5-3 ends before it begins"),
        ("outbox list --seq five", "'five' is neither a seq N nor a range N-M"),
        ("outbox list --since yesterday", "'yesterday' is neither a time such as"),
        ("outbox list --status lost", "invalid choice: 'lost'"),
        ("replay --seq 5-3", "the range 5-3 ends before it begins"),
        ("replay --until soon", "'soon' is neither a time such as"),
        ("replay --timeout soon", "--timeout: soon is no time to wait"),
        ("replay --timeout -1", "--timeout: -1 is no time to wait"),
        ("dead-letters requeue", "nothing is chosen: give numbers, or --all"),
        ("dead-letters requeue 1 --all", "give either numbers, or --all"),
        ("dead-letters discard --seq 3-1 --all", "the range 3-1 ends before it begins"),
    ],
)
def test_options_that_make_no_sense(
    journal: pathlib.Path, capsys: Capture, command: str, expected: str
) -> None:
    with_journal = [*shlex.split(command), "--journal", str(journal)]
    try:
        status = main.main(with_journal)
    except SystemExit as error:
        status = int(error.code or 0)
    _, err = capsys.readouterr()
    assert status == 2
    # Above it argparse says how the command is used.
    assert expected in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("db sync --config-file absent.conf", "absent.conf"),
        ("db sync --config-file empty.conf", "no database is named"),
        ("db sync --connection nonsense", "the database URL cannot be used"),
        ("db sync --connection sqlite:////absent/cell.db", "unable to open database file"),
        ("keys enroll short --host a --role compute --dir .", "not a key of 64 hexadecimal"),
        ("keys revoke nothing --dir .", "'nothing' names no key"),
        ("contracts --config-file absent.conf", "absent.conf"),
    ],
)
def test_what_else_cannot_be_used(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    command: str,
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.conf").write_text("")
    status, line = said(capsys, command)
    assert expected in line
    assert status == 1


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


def test_an_endpoint_out_of_reach(journal: pathlib.Path, capsys: Capture, nobody: str) -> None:
    arguments = ["--journal", str(journal), "--endpoint", nobody, "--timeout", "0.5"]
    assert main.main(["replay", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == (
        f"{journal}: linked to no endpoint: none can be reached, or none admits this key; 2 left\n"
    ), err


def test_a_journal_whose_process_is_not_to_be_seen(
    journal: pathlib.Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, nobody: str
) -> None:
    """As in a container that has no view of the processes of another."""
    monkeypatch.setattr("nova_edge_bus.journal.slots.holder", lambda path: None)
    with open(str(journal).removesuffix(".db") + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main.main(["replay", "--journal", str(journal), "--endpoint", nobody]) == 1
    out, _ = capsys.readouterr()
    assert out == f"{journal}: journal {journal} has a process: unseen; 2 left\n"
