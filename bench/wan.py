# SPDX-License-Identifier: Apache-2.0
"""``python -m bench wan``: the life of a server whose computes are far away, on a real nova.

A nova on each bus, and its computes behind relays that delay, throttle, count and take apart what
they carry; where packets are to be lost on the way, the relays are followed by a line that loses
them. The same life of a server goes through nova's API over each link; then nothing is asked of
nova for a while.
"""

import argparse
import collections.abc
import contextlib
import copy
import dataclasses
import json
import pathlib
import statistics
import sys
import time

from bench import command
from bench import dissect
from bench import lossy
from bench import machine
from bench import report
from bench import usage
from tests.faults import packets
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
_DIALLED_SECONDS = 10.0
"""What the computes get to dial anew."""
_LARGEST = 15
"""Kinds of messages in the table."""
_LIVES = {"full": lifecycle.full_life, "short": lifecycle.short_life}


@dataclasses.dataclass(frozen=True)
class Link:
    """What the links of the computes are like: milliseconds there and back, percent of packets."""

    round_trip_ms: float
    loss_percent: float

    def __str__(self) -> str:
        lost = f", {self.loss_percent:g} % lost" if self.loss_percent else ""
        return f"{self.round_trip_ms:g} ms{lost}"


@dataclasses.dataclass(frozen=True)
class Line:
    """One life, or a while without one, on one bus over one kind of link.

    ``parts`` has what the bytes were, by kind of message; ``compute_memory_bytes`` what a
    nova-compute has in memory afterwards, the mean of them.
    """

    bus: str
    what: str
    round_trip_ms: float
    loss_percent: float
    bits_per_second: float | None
    seconds: float
    slowest_step: str | None
    slowest_seconds: float | None
    rpcs: int
    journaled: int
    up_bytes: int
    down_bytes: int
    compute_memory_bytes: int
    parts: dict[str, dissect.Part]


@dataclasses.dataclass(frozen=True)
class Plan:
    """The links to try, and what to do over each."""

    links: list[Link]
    bits_per_second: float | None
    idle_seconds: float
    life: str


class Far:
    """A nova on one bus whose computes are far away, while the context is entered."""

    def __init__(self, workdir: pathlib.Path, name: str, plan: Plan) -> None:
        """
        :param workdir: existing directory for the nova's files
        :param name: a key of the buses that are known
        """
        bus, options = _BUSES[name]
        self._name = name
        self._plan = plan
        self._bus = bus()
        self._stack = NovaStack(workdir, self._bus, compute_options=options)
        self._undo = contextlib.ExitStack()
        self._line: packets.Line | None = None
        self._parts = dissect.Parts(
            dissect.Amqp if isinstance(self._bus, RabbitBus) else dissect.Zmtp
        )

    def __enter__(self) -> "Far":
        with contextlib.ExitStack() as undo:
            undo.enter_context(self._stack)
            if any(link.loss_percent for link in self._plan.links):
                self._line = undo.enter_context(lossy.line())
                way = undo.enter_context(lossy.Way(self._line, self._bus.addresses))
            for compute in self._stack.computes:
                # Dialled anew, so that the streams are seen from their beginning.
                compute.relay.tap = self._parts.take
                compute.relay.reroute(way.addresses if self._line else self._bus.addresses)
            time.sleep(_DIALLED_SECONDS)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()

    def set_link(self, link: Link) -> None:
        """Have the links of the computes be like this from now on."""
        delay = link.round_trip_ms / 2000
        bits = self._plan.bits_per_second
        if self._line is not None:
            self._line.faults = packets.Faults(loss=link.loss_percent / 100, delay=delay)
        for compute in self._stack.computes:
            compute.relay.delay(0.0 if self._line else delay)
            compute.relay.throttle(bits and bits / 8)

    def live(self, link: Link) -> Line:
        """One life of a server."""
        self._parts.clear()
        steps = list(lifecycle.run(self._stack, _LIVES[self._plan.life]))
        slowest = max(steps, key=lambda step: step.seconds)
        return self._told(self._plan.life, link, lifecycle.total(steps), slowest)

    def idle(self, link: Link) -> Line:
        """A while in which nothing is asked of nova."""
        self._parts.clear()
        before = lifecycle.cost_so_far(self._stack)
        time.sleep(self._plan.idle_seconds)
        cost = lifecycle.cost_so_far(self._stack) - before
        return self._told(
            "idle", link, lifecycle.Step("idle", self._plan.idle_seconds, cost), None
        )

    def _memory(self) -> collections.abc.Iterator[int]:
        for compute in self._stack.computes:
            yield usage.memory_bytes(compute.process.pid)

    def _told(
        self, what: str, link: Link, step: lifecycle.Step, slowest: lifecycle.Step | None
    ) -> Line:
        return Line(
            bus=self._name,
            what=what,
            **dataclasses.asdict(link),
            bits_per_second=self._plan.bits_per_second,
            seconds=step.seconds,
            slowest_step=slowest.name if slowest else None,
            slowest_seconds=slowest.seconds if slowest else None,
            rpcs=step.cost.rpcs,
            journaled=step.cost.entries,
            up_bytes=step.cost.up_bytes,
            down_bytes=step.cost.down_bytes,
            compute_memory_bytes=round(statistics.mean(self._memory())),
            parts=copy.deepcopy(dict(self._parts.kinds)),
        )


def measure(
    workdir: pathlib.Path, name: str, plan: Plan, progress: collections.abc.Callable[[str], None]
) -> list[Line]:
    """Everything of the plan on one bus.

    :param workdir: existing directory for the nova's files
    :param name: a key of the buses that are known
    :raises tests.nova.processes.NotReadyError: when a part of nova does not start
    :raises tests.nova.client.ServerError: when a server does not get where it should
    :raises bench.lossy.Unavailable: when packets are to be lost and cannot be
    """
    lines = []
    with Far(workdir, name, plan) as far:
        for link in plan.links:
            progress(f"{name}: a life at {link}")
            far.set_link(link)
            lines.append(far.live(link))
        progress(f"{name}: {plan.idle_seconds:g} s idle")
        lines.append(far.idle(plan.links[-1]))
    return lines


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench wan", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a smoke run; no figure to quote")
    add("--round-trips", metavar="MS,...", help="one life for each (0,50,150,300)")
    add("--loss", default="0", metavar="PERCENT,...", help="of the packets; one life for each (0)")
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
        parsed.links = [
            Link(float(round_trip), float(loss))
            for round_trip in parsed.round_trips.split(",")
            for loss in parsed.loss.split(",")
        ]
    except ValueError:
        parser.error("--round-trips and --loss take lists of numbers")
    return parsed


def _table(lines: list[Line]) -> str:
    rows: list[tuple[str, ...]] = [
        (
            "what",
            "bus",
            "round trip ms",
            "lost %",
            "s",
            "slowest step",
            "RPCs",
            "bytes up",
            "bytes down",
            "compute MiB",
        )
    ]
    for one in sorted(lines, key=lambda each: (each.what == "idle", each.round_trip_ms)):
        slowest = f"{one.slowest_step} {one.slowest_seconds:.1f}" if one.slowest_step else "-"
        rows.append(
            (
                one.what,
                one.bus,
                f"{one.round_trip_ms:g}",
                f"{one.loss_percent:g}",
                report.number(one.seconds, 1),
                slowest,
                str(one.rpcs),
                f"{one.up_bytes:,}",
                f"{one.down_bytes:,}",
                f"{one.compute_memory_bytes / 2**20:.0f}",
            )
        )
    return "\n".join(report.align(rows, 2))


def _parts_table(lines: list[Line]) -> str:
    """The kinds of messages that most of the bytes were, of the last life and of the idle time."""
    rows: list[tuple[str, ...]] = [
        ("what", "bus", "kind", "messages", "bytes up", "down", "share")
    ]
    last = {(one.what == "idle", one.bus): one for one in lines}
    for one in sorted(last.values(), key=lambda each: (each.what == "idle", each.bus)):
        whole = sum(part.up_bytes + part.down_bytes for part in one.parts.values()) or 1.0
        largest = sorted(one.parts.items(), key=lambda each: -_size(each[1]))[:_LARGEST]
        for kind, part in largest:
            rows.append(
                (
                    one.what,
                    one.bus,
                    kind,
                    f"{part.messages:,.0f}",
                    f"{part.up_bytes:,.0f}",
                    f"{part.down_bytes:,.0f}",
                    f"{_size(part) / whole:.0%}",
                )
            )
    return "\n".join(report.align(rows, 3))


def _size(part: dissect.Part) -> float:
    return part.up_bytes + part.down_bytes


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run(parsed: argparse.Namespace, directory: pathlib.Path) -> int:
    about, versions = machine.describe(directory), machine.versions()
    versions.update(machine.package_versions("nova"))
    plan = Plan(parsed.links, parsed.bits_per_second, parsed.idle, parsed.life)
    lines = []
    for number, name in enumerate(parsed.buses):
        workdir = directory / str(number)
        workdir.mkdir()
        lines += measure(workdir, name, plan, _progress)
    print(", ".join(f"{name} {value}" for name, value in (about | versions).items()))
    print(f"\n{_table(lines)}\n\n{_parts_table(lines)}")
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
        absences=(lossy.Unavailable,),
    )
