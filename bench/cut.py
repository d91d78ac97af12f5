# SPDX-License-Identifier: Apache-2.0
"""``python -m bench cut``: what a cut costs a compute host, and what being ready for one costs."""

import argparse
import contextlib
import dataclasses
import json
import pathlib
import sys
import typing

from bench import backends
from bench import command
from bench import comparison
from bench import figures
from bench import local
from bench import machine
from bench import outage
from bench import processes
from bench import report

_PARTS = ("local", "outage", "upkeep")
_LOCAL_SHARE = 0.25
"""Of the seconds: what is saved while cut off stays in the journal, and few saves make a day."""
_QUICK = {"cut": 8.0, "seconds": 0.2, "rounds": 2, "callers": [1, 4]}
_FULL = {"cut": 90.0, "seconds": 20.0, "rounds": 10, "callers": [1, 8]}


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench cut", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a smoke run of seconds; no figure to quote")
    add("--only", choices=_PARTS, action="append", help="this part only; repeatable")
    add("--cut", type=float, metavar="SECONDS", help="how long the link is silent (90)")
    add("--size", type=float, default=12.0, metavar="KIB", help="size of an instance (12)")
    add("--callers", type=_numbers, metavar="N,...", help="saving threads (1,8)")
    add("--seconds", type=float, help="for each line of upkeep, a quarter for one of local (20)")
    add("--rounds", type=int, help="turns that the seconds are spread over (10)")
    add("--backends", default="rabbit,edge", help="of the outage (rabbit,edge)")
    add("--rabbit-url", default="rabbit://guest:guest@127.0.0.1:5672/", help="transport URL")
    add("--edge-option", action="append", default=[], metavar="NAME=VALUE", help="[edge_bus]")
    add("--directory", type=pathlib.Path, default=pathlib.Path("/var/tmp"), help="on a disk")
    add("--patience", type=float, default=90.0, help="seconds to wait for what is late")
    add("--json", type=pathlib.Path, metavar="FILE", help="write the results there as well")
    parsed = parser.parse_args(arguments)
    for name, value in (_QUICK if parsed.quick else _FULL).items():
        if getattr(parsed, name) is None:
            setattr(parsed, name, value)
    return parsed


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class _Run:
    """One run, in a directory of its own."""

    def __init__(self, parsed: argparse.Namespace, directory: pathlib.Path) -> None:
        self._parsed = parsed
        self._directory = directory
        self._options = dict(option.partition("=")[::2] for option in parsed.edge_option)
        self._size = int(parsed.size * 1024)
        self.versions = machine.versions()

    def _place(self, name: str) -> pathlib.Path:
        place = self._directory / name
        place.mkdir()
        return place

    def local(self) -> list[local.Line]:
        _progress("saves answered locally")
        parsed = self._parsed
        return local.measure(
            self._place("local"),
            self._options,
            self._size,
            parsed.callers,
            parsed.rounds,
            parsed.seconds * _LOCAL_SHARE,
        )

    def outage(self) -> list[outage.Outcome]:
        place = self._place("outage")
        known: dict[str, backends.Backend] = {
            "rabbit": backends.Rabbit(self._parsed.rabbit_url, quorum=False),
            "edge": backends.EdgeBus(place, {**self._options, "autonomy": "on"}),
        }
        chosen = [known[name] for name in self._parsed.backends.split(",")]
        with contextlib.ExitStack() as stack:
            sites = [stack.enter_context(outage.Site(each, place, self._size)) for each in chosen]
            self.versions.update({each.name: each.version() for each in chosen})
            return outage.run(sites, self._parsed.cut, self._parsed.patience, _progress)

    def upkeep(self) -> list[figures.Result]:
        parsed = self._parsed
        with contextlib.ExitStack() as stack:
            buses = []
            for name in ("off", "on"):
                place = self._place(f"autonomy-{name}")
                backend = backends.EdgeBus(place, {**self._options, "autonomy": name})
                backend.name = name
                buses.append(stack.enter_context(comparison.Bus(backend, place)))
            scenarios = [
                figures.Scenario(kind, self._size, callers)
                for kind in ("call-read", "call-save")
                for callers in parsed.callers
            ]
            comparison.compare(buses, scenarios, parsed.rounds, parsed.seconds, 15.0, _progress)
            return [result for bus in buses for result in bus.results()]


def _local_table(lines: list[local.Line]) -> str:
    rows: list[tuple[str, ...]] = [
        ("callers", "p50 ms", "p99 ms", "saves/s", "sync p50 ms", "sync p99 ms", "p50/sync p50")
    ]
    rows += [
        (
            str(one.callers),
            report.number(one.p50_ms, 2),
            report.number(one.p99_ms, 2),
            report.number(one.per_second, 0),
            report.number(one.sync_p50_ms, 3),
            report.number(one.sync_p99_ms, 2),
            report.number(one.p50_in_syncs, 1),
        )
        for one in lines
    ]
    return "\n".join(["a save answered while cut off", *report.align(rows, 0)])


def _outage_table(outcomes: list[outage.Outcome]) -> str:
    stalls: list[tuple[str, ...]] = [
        ("bus", "thread", "calls", "longest s", "stalled s in all", "failed")
    ]
    events: list[tuple[str, ...]] = [
        ("bus", "events", "acknowledged", "applied", "lost", "twice", "latest s", "heal s")
    ]
    for one in outcomes:
        stalls += [
            (
                one.bus,
                each.thread,
                str(each.calls),
                report.number(each.longest, 1),
                report.number(each.stalled, 1),
                str(each.failed),
            )
            for each in one.stalls
        ]
        counts = (one.events, one.acknowledged, one.applied, one.lost, one.repeated)
        times = (report.number(one.late, 1), report.number(one.heal_seconds, 1))
        events.append((one.bus, *map(str, counts), *times))
    return "\n".join(
        [
            "calls in the cut",
            *report.align(stalls, 2),
            "",
            "events in the cut",
            *report.align(events, 1),
        ]
    )


def _upkeep_table(results: list[figures.Result]) -> str:
    rows: list[tuple[str, ...]] = [("what", "autonomy", "callers", "p50 ms", "p99 ms", "sent/s")]
    for by_name in report.by_scenario(results):
        rows += [
            (
                one.kind,
                one.bus,
                str(one.callers),
                report.number(one.p50_ms, 2),
                report.number(one.p99_ms, 2),
                report.number(one.sent_per_second, 0),
            )
            for one in by_name.values()
        ]
        ratio = figures.ratios(by_name["on"], by_name["off"])
        cells = (ratio["p50_ms"], ratio["p99_ms"], ratio["sent_per_second"])
        rows.append(("", "on/off", "", *(report.number(each, 2) for each in cells)))
    return "\n".join(["linked calls", *report.align(rows, 2)])


def _run(parsed: argparse.Namespace, directory: pathlib.Path) -> int:
    about = machine.describe(directory)
    run = _Run(parsed, directory)
    document: dict[str, typing.Any] = {}
    tables = []
    is_exact = True
    parts = parsed.only or _PARTS
    if "local" in parts:
        lines = run.local()
        document["local"] = [
            {**dataclasses.asdict(one), "p50_in_syncs": one.p50_in_syncs} for one in lines
        ]
        tables.append(_local_table(lines))
    if "outage" in parts:
        outcomes = run.outage()
        document["outage"] = [dataclasses.asdict(one) for one in outcomes]
        tables.append(_outage_table(outcomes))
    if "upkeep" in parts:
        results = run.upkeep()
        is_exact = all(one.exact for one in results)
        document["upkeep"] = [{**dataclasses.asdict(one), "exact": one.exact} for one in results]
        tables.append(_upkeep_table(results))
    print(", ".join(f"{name} {value}" for name, value in (about | run.versions).items()))
    print("\n" + "\n\n".join(tables))
    if parsed.json:
        settings = {name: getattr(parsed, name) for name in ("cut", "seconds", "rounds", "size")}
        document = {
            "machine": about,
            "versions": run.versions,
            "settings": settings,
            **document,
        }
        parsed.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if is_exact else 1


def main(arguments: list[str]) -> int:
    """Run the benchmark of cuts.

    :returns: as :func:`bench.__main__.main`
    """
    parsed = _arguments(arguments)
    return command.run(
        "bench cut",
        parsed.directory,
        lambda directory: _run(parsed, directory),
        failures=(processes.ChildFailed,),
    )
