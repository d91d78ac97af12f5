# SPDX-License-Identifier: Apache-2.0
"""``python -m bench heal``: a whole fleet comes back at once, with and without admission.

A real nova-conductor with its database serves one host that is linked all the time, and then a
fleet of hosts with what they have journaled in a cut. Once each of its workers takes the entries
of backlogs in measured turns (``backlog_at_once``), once as they come.
"""

import argparse
import dataclasses
import json
import pathlib
import sys

from bench import command
from bench import healing
from bench import machine
from bench import processes
from bench import report
from tests.nova.processes import NotReadyError

_QUICK = {"edges": 6, "entries": 20, "workers": 2, "seconds": 1.0, "rate": 2.0}


def _arguments(arguments: list[str]) -> argparse.Namespace:
    plan = healing.Plan()
    parser = argparse.ArgumentParser(prog="python -m bench heal", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a smoke run; no figure to quote")
    add("--edges", type=int, help=f"hosts that come back ({plan.edges})")
    add("--entries", type=int, help=f"saves that each has journaled ({plan.entries})")
    add("--workers", type=int, help=f"of nova-conductor ({plan.workers})")
    add("--rate", type=float, help=f"reads and saves a second of the linked host ({plan.rate:g})")
    add("--seconds", type=float, help=f"to measure before and after ({plan.seconds:g})")
    add("--patience", type=float, help=f"seconds to wait for the drain ({plan.patience:g})")
    add("--conductor", choices=healing.CONDUCTORS, help="nova's, or one without nova's objects")
    add("--at-once", default="2,0", metavar="N,...", help="backlog_at_once of each run (2,0)")
    add("--backend", choices=["mariadb", "sqlite"], default="mariadb", help="nova's database")
    add("--directory", type=pathlib.Path, default=pathlib.Path("/var/tmp"), help="on a disk")
    add("--json", type=pathlib.Path, metavar="FILE", help="write the results there as well")
    parsed = parser.parse_args(arguments)
    for field in dataclasses.fields(plan):
        chosen = _QUICK.get(field.name) if parsed.quick else None
        if getattr(parsed, field.name, None) is None:
            default = getattr(plan, field.name) if chosen is None else chosen
            setattr(parsed, field.name, default)
    return parsed


def _plan(parsed: argparse.Namespace) -> healing.Plan:
    return healing.Plan(
        **{field.name: getattr(parsed, field.name) for field in dataclasses.fields(healing.Plan)}
    )


def _table(outcomes: list[healing.Outcome]) -> str:
    drains: list[tuple[str, ...]] = [
        ("at once", "entries", "drained s", "entries/s", "lost", "twice", "out of order")
    ]
    calls: list[tuple[str, ...]] = [
        ("at once", "phase", "call", "calls", "failed", "p50 ms", "p99 ms", "longest ms")
    ]
    for one in outcomes:
        at_once = str(one.backlog_at_once or "all")
        drains.append(
            (
                at_once,
                str(one.entries),
                report.number(one.drained_seconds, 1),
                report.number(one.per_second, 0),
                *map(str, (one.lost, one.doubled, one.out_of_order)),
            )
        )
        calls += [
            (
                at_once,
                each.phase,
                each.what,
                str(each.calls),
                str(each.failed),
                report.number(each.p50_ms, 1),
                report.number(each.p99_ms, 1),
                report.number(each.longest_ms, 0),
            )
            for each in one.latencies
        ]
    wrong = [f"WRONG: {text}" for one in outcomes for text in one.wrong]
    lines = ["the drain", *report.align(drains, 1), "", "calls of the linked host"]
    return "\n".join([*lines, *report.align(calls, 3), *wrong])


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run(parsed: argparse.Namespace, directory: pathlib.Path) -> int:
    about, versions = machine.describe(directory), machine.versions()
    versions.update(machine.package_versions("nova"))
    plan = _plan(parsed)
    outcomes = []
    for number, at_once in enumerate(map(int, parsed.at_once.split(","))):
        workdir = directory / f"heal-{number}"
        workdir.mkdir()
        outcomes.append(healing.run(workdir, plan, parsed.backend, at_once, _progress))
    print(", ".join(f"{name} {value}" for name, value in (about | versions).items()))
    print("\n" + _table(outcomes))
    if parsed.json:
        document = {
            "machine": about,
            "versions": versions,
            "settings": {**dataclasses.asdict(plan), "backend": parsed.backend},
            "heal": [{**dataclasses.asdict(one), "exact": one.exact} for one in outcomes],
        }
        parsed.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if all(one.exact for one in outcomes) else 1


def main(arguments: list[str]) -> int:
    """Run the benchmark of heals.

    :returns: 0; 1 when an entry was lost, doubled or out of order, or a part failed; 2 when it
        cannot be measured here
    """
    parsed = _arguments(arguments)
    return command.run(
        "bench heal",
        parsed.directory,
        lambda directory: _run(parsed, directory),
        failures=(processes.ChildFailed, NotReadyError),
    )
