# SPDX-License-Identifier: Apache-2.0
"""``python -m bench store``: messages that are kept on disk and then passed on, by three means.

Casts over the edge bus, which syncs each to the disk of either side before it says so; publishes
to a NATS JetStream in files, passed on to a consumer that acknowledges each; and rows of SQLite
with ZeroMQ sockets, the least that keeping and passing on can take.

The server of NATS syncs its files every two minutes and not for each message: what it has said to
be kept can be lost when the power fails. Since 2.10 it has ``sync_interval: always``.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time

from bench import backends
from bench import command
from bench import comparison
from bench import figures
from bench import floor
from bench import machine
from bench import processes
from bench import report
from bench import usage

_WHATS = ("edge", "nats", "floor")
_NAMES = {
    "edge": "edge bus, synced on both sides",
    "nats": "NATS JetStream, not synced",
    "floor": "SQLite and ZeroMQ alone, synced",
}
_START = 20.0
_LISTENING = re.compile(r"Listening for client connections on \S+:(\d+)")


@dataclasses.dataclass(frozen=True)
class Line:
    """One means with one number of callers; times until a message is kept, rates of arrivals."""

    what: str
    is_synced: bool
    size: int
    callers: int
    samples: int
    p50_ms: float | None
    p99_ms: float | None
    per_second: float
    cpu_us: dict[str, float]
    exact: bool


class Server:
    """A ``nats-server`` of this run's own, with JetStream in a directory of its own.

    :raises bench.backends.Unavailable: when there is none, or no client for it
    """

    def __init__(self, directory: pathlib.Path) -> None:
        program = shutil.which("nats-server")
        if program is None or importlib.util.find_spec("nats") is None:
            raise backends.Unavailable(
                "no nats-server, or no nats-py for it: see 'apt-get install nats-server', "
                "'pip install nats-py' and --what"
            )
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        self.version = f"NATS {said.stdout.split()[-1]}"
        log = directory / "nats.log"
        arguments = ["-js", "-sd", str(directory / "nats"), "-a", "127.0.0.1", "-p", "-1"]
        self.process = processes.Child("nats-server", [program, *arguments], log)
        deadline = time.monotonic() + _START
        while (found := _LISTENING.search(log.read_text())) is None:
            if time.monotonic() > deadline:
                self.process.stop()
                raise backends.Unavailable(f"nats-server does not listen: {log.read_text()}")
            time.sleep(0.05)
        self.url = f"nats://127.0.0.1:{found[1]}"


def _nats(
    directory: pathlib.Path,
    server: Server,
    size: int,
    callers: int,
    seconds: float,
    patience: float,
) -> Line:
    with contextlib.ExitStack() as stack:
        peers = {}
        for name in ("publisher", "consumer"):
            arguments = [sys.executable, "-m", "bench.jetstream"]
            peers[name] = processes.Child(name, arguments, directory / f"{name}.log")
            stack.callback(peers[name].stop)
            peers[name].ask("open", url=server.url, consume=name == "consumer")
        pids = {name: child.pid for name, child in peers.items()}
        pids["server"] = server.process.pid
        before = {name: usage.cpu_seconds(pid) for name, pid in pids.items()}
        arguments_ = {"size": size, "callers": callers, "seconds": seconds}
        sent = peers["publisher"].ask("run", seconds + 2 * _START, **arguments_)
        tally, moved = peers["consumer"].ask("tally"), time.monotonic()
        while tally["received"] < sent["numbers"] and time.monotonic() - moved < patience:
            time.sleep(0.02)
            so_far, tally = tally["received"], peers["consumer"].ask("tally")
            moved = time.monotonic() if tally["received"] != so_far else moved
        spent = {name: usage.cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    took = max(tally["last_at"], sent["ended_at"]) - sent["began_at"]
    return _line(
        "nats",
        (size, callers),
        sent["times"],
        tally["received"] / took,
        {name: 1e6 * each / max(1, sent["numbers"]) for name, each in spent.items()},
        is_exact=tally["received"] == sent["numbers"] and not tally["repeated"],
    )


def _edge(bus: comparison.Bus, size: int, callers: int, seconds: float, patience: float) -> Line:
    scenario = figures.Scenario("cast", size, callers)
    number = callers * 10
    bus.warm_up(scenario, number, seconds / 4, patience)
    bus.run(scenario, number + 1, seconds, patience)
    found = next(one for one in bus.results() if one.callers == callers)
    return Line(
        what=_NAMES["edge"],
        is_synced=True,
        size=size,
        callers=callers,
        samples=found.samples,
        p50_ms=found.p50_ms,
        p99_ms=found.p99_ms,
        per_second=found.arrived_per_second,
        cpu_us=found.cpu_us,
        exact=found.exact,
    )


def _line(
    what: str,
    scenario: tuple[int, int],
    times: list[int],
    rate: float,
    cpu_us: dict[str, float],
    *,
    is_exact: bool,
) -> Line:
    p50, p99 = (figures.milliseconds(figures.percentile(times, each)) for each in (50, 99))
    size, callers = scenario
    synced = what != "nats"
    name = _NAMES[what]
    return Line(name, synced, size, callers, len(times), p50, p99, rate, cpu_us, is_exact)


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench store", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a smoke run; no figure to quote")
    add("--what", default=",".join(_WHATS), help=f"some of {','.join(_WHATS)}")
    add("--callers", default="1,16,64", metavar="N,...", help="that send at a time (1,16,64)")
    add("--size", type=float, default=12.0, metavar="KIB", help="of a message (12)")
    add("--seconds", type=float, help="for each line (5)")
    add("--patience", type=float, default=15.0, help="seconds without an arrival to give up at")
    add("--directory", type=pathlib.Path, default=pathlib.Path("/var/tmp"), help="on a disk")
    add("--json", type=pathlib.Path, metavar="FILE", help="write the results there as well")
    parsed = parser.parse_args(arguments)
    parsed.seconds = parsed.seconds or (0.2 if parsed.quick else 5.0)
    parsed.what = parsed.what.split(",")
    if not set(parsed.what) <= set(_WHATS):
        parser.error(f"--what takes some of {','.join(_WHATS)}")
    try:
        parsed.callers = [int(part) for part in parsed.callers.split(",")]
    except ValueError:
        parser.error(f"--callers {parsed.callers!r} is no list of numbers")
    return parsed


def _measure(
    parsed: argparse.Namespace, directory: pathlib.Path
) -> tuple[list[Line], dict[str, str]]:
    size, lines, versions = int(parsed.size * 1024), [], {}
    with contextlib.ExitStack() as stack:
        bus = server = None
        if "edge" in parsed.what:
            backend = backends.EdgeBus(directory, {})
            bus = stack.enter_context(comparison.Bus(backend, directory))
        if "nats" in parsed.what:
            server = Server(directory)
            stack.callback(server.process.stop)
            versions["nats"] = server.version
        for callers in parsed.callers:
            print(f"{callers} callers", file=sys.stderr, flush=True)
            own = directory / str(callers)
            own.mkdir()
            if bus:
                lines.append(_edge(bus, size, callers, parsed.seconds, parsed.patience))
            if server:
                limits = (parsed.seconds, parsed.patience)
                lines.append(_nats(own, server, size, callers, *limits))
                # The next ones begin with an empty stream.
                server.process.stop()
                server = Server(own)
                stack.callback(server.process.stop)
            if "floor" in parsed.what:
                times, rate = floor.store(own, own, size, callers, parsed.seconds)
                lines.append(_line("floor", (size, callers), times, rate, {}, is_exact=True))
    return lines, versions


def _table(lines: list[Line]) -> str:
    rows: list[tuple[str, ...]] = [
        ("what", "callers", "kept p50 ms", "p99 ms", "passed on/s", "us of computing")
    ]
    for one in lines:
        rows.append(
            (
                one.what + ("" if one.exact else " !"),
                str(one.callers),
                report.number(one.p50_ms, 2),
                report.number(one.p99_ms, 2),
                report.number(one.per_second, 0),
                ", ".join(f"{name} {each:.0f}" for name, each in one.cpu_us.items()) or "-",
            )
        )
    return "\n".join(report.align(rows, 1))


def _run(parsed: argparse.Namespace, directory: pathlib.Path) -> int:
    about, versions = machine.describe(directory), machine.versions()
    versions.update(machine.package_versions("nats-py"))
    lines, found = _measure(parsed, directory)
    versions.update(found)
    print(", ".join(f"{name} {value}" for name, value in (about | versions).items()))
    print("\n" + _table(lines))
    if parsed.json:
        document = {
            "machine": about,
            "versions": versions,
            "settings": {"seconds": parsed.seconds},
            "store": [dataclasses.asdict(one) for one in lines],
        }
        parsed.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if all(one.exact for one in lines) else 1


def main(arguments: list[str]) -> int:
    """Run the benchmark of keeping and passing on.

    :returns: 0; 1 when a message was lost or came twice, or a part failed; 2 when it cannot be
        measured here
    """
    parsed = _arguments(arguments)
    return command.run(
        "bench store",
        parsed.directory,
        lambda directory: _run(parsed, directory),
        failures=(processes.ChildFailed,),
    )
