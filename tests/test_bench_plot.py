# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks write can be drawn, and the texts of a picture neither meet nor leave it."""

import copy
import itertools
import json
import pathlib
import subprocess
import sys
import typing

import pytest
from matplotlib import figure
from matplotlib import text
from matplotlib.backends import backend_agg

from bench import plot
from bench import sheets

ROOT = pathlib.Path(__file__).resolve().parents[1]
ABOUT: dict[str, typing.Any] = {
    "machine": {
        "cores": 2,
        "cpu": "A processor",
        "memory_gib": 24,
        "filesystem": "ext4 on /dev/vda",
        "load_average": 0.1,
    },
    "versions": {
        "python": "3.11.7",
        "oslo.messaging": "18.3.1",
        "libzmq": "4.3.5",
        "rabbit": "RabbitMQ 3.10.8",
        "nova": "34.0.0",
    },
}
BUSES = ("rabbit", "rabbit-quorum", "edge")


def about(**lists: typing.Any) -> dict[str, typing.Any]:
    return {**copy.deepcopy(ABOUT), **lists}


def result(kind: str, callers: int, rate: float, **more: typing.Any) -> dict[str, typing.Any]:
    figures = {"p50_ms": 1.5, "p99_ms": 12.0, "arrived_per_second": 0.4}
    same = {"kind": kind, "callers": callers, "rate": rate, "size": 12288}
    return {**same, "concurrency": "threads", **figures, **more}


def comparison() -> dict[str, typing.Any]:
    loads = ((1, 0.0), (64, 0.0), (64, 100.0))
    ratios = [
        result(kind, *load, to=bus, p50_ms=0.3 if bus == "rabbit" else 2.5)
        for kind, load, bus in itertools.product(sheets.KINDS, loads, BUSES[:2])
    ]
    cpu = {"sender": 400.0, "receiver": 500.0}
    results = [
        result(kind, *load, bus=bus, cpu_us=cpu | {"broker" if "r" in bus else "endpoint": 90.0})
        for kind, load, bus in itertools.product(sheets.KINDS, loads, BUSES)
    ]
    return about(ratios=ratios, results=results)


def drain() -> dict[str, typing.Any]:
    cpu = {"drainer": 200.0, "endpoint": 40.0, "receiver": 230.0}
    same = {"size": 12288, "per_second": 2500.0, "limit_per_second": 9800.0, "cpu_us": cpu}
    return about(drain=[{"entries": 1000, **same}, {"entries": 100_000, **same}])


def cut() -> dict[str, typing.Any]:
    times = {"sync_p50_ms": 0.12, "p50_ms": 0.9, "p99_ms": 5.1}
    stalls = [{"thread": name, "longest": 67.5} for name in ("heartbeat", "reader", "events")]
    outage = [{"bus": bus, "stalls": stalls} for bus in ("rabbit", "edge")]
    return about(local=[{"callers": n, **times} for n in (1, 8)], outage=outage)


def wan() -> dict[str, typing.Any]:
    part = {"messages": 3, "up_bytes": 43_000.0, "down_bytes": 900.0}
    kinds = [f"Deliver Object{n}.event_finish_with_failure" for n in range(20)]
    lines = [
        {
            "bus": bus,
            "what": what,
            "round_trip_ms": round_trip,
            "loss_percent": 1.0 if round_trip == 50 else 0.0,
            "bits_per_second": 1e6 if round_trip == 50 else None,
            "seconds": 40.0,
            "up_bytes": 90_000,
            "down_bytes": 10_000,
            "parts": dict.fromkeys(kinds, part),
        }
        for bus in ("rabbit", "edge", "edge, write_behind")
        for what, round_trip in (("full", 50), ("full", 150), ("full", 300), ("idle", 300))
    ]
    return about(wan=lines)


def heal() -> dict[str, typing.Any]:
    latencies = [
        {"phase": "during", "what": what, "p50_ms": 57.0, "p99_ms": 320.0}
        for what in ("read", "save")
    ]
    return about(heal=[{"backlog_at_once": n, "latencies": latencies} for n in (2, 0)])


def fleet() -> dict[str, typing.Any]:
    def run(sessions: int, endpoints: int, encrypted: bool) -> dict[str, typing.Any]:
        return {
            "plan": {"sessions": sessions, "endpoints": endpoints, "encrypted": encrypted},
            "memory_bytes": {"empty": 62 << 20, "steady": 477 << 20},
            "pings": {"cpu_per_thousand": 0.057},
            "reports": {"cpu_per_thousand": 0.11},
            "storm": {
                "down_seconds": 3.5,
                "all_linked_seconds": 9.9,
                "all_routed_seconds": 11.2,
            },
        }

    return about(fleet=[run(1000, 1, False), run(10_000, 1, True), run(10_000, 3, False)])


def store() -> dict[str, typing.Any]:
    whats = ("edge bus, synced on both sides", "NATS JetStream, not synced", "SQLite and ZeroMQ")
    same = {"p50_ms": 1.0, "per_second": 4000.0}
    return about(store=[{"what": w, "callers": n, **same} for n in (1, 16, 64) for w in whats])


MADE = {
    "store": (store, {"store"}),
    "comparison": (comparison, {"comparison", "costs", "fixed-load"}),
    "drain": (drain, {"drain"}),
    "cut": (cut, {"cut"}),
    "wan": (wan, {"wan", "wan-parts"}),
    "heal": (heal, {"heal"}),
    "fleet": (fleet, {"fleet"}),
}


def hidden(drawn: figure.Figure) -> list[text.Text]:
    """The texts at ticks that are beyond the ends of their axes."""
    found = []
    for axis in (each for plotted in drawn.axes for each in (plotted.xaxis, plotted.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not low <= tick.get_loc() <= high:
                found += [tick.label1, tick.label2]
    return found


@pytest.mark.parametrize("name", MADE)
def test_a_document_is_drawn_and_no_text_is_on_another_or_outside(
    name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    sign = sheets.sign
    monkeypatch.setattr(
        sheets, "sign", lambda one, document: (sign(one, document), seen.append(one))
    )
    make, pictures = MADE[name]
    drawn = plot.draw(make(), tmp_path, "png")
    assert {path.stem for path in drawn} == pictures
    assert all(path.stat().st_size > 5000 for path in drawn)
    for one in seen:
        canvas = backend_agg.FigureCanvasAgg(one)
        canvas.draw()
        outside = hidden(one)
        shown = [
            (each, each.get_window_extent(canvas.get_renderer()))
            for each in one.findobj(text.Text)
            if each.get_text().strip() and each.get_visible() and each not in outside
        ]
        for each, box in shown:
            assert box.x0 >= -1, each
            assert box.x1 <= one.bbox.width + 1, each
        for (first, box), (second, other) in itertools.combinations(shown, 2):
            wide = min(box.x1, other.x1) - max(box.x0, other.x0)
            high = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert min(wide, high) < 3, (first, second)


def test_files_of_one_command_are_drawn_together() -> None:
    two = plot.merged([drain(), wan(), drain()])
    assert [len(one.get("drain", one.get("wan"))) for one in two] == [4, 12]


def test_what_is_no_document_ends_with_2(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"other": []}))
    done = subprocess.run(
        [sys.executable, "-m", "bench", "plot", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "bench plot" in done.stderr
