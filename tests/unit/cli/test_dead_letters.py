# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus dead-letters``: both sides of a conflict, and changes that leave a trace.

That what is requeued is shipped once is tested in tests/driver/test_dead_letters.py.
"""

from __future__ import annotations

import json
import pathlib
import sqlite3
from typing import Any

import pytest

from nova_edge_bus.cli import main
from nova_edge_bus.journal import reading
from tests.unit.cli import example
from tests.unit.journal import make

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """A journal with three dead letters, 1, 2 and 4, and a pending entry, 3."""
    path = tmp_path / "edge-7.nova-compute-0.db"
    with make.opened(path) as it:
        make.append(
            it,
            make.entry(method="Instance.save"),
            make.entry(method="Instance.destroy"),
            make.entry(),
            make.entry(method="Instance.save", group="other"),
        )
        make.settle(it, (1, "dead", "refused"), (2, "dead", None), (4, "dead", "damaged"))
    return path


def run(capsys: Capture, path: pathlib.Path, *arguments: str) -> tuple[int, str, str]:
    status = main.main(["dead-letters", *arguments, "--journal", str(path)])
    out, err = capsys.readouterr()
    return status, out, err


def statuses(path: pathlib.Path) -> dict[int, str]:
    with reading.opened(path) as reader:
        return {head.seq: head.status for head in reader.heads()}


BEFORE = {1: "dead", 2: "dead", 3: "pending", 4: "dead"}


def test_only_dead_letters_are_listed_with_their_reasons(
    path: pathlib.Path, capsys: Capture
) -> None:
    status, out, _ = run(capsys, path, "list")
    assert status == 0
    heading, *rows = out.splitlines()
    assert heading.split()[-1] == "reason"
    assert [row.split()[1] for row in rows] == ["1", "2", "4"]
    assert [row.split()[-1] for row in rows] == ["refused", "-", "damaged"]
    _, out, _ = run(capsys, path, "list", "--json", "--method", "Instance.save")
    assert [row["seq"] for row in json.loads(out)] == [1, 4]


def test_both_sides_of_a_conflict_are_shown(tmp_path: pathlib.Path, capsys: Capture) -> None:
    path = example.journal(tmp_path)
    _, out, _ = run(capsys, path, "show", "1", "--json")
    (shown,) = json.loads(out)
    assert shown["wanted"] == {"task_state": "powering-off"}
    assert shown["expected"] == {"task_state": [None]}
    assert shown["actual"] == {"task_state": "deleting"}
    assert shown["reason"].endswith("Actual: {'task_state': 'deleting'}")
    _, out, _ = run(capsys, path, "show", "1")
    assert 'wanted        {"task_state": "powering-off"}\n' in out
    assert 'actual        {"task_state": "deleting"}\n' in out
    assert "secret" not in out


def test_what_the_entry_expected_is_known_without_the_other_side(
    tmp_path: pathlib.Path, capsys: Capture
) -> None:
    path = example.journal(tmp_path)
    with sqlite3.connect(path) as changing:
        changing.execute("UPDATE reasons SET reason = 'it is gone'")
    _, out, _ = run(capsys, path, "show", "1", "--json")
    (shown,) = json.loads(out)
    assert shown["expected"] == {"expected_task_state": [None]}
    assert shown["actual"] is None


def test_what_is_no_dead_letter_is_not_shown(path: pathlib.Path, capsys: Capture) -> None:
    status, out, err = run(capsys, path, "show", "3")
    assert (status, out) == (1, "")
    assert err == "nova-edge-bus: there is no dead letter 3\n"


@pytest.mark.parametrize("verb", ["requeue", "discard"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing is chosen"),
        (("--method", "Instance.save"), "nothing is chosen"),
        (("1", "--all"), "either numbers, or --all"),
        (("1", "--group", "x"), "either numbers, or --all"),
    ],
)
def test_nothing_happens_without_a_clear_choice(
    path: pathlib.Path, capsys: Capture, verb: str, arguments: tuple[str, ...], said: str
) -> None:
    status, out, err = run(capsys, path, verb, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert statuses(path) == BEFORE


@pytest.mark.parametrize("verb", ["requeue", "discard"])
def test_a_dry_run_changes_nothing(path: pathlib.Path, capsys: Capture, verb: str) -> None:
    status, out, _ = run(capsys, path, verb, "--all", "--dry-run")
    assert (status, out) == (0, f"{path}: would {verb} 3 dead letters\n")
    assert statuses(path) == BEFORE


@pytest.mark.parametrize(
    ("verb", "status", "word"),
    [("requeue", "requeueing", "requeued"), ("discard", "discarded", "discarded")],
)
@pytest.mark.parametrize(
    ("arguments", "seqs"),
    [
        (("1", "4"), [1, 4]),
        (("--all",), [1, 2, 4]),
        (("--all", "--method", "Instance.save"), [1, 4]),
        (("--all", "--group", "other", "--seq", "2-"), [4]),
    ],
)
def test_what_is_chosen_is_changed_and_nothing_else(
    path: pathlib.Path,
    capsys: Capture,
    verb: str,
    status: str,
    word: str,
    arguments: tuple[str, ...],
    seqs: list[int],
) -> None:
    ended, out, err = run(capsys, path, verb, *arguments, "--json")
    assert (ended, err) == (0, "")
    said: dict[str, Any] = json.loads(out)
    assert said == {
        "dry_run": False,
        word: [{"journal": str(path), "seq": seq} for seq in seqs],
        "failed": [],
    }
    assert statuses(path) == {**BEFORE, **dict.fromkeys(seqs, status)}


def test_a_discarded_one_is_found_with_both_reasons(path: pathlib.Path, capsys: Capture) -> None:
    run(capsys, path, "discard", "1", "--reason", "ticket 7")
    assert main.main(["outbox", "show", "1", "--journal", str(path)]) == 0
    out = capsys.readouterr().out
    assert "status        discarded\n" in out
    assert "reason        discarded: ticket 7; it was dead because: refused\n" in out


def test_what_is_not_there_or_damaged_is_said_and_status_1(
    path: pathlib.Path, capsys: Capture
) -> None:
    with sqlite3.connect(path) as tampering:
        tampering.execute("UPDATE outbox SET body = x'00' WHERE seq = 1")
    status, out, err = run(capsys, path, "requeue", "1", "2", "3")
    assert status == 1
    assert out == f"{path}: requeued 1 dead letter, for the next process that opens the journal\n"
    assert err.splitlines() == [
        f"{path}: entry 1 is not requeued: it is damaged or gone",
        "nova-edge-bus: there is no dead letter 3",
    ]
    assert statuses(path)[2] == "requeueing"


def test_an_empty_choice_is_no_failure(path: pathlib.Path, capsys: Capture) -> None:
    status, out, _ = run(capsys, path, "discard", "--all", "--method", "nothing")
    assert (status, out) == (0, "no dead letter is chosen\n")


def test_a_locked_journal_is_one_line(
    path: pathlib.Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nova_edge_bus.journal.database.BUSY_SECONDS", 0.05)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        status, _, err = run(capsys, path, "discard", "1")
        other.execute("ROLLBACK")
    assert status in (1, 2)
    assert err.count("\n") == 1
    assert "another process writes it" in err
    assert statuses(path) == BEFORE
