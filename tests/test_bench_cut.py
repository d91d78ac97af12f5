# SPDX-License-Identifier: Apache-2.0
"""The benchmark of cuts runs through and judges right; what it measures passes no test."""

import json
import pathlib
import subprocess
import sys
import typing

import pytest

from bench import bodies
from bench import outage

ROOT = pathlib.Path(__file__).resolve().parents[1]
WINDOW = outage.Window(cut_at=10, killed_at=20, started_at=21, healed_at=30, ended_at=40)


@pytest.mark.slow
@pytest.mark.rabbitmq
def test_a_quick_run_measures_everything(rabbitmq_url: str, tmp_path: pathlib.Path) -> None:
    json_file = tmp_path / "cut.json"
    command = [sys.executable, "-m", "bench", "cut", "--quick", "--rabbit-url", rabbitmq_url]
    done = subprocess.run(
        [*command, "--json", str(json_file)], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(json_file.read_text())

    assert [one["callers"] for one in found["local"]] == [1, 4]
    assert all(one["samples"] > 0 and one["p50_in_syncs"] > 0 for one in found["local"])
    outcomes = {one["bus"]: one for one in found["outage"]}
    assert outcomes.keys() == {"rabbit", "edge"}
    for one in outcomes.values():
        assert {each["thread"] for each in one["stalls"]} == {"heartbeat", "reader", "events"}
        assert all(each["longest"] >= outage.LONG for each in one["stalls"])
        assert one["events"] >= one["applied"] > 0
    # An event may have been in hand when the host was killed.
    assert outcomes["edge"]["lost_though_acknowledged"] == 0
    assert outcomes["edge"]["lost"] <= 1
    lines = {(one["bus"], one["kind"], one["callers"]) for one in found["upkeep"]}
    assert lines == {
        (name, kind, callers)
        for name in ("on", "off")
        for kind in ("call-read", "call-save")
        for callers in (1, 4)
    }
    assert all(one["exact"] for one in found["upkeep"])


def event(number: int, at: float, life: int = 1) -> dict[str, typing.Any]:
    return {"what": "event", "life": life, "number": number, "at": at}


def call(
    number: int, begin: float, end: float | None, *, life: int = 1, error: str | None = None
) -> list[dict[str, typing.Any]]:
    about = {"what": "events", "life": life, "number": number}
    noted = [{**about, "step": "begin", "at": begin}]
    if end is not None:
        noted.append({**about, "step": "end", "at": end, "error": error})
    return noted


def judged(
    records: list[dict[str, typing.Any]], arrived: dict[int, list[float]]
) -> outage.Outcome:
    known = {bodies.request_id(1, number): times for number, times in arrived.items()}
    return outage.judge("edge", records, known, WINDOW)


def test_an_event_that_never_arrives_is_lost_and_one_that_was_acknowledged_says_so() -> None:
    records = [event(1, 11), event(2, 12), event(3, 13)]
    records += call(1, 11, 12) + call(2, 12, 13) + call(3, 13, 14, error="MessagingTimeout")
    found = judged(records, {1: [31.0], 3: [32.0, 33.0]})
    assert (found.events, found.acknowledged, found.applied) == (3, 2, 2)
    assert (found.lost, found.lost_though_acknowledged, found.repeated) == (1, 1, 1)
    assert (found.late, found.heal_seconds) == (20.0, 2.0)


def test_events_before_the_cut_and_after_the_heal_do_not_count() -> None:
    found = judged([event(1, 9), event(2, 31)], {1: [9.1]})
    assert (found.events, found.applied, found.lost) == (0, 0, 0)


def test_a_call_cut_short_by_the_kill_stalls_until_then() -> None:
    records = call(1, 9.5, 10.5) + call(2, 12, None) + call(1, 22, None, life=2)
    (stall,) = [each for each in judged(records, {}).stalls if each.thread == "events"]
    assert (stall.calls, stall.longest, stall.stalled) == (3, 18.0, 1.0 + 8.0 + 18.0)
