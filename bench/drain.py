# SPDX-License-Identifier: Apache-2.0
"""``python -m bench drain``: how fast a journal drains, to a conductor that applies nothing.

A host has journaled saves of many instances while it was cut off. Its journal is opened, an
endpoint and a receiver are there, and the time runs until the last entry is settled in it.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile
import time
import typing

from bench import backends
from bench import command
from bench import floor
from bench import machine
from bench import processes
from bench import report

_LOOK_SECONDS = 0.02
_FILL_SECONDS = 1800.0
_PARTS = ("drainer", "endpoint", "receiver")


@dataclasses.dataclass(frozen=True)
class Drain:
    """One drain; ``cpu_us`` has the microseconds of computing for an entry, by process."""

    entries: int
    instances: int
    size: int
    bytes: int
    seconds: float
    per_second: float
    limit_per_second: float
    share_of_limit: float
    cpu_us: dict[str, float]
    lost: int
    repeated: int

    @property
    def exact(self) -> bool:
        """Whether every entry was dispatched once."""
        return not (self.lost or self.repeated)


class Stage:
    """An endpoint and a receiver, to which one host after the other drains."""

    def __init__(self, directory: pathlib.Path, options: dict[str, str], patience: float) -> None:
        """
        :param directory: existing directory on the disk to measure with
        :param options: further [edge_bus] options for both sides
        :param patience: seconds without an arrival to give up at
        """
        self._directory = directory
        self._patience = patience
        self._bus = backends.EdgeBus(directory, options)
        self._round = 0

    def __enter__(self) -> "Stage":
        self._bus.open()
        self._receiver = self._worker("receiver")
        return self

    def __exit__(self, *exception: object) -> None:
        self._receiver.stop()
        self._bus.close()

    def _worker(self, role: str) -> processes.Worker:
        log = self._directory / f"{role}-{self._round}.log"
        worker = processes.Worker(role, "edge", log)
        worker.ask("open", place=vars(self._bus.place(role)))
        return worker

    def run(self, entries: int, instances: int, size: int) -> Drain:
        """One drain of so many *entries*.

        :param size: bytes of an instance
        :raises bench.processes.ChildFailed: when nothing moves for the patience
        """
        self._round += 1
        limit = self._limit(entries, size)
        drainer = self._worker("drainer")
        try:
            filled = drainer.ask(
                "fill",
                timeout=_FILL_SECONDS,
                directory=str(self._directory / f"journal-{self._round}"),
                round=self._round,
                entries=entries,
                instances=instances,
                size=size,
            )
            cpu, seconds = self._drain(drainer, entries)
            tally = self._tally(entries)
        finally:
            drainer.stop()
        return Drain(
            entries=entries,
            instances=instances,
            size=size,
            bytes=filled["bytes"],
            seconds=seconds,
            per_second=entries / seconds,
            limit_per_second=limit,
            share_of_limit=entries / seconds / limit,
            cpu_us={name: spent / entries * 1e6 for name, spent in cpu.items()},
            lost=tally["never"],
            repeated=tally["repeated"],
        )

    def _limit(self, entries: int, size: int) -> float:
        with tempfile.TemporaryDirectory(dir=self._directory) as name:
            return floor.drain(pathlib.Path(name), self._directory, size, entries)

    def _drain(self, drainer: processes.Worker, entries: int) -> tuple[dict[str, float], float]:
        before = self._cpu(drainer)
        began = drainer.ask("come_back")["at"]
        arrived, moved = 0, began
        while True:
            answer = drainer.ask("waiting")
            received = self._tally(entries)["received"]
            if received != arrived:
                arrived, moved = received, answer["at"]
            if not answer["waiting"] and arrived >= entries:
                break
            if answer["at"] - moved > self._patience:
                raise processes.ChildFailed(f"{arrived} of {entries} entries came, then no more")
            time.sleep(_LOOK_SECONDS)
        after = self._cpu(drainer)
        return {name: after[name] - before[name] for name in _PARTS}, answer["at"] - began

    def _cpu(self, drainer: processes.Worker) -> dict[str, float]:
        parts = (drainer, self._bus.endpoint, self._receiver)
        return {name: one.cpu_seconds() for name, one in zip(_PARTS, parts, strict=True)}

    def _tally(self, entries: int) -> dict[str, typing.Any]:
        return self._receiver.ask("tally", round=self._round, numbers=entries, patience=0.0)


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench drain", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a smoke run; no figure to quote")
    add("--entries", metavar="N,...", help="one drain for each (1000,10000,100000)")
    add("--instances", type=int, default=200, help="whose saves they are, in turns (200)")
    add("--size", type=float, default=12.0, metavar="KIB", help="of an instance (12)")
    add("--edge-option", action="append", default=[], metavar="NAME=VALUE", help="[edge_bus]")
    add("--directory", type=pathlib.Path, default=pathlib.Path("/var/tmp"), help="on a disk")
    add("--patience", type=float, default=30.0, help="seconds without an arrival to give up at")
    add("--json", type=pathlib.Path, metavar="FILE", help="write the results there as well")
    parsed = parser.parse_args(arguments)
    if parsed.entries is None:
        parsed.entries = "200" if parsed.quick else "1000,10000,100000"
    try:
        parsed.entries = [int(part) for part in parsed.entries.split(",")]
    except ValueError:
        parser.error(f"--entries {parsed.entries!r} is no list of numbers")
    if min(*parsed.entries, parsed.instances, 1, 1) < 1 or parsed.size <= 0:
        parser.error("--entries, --instances and --size have to be above 0")
    return parsed


def _table(drains: list[Drain]) -> str:
    rows: list[tuple[str, ...]] = [
        (
            "entries",
            "seconds",
            "entries/s",
            "limit/s",
            "share",
            *(f"{name} us" for name in _PARTS),
            "lost",
            "repeated",
        )
    ]
    for one in drains:
        rows.append(
            (
                f"{one.entries:,}",
                report.number(one.seconds, 2),
                report.number(one.per_second, 0),
                report.number(one.limit_per_second, 0),
                report.number(one.share_of_limit, 3),
                *(report.number(one.cpu_us[name], 0) for name in _PARTS),
                str(one.lost),
                str(one.repeated),
            )
        )
    return "\n".join(report.align(rows, 0))


def _run(parsed: argparse.Namespace, directory: pathlib.Path) -> int:
    about, versions = machine.describe(directory), machine.versions()
    options = dict(option.partition("=")[::2] for option in parsed.edge_option)
    with Stage(directory, options, parsed.patience) as stage:
        drains = []
        for entries in parsed.entries:
            print(f"{entries} entries", file=sys.stderr, flush=True)
            drains.append(stage.run(entries, parsed.instances, int(parsed.size * 1024)))
    print(", ".join(f"{name} {value}" for name, value in (about | versions).items()))
    print("\n" + _table(drains))
    if parsed.json:
        document = {
            "machine": about,
            "versions": versions,
            "settings": {"options": options},
            "drain": [{**dataclasses.asdict(one), "exact": one.exact} for one in drains],
        }
        parsed.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if all(one.exact for one in drains) else 1


def main(arguments: list[str]) -> int:
    """Run the benchmark of drains.

    :returns: 0; 1 when an entry was lost or came twice, or a part failed; 2 when it cannot be
        measured here
    """
    parsed = _arguments(arguments)
    return command.run(
        "bench drain",
        parsed.directory,
        lambda directory: _run(parsed, directory),
        failures=(processes.ChildFailed,),
    )
