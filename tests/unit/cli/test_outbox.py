# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus outbox``: what it lists and shows, and that it does so without much ado."""

from __future__ import annotations

import json
import pathlib
import tracemalloc
from typing import Any

import pytest

from nova_edge_bus.cli import main
from nova_edge_bus.journal import slots
from tests.unit.cli import example
from tests.unit.journal import make

Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    status = main.main(["outbox", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


def listed(capsys: Capture, *arguments: str) -> list[dict[str, Any]]:
    status, out, err = run(capsys, "list", "--json", *arguments)
    assert (status, err) == (0, "")
    rows: list[dict[str, Any]] = json.loads(out)
    return rows


def seqs(capsys: Capture, *arguments: str) -> list[int]:
    return [row["seq"] for row in listed(capsys, *arguments)]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    example.journal(tmp_path)
    return tmp_path


@pytest.fixture
def directory(folder: pathlib.Path) -> tuple[str, str]:
    return ("--journal-dir", str(folder))


def test_every_entry_is_listed_without_its_body(
    directory: tuple[str, str], capsys: Capture
) -> None:
    rows = listed(capsys, *directory)
    assert [(row["seq"], row["status"]) for row in rows] == [
        (1, "dead"),
        (2, "applied"),
        (3, "pending"),
        (4, "pending"),
    ]
    assert rows[0]["group"] == f"instance:{example.UUID}"
    assert rows[0]["destination"] == example.CONDUCTOR
    assert "body" not in rows[0]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--status", "dead", "--status", "applied"), [1, 2]),
        (("--group", example.UUID, "--status", "pending"), [3]),
        (("--group", example.HOST), [4]),
        (("--method", "Service.*"), [4]),
        (("--destination", "conductor", "--seq", "2-3"), [2, 3]),
        (("--since", "1m"), [4]),
        (("--until", "2h"), [1, 2, 3]),
        (("--host", "edge-7", "--service", "nova-compute", "--seq", "4"), [4]),
        (("--method", "stop_instance"), []),
    ],
)
def test_filters_narrow_it_down(
    directory: tuple[str, str], capsys: Capture, arguments: tuple[str, ...], found: list[int]
) -> None:
    assert seqs(capsys, *directory, *arguments) == found


def test_several_journals_are_listed_one_after_the_other(
    folder: pathlib.Path, directory: tuple[str, str], capsys: Capture
) -> None:
    path = folder / f"{slots.stem('edge-8', 'nova-compute', 0)}.db"
    with make.opened(path) as it:
        make.append(it, make.entry())
    rows = listed(capsys, *directory, "--status", "pending")
    assert [(row["journal"], row["seq"]) for row in rows][-1] == (str(path), 1)
    assert len(rows) == 3


def test_the_columns_hold_what_identifies_an_entry(
    directory: tuple[str, str], capsys: Capture
) -> None:
    _, out, _ = run(capsys, "list", *directory, "--status", "dead")
    heading, row = out.splitlines()
    assert heading.split() == [
        "journal",
        "seq",
        "made",
        "status",
        "method",
        "group",
        "destination",
        "size",
    ]
    assert row.startswith("edge-7.nova-compute-0  1    ")
    assert f"dead    Instance.save  instance:{example.UUID}  /nova/conductor" in row


def test_an_entry_is_shown_with_its_message(directory: tuple[str, str], capsys: Capture) -> None:
    status, out, err = run(capsys, "show", "1", "--json", *directory)
    assert (status, err) == (0, "")
    (entry,) = json.loads(out)
    assert entry["message"]["args"]["kwargs"] == {"expected_task_state": [None]}
    assert entry["note"] == {"instance_host": "edge-7"}
    assert (entry["intact"], entry["body_bytes"] == entry["size"]) == (True, True)
    assert entry["context"]["auth_token"] == "***"
    status, printed, _ = run(capsys, "show", "1", *directory)
    for text in (out, printed):
        assert "secret" not in text
    assert "status        dead\n" in printed
    assert "reason        UnexpectedTaskStateError: " in printed


def test_a_dropped_body_is_said_to_be(tmp_path: pathlib.Path, capsys: Capture) -> None:
    path = tmp_path / "a.b-0.db"
    with make.opened(path) as it:
        make.append(it, make.entry(), make.entry())
        make.settle(it, (1, "merged", "entry 2 stands for it"))
    _, out, _ = run(capsys, "show", "1", "2", "--journal", str(path))
    merged, pending = out.split("\n\n")
    assert merged.endswith("message:      dropped")
    assert "reason        entry 2 stands for it\n" in merged
    assert pending.endswith("message:      not understood\n")


def test_an_entry_that_is_not_there_is_said_and_status_1(
    directory: tuple[str, str], capsys: Capture
) -> None:
    status, out, err = run(capsys, "show", "1", "99", *directory)
    assert status == 1
    assert "seq           1\n" in out
    assert err == "nova-edge-bus: entry 99 is not in the journal\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--seq", "9-1"),
        ("list", "--status", "lost"),
        ("list", "--since", "tomorrow"),
        ("show",),
        ("show", "1-2"),
    ],
)
def test_a_wrong_command_line_is_status_2(capsys: Capture, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["outbox", *arguments])
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_corrupt_journal_is_one_line(directory: tuple[str, str], capsys: Capture) -> None:
    (path,) = pathlib.Path(directory[1]).glob("*.db")
    content = bytearray(path.read_bytes())
    content[4096 * 2 :] = b"\xff" * (len(content) - 4096 * 2)
    path.write_bytes(content)
    status, _, err = run(capsys, "list", *directory)
    assert status in (1, 2)
    assert err.count("\n") == 1
    assert f"journal {path} is corrupt: " in err


def test_a_long_journal_is_listed_in_little_memory(
    tmp_path: pathlib.Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.b-0.db"
    with make.opened(path) as it:
        for _ in range(10):
            make.append(it, *(make.entry(body=b"x" * 2000) for _ in range(1000)))
    monkeypatch.setattr("builtins.print", lambda *_, **__: None)
    main.main(["outbox", "list", "--journal", str(path), "--seq", "1"])
    tracemalloc.start()
    try:
        assert main.main(["outbox", "list", "--journal", str(path)]) == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * make.MEBIBYTE
