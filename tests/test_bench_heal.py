# SPDX-License-Identifier: Apache-2.0
"""The benchmark of heals runs through and judges right; what it measures passes no test."""

import json
import pathlib
import subprocess
import sys

import pytest

from bench import healing

ROOT = pathlib.Path(__file__).resolve().parents[1]
PLAN = healing.Plan(edges=1, entries=4)


@pytest.mark.slow
@pytest.mark.soak
def test_a_quick_run_measures_everything_and_loses_nothing(tmp_path: pathlib.Path) -> None:
    json_file = tmp_path / "heal.json"
    command = [sys.executable, "-m", "bench", "heal", "--quick", "--backend", "sqlite"]
    command += ["--edges", "2", "--entries", "6", "--at-once", "2", "--json", str(json_file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=115)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(json_file.read_text())

    (one,) = found["heal"]
    assert (one["backlog_at_once"], one["entries"]) == (2, 12)
    assert (one["lost"], one["doubled"], one["out_of_order"], one["wrong"]) == (0, 0, 0, [])
    assert one["exact"]
    assert one["per_second"] > 0
    lines = {(each["phase"], each["what"]) for each in one["latencies"]}
    assert lines == {
        (phase, what) for phase in ("before", "during", "after") for what in ("read", "save")
    }
    assert all(each["failed"] == 0 for each in one["latencies"])
    assert {"python", "nova", "oslo.messaging"} <= found["versions"].keys()


def judged(log: list[tuple[str, int]]) -> tuple[int, int, int]:
    outcome = healing.Outcome(backlog_at_once=8, entries=4, bytes=1)
    healing.judge(outcome, PLAN, log)
    return outcome.lost, outcome.doubled, outcome.out_of_order


def test_the_log_shows_what_is_lost_doubled_and_out_of_order() -> None:
    assert judged([("a", 1), ("b", 1), ("a", 2), ("b", 2)]) == (0, 0, 0)
    assert judged([("a", 1), ("b", 1), ("a", 2)]) == (1, 0, 0)
    assert judged([("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 2)]) == (0, 1, 0)
    assert judged([("a", 2), ("b", 1), ("a", 1), ("b", 2)]) == (0, 0, 1)


def test_a_call_belongs_to_the_phase_in_which_it_was_due() -> None:
    calls = [("read", 9.0, 3.0, None), ("read", 11.0, 0.5, None), ("read", 21.0, 0.25, "Error")]
    found = {
        (each.phase, each.what): each
        for each in healing.latencies(calls, healed_at=10.0, drained_at=20.0)
    }
    assert found["before", "read"].longest_ms == 3000.0
    assert found["during", "read"].p50_ms == 500.0
    assert (found["after", "read"].calls, found["after", "read"].failed) == (1, 1)
    assert found["after", "save"].calls == 0
