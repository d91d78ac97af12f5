# SPDX-License-Identifier: Apache-2.0
"""``python -m bench fleet``: what a fleet of thousands of computes costs an endpoint.

Simulated computes, with the driver's own links and thousands in a process, are linked to real
endpoints: what a session costs in memory, and its heartbeats in processor time; how long all of
them take to come back when an endpoint is killed and started again; and what that does to a peer
that makes calls meanwhile.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import typing

from bench import command
from bench import machine
from bench import processes
from bench import report
from bench import storm
from bench import storms

_MIB = 2**20
_QUICK = {
    "processes": 1,
    "seconds": 1.0,
    "interval": 1.0,
    "settle": 0.5,
    "pace": 500.0,
    "patience": 60.0,
}


_NUMBERS = ("processes", "seconds", "interval", "rate", "pace", "settle", "patience")


def _arguments(arguments: list[str]) -> argparse.Namespace:
    plan = storms.Plan()
    parser = argparse.ArgumentParser(prog="python -m bench fleet", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a smoke run; no figure to quote")
    add("--sessions", type=_listed, metavar="N,...", help="of each run (1000,10000,40000)")
    add("--endpoints", type=_listed, default=[1], metavar="N,...", help="of each run (1)")
    add("--encrypted", action="store_true", help="with CURVE, and a key for each compute")
    add("--processes", type=int, help="that the computes are in (4, or as many as it takes)")
    add("--seconds", type=float, help=f"to measure each thing ({plan.seconds:g})")
    add("--interval", type=float, help=f"seconds between two reports ({plan.interval:g})")
    add("--rate", type=float, help=f"calls a second of the live peer ({plan.rate:g})")
    add("--pace", type=float, help=f"first links in a second ({plan.pace:g})")
    add("--settle", type=float, help=f"seconds to let things settle ({plan.settle:g})")
    add("--patience", type=float, help=f"seconds to wait for all links ({plan.patience:g})")
    add("--directory", type=pathlib.Path, default=pathlib.Path("/var/tmp"), help="on a disk")
    add("--json", type=pathlib.Path, metavar="FILE", help="write the results there as well")
    parsed = parser.parse_args(arguments)
    if parsed.sessions is None:
        parsed.sessions = [60] if parsed.quick else [1000, 10_000, 40_000]
    return parsed


def _listed(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _plans(parsed: argparse.Namespace) -> list[storms.Plan]:
    given = {name: getattr(parsed, name) for name in _NUMBERS}
    chosen: dict[str, typing.Any] = dict(_QUICK) if parsed.quick else {}
    chosen.update({name: value for name, value in given.items() if value is not None})
    return [
        storms.Plan(sessions=sessions, endpoints=count, encrypted=parsed.encrypted, **chosen)
        for count in parsed.endpoints
        for sessions in parsed.sessions
    ]


def _name(plan: storms.Plan) -> tuple[str, ...]:
    return (f"{plan.sessions:,}", str(plan.endpoints), "yes" if plan.encrypted else "no")


_HEADINGS = ("sessions", "endpoints", "CURVE")


def _memory_table(outcomes: list[storms.Outcome]) -> str:
    rows: list[tuple[str, ...]] = [
        (*_HEADINGS, "MiB empty", "linked", "steady", "returned", "KiB a session", "descriptors")
    ]
    for one in outcomes:
        sizes = [report.number(size / _MIB, 0) for size in one.memory_bytes.values()]
        each = report.number(one.bytes_per_session / 1024, 1)
        rows.append((*_name(one.plan), *sizes, each, f"{one.descriptors['linked']:,}"))
    return "\n".join(["one endpoint's memory", *report.align(rows, 0)])


def _steady_table(outcomes: list[storms.Outcome]) -> str:
    rows: list[tuple[str, ...]] = [
        (
            *_HEADINGS,
            "what",
            "a second",
            "cores",
            "of them loop",
            "CPU s per 1,000",
            "simulators",
            "machine",
            "waited",
        )
    ]
    for one in outcomes:
        for what, steady in (("pings", one.pings), ("reports", one.reports)):
            rows.append(
                (
                    *_name(one.plan),
                    what,
                    report.number(steady.messages / steady.seconds, 0),
                    report.number(steady.cpu_seconds / steady.seconds, 3),
                    report.number(steady.loop_seconds / steady.seconds, 3),
                    report.number(steady.cpu_per_thousand, 3),
                    report.number(steady.simulators_cpu_seconds / steady.seconds, 2),
                    report.number(steady.busy_cores, 2),
                    report.number(steady.waited_seconds["endpoint"] / steady.seconds, 2),
                )
            )
    return "\n".join(["one endpoint's heartbeats", *report.align(rows, 0)])


def _storm_table(outcomes: list[storms.Outcome]) -> str:
    rows: list[tuple[str, ...]] = [
        (*_HEADINGS, "down s", "half s", "99 % s", "all s", "all routed s", "CPU s", "simulators")
    ]
    for one in outcomes:
        storm_ = one.storm
        times = (
            storm_.down_seconds,
            storm_.linked["50"],
            storm_.linked["99"],
            storm_.all_linked_seconds,
            storm_.all_routed_seconds,
            storm_.cpu_seconds,
            storm_.simulators_cpu_seconds,
        )
        rows.append((*_name(one.plan), *(report.number(each, 1) for each in times)))
    return "\n".join(
        ["from an endpoint's death until its sessions are back", *report.align(rows, 0)]
    )


def _live_table(outcomes: list[storms.Outcome]) -> str:
    rows: list[tuple[str, ...]] = [
        (*_HEADINGS, "phase", "calls", "failed", "p50 ms", "p99 ms", "longest ms")
    ]
    for one in outcomes:
        rows += [
            (
                *_name(one.plan),
                each.phase,
                str(each.calls),
                str(each.failed),
                report.number(each.p50_ms, 1),
                report.number(each.p99_ms, 1),
                report.number(each.longest_ms, 0),
            )
            for each in one.live
        ]
    waits = [
        f"{' '.join(_name(one.plan))}: share of the time before the storm in which processes were "
        + "ready and waited for a processor: "
        + ", ".join(f"{name} {share:.2f}" for name, share in one.live_waits.items())
        for one in outcomes
    ]
    return "\n".join(["calls of a live peer", *report.align(rows, 0), "", *waits])


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run(parsed: argparse.Namespace, directory: pathlib.Path) -> int:
    about, versions = machine.describe(directory), machine.versions()
    outcomes: list[storms.Outcome] = []
    failed = False
    for number, plan in enumerate(_plans(parsed)):
        workdir = directory / f"fleet-{number}"
        workdir.mkdir()
        try:
            outcomes.append(storm.run(workdir, plan, _progress))
        except processes.ChildFailed as error:
            failed = True
            _progress(f"{plan.sessions} sessions at {plan.endpoints} endpoints: {error}")
    print(", ".join(f"{name} {value}" for name, value in (about | versions).items()))
    for table in (_memory_table, _steady_table, _storm_table, _live_table):
        print("\n" + table(outcomes))
    if parsed.json:
        document = {
            "machine": about,
            "versions": versions,
            "fleet": [
                {**dataclasses.asdict(one), "bytes_per_session": one.bytes_per_session}
                for one in outcomes
            ],
        }
        parsed.json.write_text(json.dumps(document, indent=2) + "\n")
    return 1 if failed or any(one.storm.missing for one in outcomes) else 0


def main(arguments: list[str]) -> int:
    """Run the benchmark of fleets.

    :returns: 0; 1 when a part failed or not every session came back; 2 when it cannot be measured
        here
    """
    parsed = _arguments(arguments)
    return command.run("bench fleet", parsed.directory, lambda directory: _run(parsed, directory))
