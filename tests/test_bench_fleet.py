# SPDX-License-Identifier: Apache-2.0
"""The benchmark of fleets runs through and counts right; what it measures passes no test."""

import json
import os
import pathlib
import subprocess
import sys
import time
import typing

import pytest
import zmq

from bench import crowd
from bench import crowd_loop
from bench import storms
from bench import usage

ROOT = pathlib.Path(__file__).resolve().parents[1]
SESSIONS = 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("endpoints", "is_encrypted"), [(1, False), pytest.param(2, True, marks=pytest.mark.soak)]
)
def test_a_quick_run_measures_everything_and_all_sessions_come_back(
    tmp_path: pathlib.Path, endpoints: int, is_encrypted: bool
) -> None:
    json_file = tmp_path / "fleet.json"
    command = [sys.executable, "-m", "bench", "fleet", "--quick", "--sessions", str(SESSIONS)]
    command += ["--endpoints", str(endpoints), "--json", str(json_file)]
    command += ["--encrypted"] if is_encrypted else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=115)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(json_file.read_text())

    (one,) = found["fleet"]
    assert (one["plan"]["sessions"], one["plan"]["endpoints"]) == (SESSIONS, endpoints)
    assert one["plan"]["encrypted"] is is_encrypted
    assert all(size > 0 for size in one["memory_bytes"].values())
    assert one["descriptors"]["linked"] >= one["descriptors"]["empty"] + SESSIONS
    for name in ("pings", "reports"):
        assert one[name]["messages"] > 0, name
        assert one[name]["packets_in"] >= one[name]["messages"], name
    assert one["reports"]["packets_out"] >= one["reports"]["messages"]
    # What was under way when the endpoint died had no answer; nobody keeps a journal here.
    assert one["reports_sent"] >= one["reports_answered"] > one["reports_sent"] // 2
    came_back = one["storm"]
    assert came_back["missing"] == 0
    assert came_back["all_routed_seconds"] >= came_back["down_seconds"] > 0
    assert came_back["all_linked_seconds"] >= came_back["linked"]["50"]
    assert {each["phase"]: each["failed"] for each in one["live"]} == {
        "before": 0,
        "storm": 0,
        "after": 0,
    }
    assert all(each["calls"] > 0 for each in one["live"])
    assert one["live_waits"].keys() == {"endpoint", "simulators", "caller", "centre", "stand-ins"}
    assert all(share >= 0 for share in one["live_waits"].values())
    assert one["pings"]["busy_cores"] > 0


def test_a_call_under_way_when_the_endpoint_died_belongs_to_the_storm() -> None:
    calls = [
        (9.0, 0.5, None),
        (9.9, 3.0, None),
        (11.0, 0.25, None),
        (11.5, 2.0, "MessagingTimeout"),
        (21.0, 0.125, None),
    ]
    before, during, after = storms.latencies(calls, died_at=10.0, steady_at=20.0)
    assert (before.calls, before.longest_ms) == (1, 500.0)
    assert (during.calls, during.failed, during.longest_ms) == (3, 1, 3000.0)
    assert (after.calls, after.p50_ms) == (1, 125.0)


class Link:
    """A link that notes what is done to it."""

    is_up = False
    bytes_out = 0

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self.done: list[str] = []
        self._socket = socket

    def sockets(self) -> list["zmq.Socket[bytes]"]:
        return [self._socket]

    def read(self, socket: "zmq.Socket[bytes]", now: float) -> list[object]:
        self.done.append("read")
        socket.recv()
        return []

    def tick(self, now: float) -> None:
        self.done.append("tick")

    def flush(self) -> None:
        pass

    def next_deadline(self) -> None:
        return None


def test_a_late_simulator_takes_what_came_before_it_looks_at_the_time() -> None:
    with (
        zmq.Context() as context,
        context.socket(zmq.PAIR) as near,
        context.socket(zmq.PAIR) as far,
    ):
        near.bind("inproc://late")
        far.connect("inproc://late")
        far.send(b"has come long ago")
        link = Link(near)
        line = crowd.Line(typing.cast(typing.Any, None), typing.cast(typing.Any, link))
        line.watched[near] = 0
        assert near.poll(10_000)
        crowd_loop.CrowdLoop()._turn(line, time.monotonic())
    assert link.done == ["read", "tick"]


def test_there_are_as_many_processes_as_the_descriptors_of_their_links_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storms.resource, "getrlimit", lambda _: (1024, 20_000))
    assert storms.Plan(sessions=1000).crowds() == 4
    assert storms.Plan(sessions=18_000).crowds() == 11
    assert storms.Plan(sessions=10_000, endpoints=3).crowds() == 19
    assert storms.Plan(sessions=18_000, processes=2).crowds() == 2


def test_a_share_that_never_came_back_has_no_time() -> None:
    assert storms.share([1.0, 2.0, 3.0], 50, 4) == 2.0
    assert storms.share([1.0, 2.0, 3.0], 99, 4) is None
    assert storms.share([1.0, 2.0, 3.0, 5.0], 100, 4) == 5.0


def test_the_usage_of_a_process_is_that_of_its_threads() -> None:
    used = usage.read(os.getpid())
    assert used.memory_bytes > 2**20
    assert used.descriptors >= 3
    assert used.cpu_seconds >= used.loop_seconds > 0
