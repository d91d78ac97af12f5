# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus status`` of journals without a process, of copies, and of what cannot be read.

What it shows of live processes is tested in tests/driver/test_status.py.
"""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import re
import shutil
import time
from typing import Any

import pytest

from nova_edge_bus.cli import main
from nova_edge_bus.journal import selecting
from nova_edge_bus.journal import slots
from nova_edge_bus.journal import status as records
from tests.unit.journal import make

Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *arguments: str) -> tuple[int, str]:
    status = main.main(["status", *arguments])
    out, err = capsys.readouterr()
    assert err == ""
    return status, out


def shown(capsys: Capture, *arguments: str) -> dict[str, Any]:
    _, out = run(capsys, *arguments, "--json")
    whole: dict[str, Any] = json.loads(out)
    return whole


def journal(folder: pathlib.Path, host: str = "edge-7", number: int = 0) -> pathlib.Path:
    return folder / f"{slots.stem(host, 'nova-compute', number)}.db"


@pytest.fixture
def left(tmp_path: pathlib.Path) -> pathlib.Path:
    """A journal without a process: three pending entries for two destinations, a dead letter."""
    path = journal(tmp_path)
    now = time.time()
    with make.opened(path) as it:
        make.append(
            it,
            make.entry(created_at=now - 11000.0),
            make.entry(created_at=now - 7300.0, body=b"x" * 100),
            make.entry(created_at=now - 60.0, address="//compute/b"),
            make.entry(created_at=now),
        )
        make.settle(it, (1, "dead", "refused"), (4, "applied", None))
        make.append(it, make.entry(created_at=now))
        with it.transaction():
            it.inbox.accept_many([make.received(1)])
    return path


def record(path: pathlib.Path, **changes: Any) -> None:
    """What a process would have written beside a journal."""
    with make.opened(path) as it:
        outbox = it.outbox_id.hex()
    written: dict[str, Any] = {
        "state": "running",
        "started_at": 0.0,
        "written_at": time.time(),
        "outbox": outbox,
        "max_bytes": 2 << 20,
        "adopted": [],
    }
    records.write(str(path), written | changes)


def test_what_is_left_is_counted_by_status_and_destination(
    left: pathlib.Path, capsys: Capture
) -> None:
    whole = shown(capsys, "--journal", str(left))
    assert (whole["drained"], whole["pending"]) == (False, 3)
    assert 7300 <= whole["oldest_seconds"] < 7600
    (one,) = whole["journals"]
    assert set(one["entries"]) == set(selecting.STATUSES)
    assert {name: depth for name, depth in one["entries"].items() if depth["count"]} == {
        "pending": {"count": 3, "bytes": 118},
        "applied": {"count": 1, "bytes": 9},
        "dead": {"count": 1, "bytes": 9},
    }
    assert one["entries"]["merged"] == {"count": 0, "bytes": 0}
    assert (one["dead_letters"], one["inbox_waiting"], one["epoch"]) == (1, 1, 1)
    assert [
        (each["address"], each["state"], each["pending"], each["first_seq"])
        for each in one["destinations"]
    ] == [("conductor", None, 2, 2), ("//compute/b", None, 1, 3)]
    assert (one["pid"], one["current"], one["written_seconds_ago"]) == (None, False, None)


def test_the_first_line_answers(left: pathlib.Path, capsys: Capture) -> None:
    status, out = run(capsys, "--journal", str(left))
    assert status == 0
    assert out.splitlines()[0] == (
        "not drained: 3 entries pending, the oldest for 2 h 1 min; "
        "no live process says what is linked"
    )
    assert "  owner         no process; outbox " in out
    assert "  entries       3 pending, 1 applied, 1 dead\n" in out


def test_a_drained_folder_is_called_so(tmp_path: pathlib.Path, capsys: Capture) -> None:
    for host in ("a", "b"):
        with make.opened(journal(tmp_path, host)):
            pass
    _, out = run(capsys, "--journal-dir", str(tmp_path))
    assert out.startswith("drained: nothing is pending in 2 journals; ")
    assert shown(capsys, "--journal-dir", str(tmp_path))["drained"] is True


def test_a_journal_that_cannot_be_read_hides_none_of_the_others(
    left: pathlib.Path, capsys: Capture
) -> None:
    journal(left.parent, "broken").write_text("no journal" * 1000)
    status, out = run(capsys, "--journal-dir", str(left.parent))
    assert status == 1
    assert "; 1 of 2 journals cannot be read; " in out.splitlines()[0]
    assert "  error         journal " in out
    assert "3 pending" in out
    whole = shown(capsys, "--journal-dir", str(left.parent))
    assert set(whole["journals"][0]) == {"path", "host", "service", "error"}
    left.unlink()
    whole = shown(capsys, "--journal-dir", str(left.parent))
    assert whole["drained"] is None


def test_what_was_set_aside_is_mentioned(left: pathlib.Path, capsys: Capture) -> None:
    for ending in ("", "-wal"):
        left.with_name(f"{left.name}.corrupt-20260101T000000Z{ending}").touch()
    whole = shown(capsys, "--journal-dir", str(left.parent))
    assert whole["set_aside"] == [f"{left}.corrupt-20260101T000000Z"]
    _, out = run(capsys, "--journal-dir", str(left.parent))
    assert f"set aside as corrupt: {left}.corrupt-20260101T000000Z" in out


def test_a_copy_is_shown_without_the_state_of_another(
    left: pathlib.Path, tmp_path: pathlib.Path, capsys: Capture
) -> None:
    record(left)
    other = journal(tmp_path, "other")
    with make.opened(other):
        pass
    shutil.copy(records.path_of(str(left)), records.path_of(str(other)))
    (one,) = shown(capsys, "--journal", str(other))["journals"]
    assert one["written_seconds_ago"] is None
    copy = shutil.copy(left, tmp_path / "copy")
    (one,) = shown(capsys, "--journal", str(copy))["journals"]
    assert (one["host"], one["entries"]["pending"]["count"]) == (None, 3)


def test_the_quota_is_the_one_of_the_process(left: pathlib.Path, capsys: Capture) -> None:
    (one,) = shown(capsys, "--journal", str(left))["journals"]
    assert one["bytes"]["quota"] == 512 << 20
    record(left)
    (one,) = shown(capsys, "--journal", str(left))["journals"]
    space = one["bytes"]
    assert space["quota"] == 2 << 20
    assert space["percent"] == round(100 * space["used"] / (2 << 20), 1)


def test_whoever_holds_the_slot_is_the_owner(tmp_path: pathlib.Path, capsys: Capture) -> None:
    with slots.take(tmp_path, "edge-7", "nova-compute") as slot:
        path = pathlib.Path(slot.path)
        with make.opened(path):
            pass
        record(path)
        (one,) = shown(capsys, "--journal", str(path))["journals"]
        assert (one["pid"], one["current"]) == (os.getpid(), True)
        record(path, written_at=time.time() - 2 * records.STALE_SECONDS)
        (one,) = shown(capsys, "--journal", str(path))["journals"]
        assert (one["pid"], one["current"]) == (os.getpid(), False)
        _, out = run(capsys, "--journal", str(path))
        assert ": its process has ended or hangs" in out
    record(path)
    (one,) = shown(capsys, "--journal", str(path))["journals"]
    assert (one["pid"], one["current"]) == (None, False)


def test_what_is_not_current_is_said_in_the_past(left: pathlib.Path, capsys: Capture) -> None:
    endpoints = [{"address": "tcp://192.0.2.11:5570", "state": "linked", "since": 0.0}]
    destinations = [{"link": make.LINK, "address": "conductor", "state": "linked", "since": 0.0}]
    record(left, endpoints=endpoints, destinations=destinations)
    _, out = run(capsys, "--journal", str(left))
    assert "; no live process says what is linked\n" in out
    assert "  endpoint      tcp://192.0.2.11:5570 was linked since 1970-01-01T00:00:00Z\n" in out
    assert "  destination   conductor was linked since 1970-01-01T00:00:00Z: 2 entries" in out
    assert "  destination   //compute/b state unknown: 1 entry pending" in out


def test_looking_for_the_owner_locks_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that starts at that moment must not find the slot taken."""
    path = journal(tmp_path)
    with slots.take(tmp_path, "edge-7", "nova-compute"):
        monkeypatch.delattr(fcntl, "flock")
        assert slots.holder(path) == os.getpid()
    assert slots.holder(path) is None


def test_a_process_of_another_container_is_known_by_its_record(
    left: pathlib.Path, capsys: Capture
) -> None:
    record(left, pid=17, pid_namespace="pid:[1]", endpoints=[], destinations=[])
    (one,) = shown(capsys, "--journal", str(left))["journals"]
    assert (one["pid"], one["current"]) == (17, True)


def test_an_adopted_journal_names_its_adopter(left: pathlib.Path, capsys: Capture) -> None:
    own = journal(left.parent, "edge-7", 1)
    with slots.take(left.parent, "edge-7", "nova-compute"):
        record(own, adopted=[str(left)])
        (one,) = shown(capsys, "--journal", str(left))["journals"]
        assert (one["pid"], one["adopted_by"], one["current"]) == (os.getpid(), str(own), False)
        _, out = run(capsys, "--journal", str(left))
        assert f"which has adopted it and lives in {own}" in out


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 7}'])
def test_a_record_that_cannot_be_read_is_none(
    left: pathlib.Path, capsys: Capture, text: str
) -> None:
    pathlib.Path(records.path_of(str(left))).write_text(text)
    (one,) = shown(capsys, "--journal", str(left))["journals"]
    assert one["process"] is None


def test_a_record_has_the_mode_of_the_journal(left: pathlib.Path) -> None:
    record(left)
    path = pathlib.Path(records.path_of(str(left)))
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in left.parent.glob("*.new")] == []


def test_the_snapshot_says_what_it_lacks(left: pathlib.Path, capsys: Capture) -> None:
    for lacks, text in ((0, "complete"), (1, "lacks 1 answer"), (2, "lacks 2 answers")):
        record(left, snapshot_lacks=lacks)
        (one,) = shown(capsys, "--journal", str(left))["journals"]
        assert one["snapshot"] == {"complete": lacks == 0, "lacks": lacks}
        _, out = run(capsys, "--journal", str(left))
        assert re.search(rf"^  snapshot      {text}$", out, re.MULTILINE)


def test_no_journal_is_one_line_and_status_2(tmp_path: pathlib.Path, capsys: Capture) -> None:
    assert main.main(["status", "--journal-dir", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("nova-edge-bus: no journal in ")
