# SPDX-License-Identifier: Apache-2.0
"""The benchmark runs through and counts right; what it measures passes and fails no test."""

import json
import pathlib
import subprocess
import sys
import time
import typing
import zlib

import pytest

from bench import bodies
from bench import counting
from bench import figures
from bench import sender

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUSES = {"rabbit": "broker", "rabbit-quorum": "broker", "edge": "endpoint"}
KINDS = {"call-read", "call-save", "cast", "notification", "fanout"}
LOADS = [(1, 0.0), (4, 0.0), (4, 20.0)]
FIGURES = ("p50_ms", "p99_ms", "sent_per_second", "arrived_per_second")


def quick_run(json_file: pathlib.Path, *arguments: str) -> dict[str, typing.Any]:
    command = [sys.executable, "-m", "bench", "--quick", "--json", str(json_file), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, typing.Any] = json.loads(json_file.read_text())
    return found


@pytest.mark.slow
@pytest.mark.rabbitmq
@pytest.mark.timeout(300)
def test_a_quick_run_measures_everything_and_loses_nothing(
    rabbitmq_url: str, tmp_path: pathlib.Path
) -> None:
    found = quick_run(
        tmp_path / "bench.json", "--rabbit-url", rabbitmq_url, "--concurrency", "threads"
    )

    lines = {
        (one["bus"], one["kind"], one["callers"], one["rate"]): one for one in found["results"]
    }
    assert lines.keys() == {
        (bus, kind, *load) for bus in BUSES for kind in KINDS for load in LOADS
    }
    for one in lines.values():
        assert one["concurrency"] == "threads"
        assert all(one[name] > 0 for name in FIGURES), one
        parts = {"sender", "receiver", BUSES[one["bus"]]}
        assert one["cpu_us"].keys() == one["memory_bytes"].keys() == parts
        assert all(size > 2**20 for size in one["memory_bytes"].values())
        assert one["sent"] >= one["samples"] > 0, one
        # Nobody keeps a fanout, so the fastest of them may be dropped.
        assert one["counted_once"] + one["lost"] == one["sent"], one
        assert one["lost"] == 0 or (one["kind"] == "fanout" and not one["rate"]), one
        assert (one["repeated"], one["failed"]) == (0, 0), one
    assert len(found["ratios"]) == len(KINDS) * len(LOADS) * 2
    assert {one["to"] for one in found["ratios"]} == {"rabbit", "rabbit-quorum"}
    assert all(one[name] > 0 for one in found["ratios"] for name in FIGURES)
    assert len(found["floor"]) == 4
    assert all(one["per_second"] > 0 for one in found["floor"])
    assert {"cpu", "cores", "kernel", "filesystem"} <= found["machine"].keys()
    assert {"python", "oslo.messaging", *BUSES, "sqlite"} <= found["versions"].keys()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["call", "fanout"])
def test_a_quick_run_under_eventlet_loses_nothing(tmp_path: pathlib.Path, kind: str) -> None:
    arguments = ["--backends", "edge", "--concurrency", "eventlet", "--only", kind]
    found = quick_run(tmp_path / "bench.json", *arguments)
    assert found["results"]
    for one in found["results"]:
        assert one["concurrency"] == "eventlet"
        assert one["counted_once"] > 0, one
        assert one["exact"], one
        if one["rate"]:
            assert one["counted_once"] == one["sent"], one
    assert "eventlet" in found["versions"]
    assert "rabbit" not in found["versions"]


def test_at_a_fixed_load_a_message_is_due_at_its_time_however_late_it_is_taken() -> None:
    began = time.monotonic() - 100.0
    turns = sender.Turns(began, 1.0, rate=4.0)
    taken = [turns.take() for _ in range(5)]
    assert taken == [*((n, began + n / 4) for n in range(4)), None]
    assert turns.taken == 4


def test_as_fast_as_it_goes_nothing_is_due_after_the_round() -> None:
    turns = sender.Turns(time.monotonic() - 100.0, 1.0, rate=0.0)
    assert (turns.take(), turns.taken) == (None, 0)


def test_each_copy_of_a_fanout_counts_for_itself() -> None:
    counter = counting.Counter()
    for number, copy in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 0)):
        counter.count(bodies.request_id(7, number), copy, 3)
    report = counter.report(7, numbers=6)
    assert (report["once"], report["repeated"], report["never"]) == (3, 1, 2)


@pytest.mark.parametrize("size", [512, 12 * 1024, 60 * 1024])
def test_a_body_has_its_size_and_reads_like_text(size: int) -> None:
    sized = bodies.Bodies(size)
    for number in range(0, 10 * bodies.INSTANCES, 7):
        packed = json.dumps(sized.saved(number)).encode()
        assert abs(len(packed) - size) <= size // 10
        assert len(zlib.compress(packed)) > len(packed) / 10


def test_successive_saves_of_an_instance_differ_in_a_few_fields() -> None:
    sized = bodies.Bodies(12 * 1024)
    first = sized.saved(3)["nova_object.data"]
    second = sized.saved(3 + bodies.INSTANCES)["nova_object.data"]
    assert first["uuid"] == second["uuid"] != sized.saved(4)["nova_object.data"]["uuid"]
    assert 1 <= sum(first[name] != second[name] for name in first) <= 5


def test_a_read_finds_the_instance_that_it_asks_for() -> None:
    sized = bodies.Bodies(12 * 1024)
    assert sized.stored(sized.uuid(5), 9)["nova_object.data"]["uuid"] == sized.uuid(5)


def test_the_count_shows_what_is_lost_repeated_and_astray() -> None:
    counter = counting.Counter()
    for number in (0, 1, 1, 3):
        assert counter.count(bodies.request_id(7, number)) == number
    counter.count(bodies.request_id(8, 2))
    report = counter.report(7, numbers=6)
    assert (report["once"], report["repeated"], report["never"]) == (2, 1, 3)
    assert report["received"] == 4


def test_one_lost_or_repeated_message_makes_a_result_inexact() -> None:
    def result(
        once: int, never: int, repeated: int, failures: list[str], kind: str = "cast"
    ) -> figures.Result:
        tally = {"received": 4, "once": once, "never": never, "repeated": repeated, "last_at": 2.0}
        one = figures.Round(1, 1.0, 2.0, [5, 6, 7, 8], failures, 4, tally)
        return figures.summarise("edge", "threads", figures.Scenario(kind, 512, 1), [one], [one])

    assert result(4, 0, 0, []).exact
    assert not result(3, 1, 0, []).exact
    assert result(3, 1, 0, [], kind="fanout").exact
    assert not result(3, 0, 1, [], kind="fanout").exact
    assert not result(3, 0, 1, []).exact
    unanswered = result(3, 1, 0, ["MessagingTimeout: no reply"])
    assert (unanswered.lost, unanswered.failed, unanswered.exact) == (0, 1, False)


def test_percentiles_are_nearest_rank() -> None:
    samples = list(range(1, 101))
    assert figures.percentile(samples[::-1], 50) == 50
    assert figures.percentile(samples, 99) == 99
    assert figures.percentile([4], 99) == 4
    assert figures.percentile([], 50) is None
