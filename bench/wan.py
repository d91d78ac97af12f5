# SPDX-License-Identifier: Apache-2.0
"""``python -m bench wan``: the life of a server whose computes are far away, on a real nova.

A nova on each bus, and its computes behind relays that delay and throttle what they carry. The
same life of a server goes through nova's API at each round trip time; then nothing is asked of
nova for a while. Packets that are lost on the way are not in a relay's power; the tests of faults
have those.
"""

import argparse
import collections.abc
import dataclasses
import json
import pathlib
import sys
import time

from bench import command
from bench import machine
from bench import report
from tests.nova import lifecycle
from tests.nova.bus import Bus
from tests.nova.bus import EdgeBus
from tests.nova.bus import RabbitBus
from tests.nova.client import ServerError
from tests.nova.config import Options
from tests.nova.processes import NotReadyError
from tests.nova.stack import NovaStack

_WRITE_BEHIND: Options = {"edge_bus": {"write_behind": True}}
_BUSES: dict[str, tuple[type[Bus], Options]] = {
    "rabbit": (RabbitBus, {}),
    "edge": (EdgeBus, {}),
    "edge, write_behind": (EdgeBus, _WRITE_BEHIND),
}
_LIVES = {"full": lifecycle.full_life, "short": lifecycle.short_life}


@dataclasses.dataclass(frozen=True)
class Line:
    """One life, or a while without one, on one bus over one kind of link."""

    bus: str
    what: str
    round_trip_ms: float
    bits_per_second: float | None
    seconds: float
    slowest_step: str | None
    slowest_seconds: float | None
    rpcs: int
    journaled: int
    up_bytes: int
    down_bytes: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """The links to try, in milliseconds of round trip, and what to do over each."""

    round_trips: list[float]
    bits_per_second: float | None
    idle_seconds: float
    life: str


def measure(
    workdir: pathlib.Path, name: str, plan: Plan, progress: collections.abc.Callable[[str], None]
) -> list[Line]:
    """Everything of the plan on one bus.

    :param workdir: existing directory for the nova's files
    :param name: a key of the buses that are known
    :raises tests.nova.processes.NotReadyError: when a part of nova does not start
    :raises tests.nova.client.ServerError: when a server does not get where it should
    """
    bus, options = _BUSES[name]
    lines = []
    with NovaStack(workdir, bus(), compute_options=options) as stack:
        for round_trip in plan.round_trips:
            progress(f"{name}: a life at {round_trip:g} ms")
            _set_links(stack, round_trip, plan.bits_per_second)
            lines.append(_life(stack, name, round_trip, plan))
        progress(f"{name}: {plan.idle_seconds:g} s idle")
        lines.append(_idle(stack, name, plan))
    return lines


def _set_links(stack: NovaStack, round_trip: float, bits_per_second: float | None) -> None:
    for compute in stack.computes:
        compute.relay.delay(round_trip / 2000)
        compute.relay.throttle(bits_per_second and bits_per_second / 8)


def _life(stack: NovaStack, name: str, round_trip: float, plan: Plan) -> Line:
    steps = list(lifecycle.run(stack, _LIVES[plan.life]))
    slowest = max(steps, key=lambda step: step.seconds)
    return _line(name, plan.life, round_trip, plan, lifecycle.total(steps), slowest)


def _idle(stack: NovaStack, name: str, plan: Plan) -> Line:
    before = lifecycle.cost_so_far(stack)
    time.sleep(plan.idle_seconds)
    cost = lifecycle.cost_so_far(stack) - before
    step = lifecycle.Step("idle", plan.idle_seconds, cost)
    return _line(name, "idle", plan.round_trips[-1], plan, step, None)


def _line(
    name: str,
    what: str,
    round_trip: float,
    plan: Plan,
    step: lifecycle.Step,
    slowest: lifecycle.Step | None,
) -> Line:
    return Line(
        bus=name,
        what=what,
        round_trip_ms=round_trip,
        bits_per_second=plan.bits_per_second,
        seconds=step.seconds,
        slowest_step=slowest.name if slowest else None,
        slowest_seconds=slowest.seconds if slowest else None,
        rpcs=step.cost.rpcs,
        journaled=step.cost.entries,
        up_bytes=step.cost.up_bytes,
        down_bytes=step.cost.down_bytes,
    )


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench wan", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a smoke run; no figure to quote")
    add("--round-trips", metavar="MS,...", help="one life for each (0,50,150,300)")
    add("--bits-per-second", type=float, metavar="N", help="of the links, each way (no limit)")
    add("--idle", type=float, metavar="SECONDS", help="without a life, afterwards (120)")
    add("--life", choices=_LIVES, help="boot to delete with two moves, or boot, stop, delete")
    add("--buses", default=",".join(_BUSES).replace(", ", "+"), help="rabbit,edge,...")
    add("--directory", type=pathlib.Path, default=pathlib.Path("/var/tmp"), help="on a disk")
    add("--json", type=pathlib.Path, metavar="FILE", help="write the results there as well")
    parsed = parser.parse_args(arguments)
    defaults = ("0,50", 3.0, "short") if parsed.quick else ("0,50,150,300", 120.0, "full")
    for name, value in zip(("round_trips", "idle", "life"), defaults, strict=True):
        if getattr(parsed, name) is None:
            setattr(parsed, name, value)
    parsed.buses = [name.replace("+", ", ") for name in parsed.buses.split(",")]
    if not set(parsed.buses) <= _BUSES.keys():
        parser.error(
            f"--buses takes some of {', '.join(one.replace(', ', '+') for one in _BUSES)}"
        )
    try:
        parsed.round_trips = [float(part) for part in parsed.round_trips.split(",")]
    except ValueError:
        parser.error(f"--round-trips {parsed.round_trips!r} is no list of numbers")
    return parsed


def _table(lines: list[Line]) -> str:
    rows: list[tuple[str, ...]] = [
        ("what", "bus", "round trip ms", "s", "slowest step", "RPCs", "bytes up", "bytes down")
    ]
    for one in sorted(lines, key=lambda each: (each.what == "idle", each.round_trip_ms)):
        slowest = f"{one.slowest_step} {one.slowest_seconds:.1f}" if one.slowest_step else "-"
        rows.append(
            (
                one.what,
                one.bus,
                f"{one.round_trip_ms:g}",
                report.number(one.seconds, 1),
                slowest,
                str(one.rpcs),
                f"{one.up_bytes:,}",
                f"{one.down_bytes:,}",
            )
        )
    return "\n".join(report.align(rows, 2))


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run(parsed: argparse.Namespace, directory: pathlib.Path) -> int:
    about, versions = machine.describe(directory), machine.versions()
    versions.update(machine.package_versions("nova"))
    plan = Plan(parsed.round_trips, parsed.bits_per_second, parsed.idle, parsed.life)
    lines = []
    for number, name in enumerate(parsed.buses):
        workdir = directory / str(number)
        workdir.mkdir()
        lines += measure(workdir, name, plan, _progress)
    print(", ".join(f"{name} {value}" for name, value in (about | versions).items()))
    print("\n" + _table(lines))
    if parsed.json:
        document = {
            "machine": about,
            "versions": versions,
            "settings": dataclasses.asdict(plan),
            "wan": [dataclasses.asdict(one) for one in lines],
        }
        parsed.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def main(arguments: list[str]) -> int:
    """Run the benchmark of far computes.

    :returns: 0; 1 when nova or a server did not get where it should; 2 when it cannot be measured
        here
    """
    parsed = _arguments(arguments)
    return command.run(
        "bench wan",
        parsed.directory,
        lambda directory: _run(parsed, directory),
        failures=(NotReadyError, lifecycle.MismatchError, ServerError),
    )
