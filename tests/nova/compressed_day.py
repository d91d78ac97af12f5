# SPDX-License-Identifier: Apache-2.0
"""A day of a compute host that is cut off, as fast as it goes.

    python -m tests.nova.compressed_day [--share 20]

A real nova-conductor with its cell's database on one side of a link that falls silent; on the
other a process that saves and reads nova's own objects as nova-compute does. Afterwards the link
comes back, and the tables are compared with what was saved last.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import sqlalchemy

from bench import figures
from bench import floor
from bench import processes as bench_processes
from tests.nova import config
from tests.nova import database
from tests.nova import journals
from tests.nova import rpc_trace
from tests.nova.bus import EdgeBus
from tests.nova.bus import journal_directory
from tests.nova.processes import Process
from tests.nova.processes import wait_until
from tests.nova.relay import Relay

HOST = "edge-0"
_NOWHERE = "http://127.0.0.1:9"
_SETUP_SECONDS = 120.0
_DRAIN_SECONDS = 1800.0
_DAY_SECONDS = 3600.0
_FLOOR_SECONDS = 1.0
_BODY_BYTES = 4096
_UNREACHABLE = {"edge_bus": {"autonomy": "on"}, "DEFAULT": {"debug": False}}


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much is done while the link is silent."""

    heartbeats: int = 8640
    audits: int = 1440
    saves: int = 500
    instances: int = 50

    def share(self, of: int) -> Plan:
        """The same day with so many times less of everything but the instances."""
        return Plan(self.heartbeats // of, self.audits // of, self.saves // of, self.instances)


@dataclasses.dataclass
class Day:
    """What a day came to; ``wrong`` has a line for everything that should not be."""

    plan: Plan
    stall_seconds: float = 0.0
    seconds: float = 0.0
    times: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    fdatasync: list[int] = dataclasses.field(default_factory=list)
    written: int = 0
    pending: int = 0
    journal_bytes: int = 0
    peak_mib: float = 0.0
    heal_seconds: float = 0.0
    drain_seconds: float = 0.0
    link_bytes: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)

    @property
    def merged(self) -> int:
        """Entries that a later one stands for."""
        return self.written - self.pending


class Stage:
    """A nova-conductor with its database, an endpoint, a link and the host at its far end."""

    def __init__(self, workdir: pathlib.Path, backend: str) -> None:
        """Describe the parts; :meth:`open` makes them."""
        self.workdir = workdir
        self.bus = EdgeBus()
        self.databases: database.Databases = (
            database.MariadbDatabases()
            if backend == "mariadb"
            else database.SqliteDatabases(workdir / "db")
        )
        self.trace = workdir / "conductor" / rpc_trace.FILE
        self.journals = journal_directory(workdir / HOST)

    @contextlib.contextmanager
    def open(self, instances: int) -> Iterator[Stage]:
        """Run everything, with so many instances on the host, until the block ends."""
        with contextlib.ExitStack() as undo:
            undo.callback(self.bus.stop)
            self.bus.start(self.workdir)
            undo.callback(self.databases.drop)
            url = self.bus.url(self.bus.addresses)
            self.databases.create(url)
            conductor = self._start_conductor(url, undo)
            self._fill(conductor, instances)
            self.relay = Relay(self.bus.addresses)
            undo.callback(self.relay.stop)
            self.relay.start()
            self.edge = self._start_edge(undo)
            yield self

    def _configure(self, name: str, url: str, *layers: config.Options) -> pathlib.Path:
        state = self.workdir / name
        common = config.service(state, url, _NOWHERE, _NOWHERE)
        return config.write(state / "nova.conf", config.merged(common, *layers))

    def _start_conductor(self, url: str, undo: contextlib.ExitStack) -> pathlib.Path:
        state = self.workdir / "conductor"
        nova_conf = self._configure(
            "conductor",
            url,
            self.bus.options(state, far=False),
            config.databases(self.databases.url("nova_api"), self.databases.url(database.CELL1)),
            config.conductor("conductor", 2),
        )
        arguments = ["nova-conductor", "--config-file", str(nova_conf)]
        process = Process(
            "conductor",
            [sys.executable, "-m", "tests.nova.service", *arguments],
            self.workdir / "logs" / "conductor.log",
            {**config.environment(), rpc_trace.ENVIRONMENT_VARIABLE: str(self.trace)},
        )
        undo.callback(process.kill)
        process.start()
        process.wait_ready(
            lambda: process.log_text().count("Join ServiceGroup membership") >= 2, _SETUP_SECONDS
        )
        return nova_conf

    def _fill(self, nova_conf: pathlib.Path, instances: int) -> None:
        command = [sys.executable, "-m", "tests.nova.cell_rows", "--config-file", str(nova_conf)]
        subprocess.run(
            [*command, HOST, str(instances)],
            check=True,
            timeout=_SETUP_SECONDS,
            cwd=pathlib.Path(__file__).resolve().parents[2],
            stderr=(self.workdir / "logs" / "cell-rows.log").open("wb"),
        )

    def _start_edge(self, undo: contextlib.ExitStack) -> bench_processes.Child:
        state = self.workdir / HOST
        url = self.bus.url(self.relay.addresses)
        nova_conf = self._configure(
            HOST, url, self.bus.options(state, far=True), config.compute(HOST), _UNREACHABLE
        )
        command = [sys.executable, "-m", "tests.nova.edge_host", "--config-file", str(nova_conf)]
        edge = bench_processes.Child(HOST, [*command, HOST], self.workdir / "logs" / "edge.log")
        undo.callback(edge.stop)
        return edge


def run(workdir: pathlib.Path, plan: Plan, backend: str = "sqlite") -> Day:
    """Run a day in the directory and say what it came to.

    :param backend: sqlite, or mariadb for the server on 127.0.0.1:3306
    :raises NotReadyError: when a part does not come up, or the journal does not drain
    """
    day = Day(plan)
    with Stage(workdir.resolve(), backend).open(plan.instances) as stage:
        edge = stage.edge
        edge.ask("warm_up", _SETUP_SECONDS)
        edge.ask("heartbeat", _SETUP_SECONDS)
        before = journals.entries_written(stage.journals)
        day.fdatasync = floor.fdatasync(workdir, _BODY_BYTES, _FLOOR_SECONDS)
        stage.relay.silence()
        day.stall_seconds = edge.ask("heartbeat", _SETUP_SECONDS)["seconds"]
        told = edge.ask("day", _DAY_SECONDS, **_counts(plan))
        day.seconds, day.times = told["seconds"], told["times"]
        day.written = journals.entries_written(stage.journals) - before
        day.pending = journals.entries_pending(stage.journals)
        day.journal_bytes = sum(each.stat().st_size for each in stage.journals.glob("*.db*"))
        day.peak_mib = edge.ask("memory")["peak_mib"]
        _heal(stage, day)
        _judge(stage, day, told)
    return day


def _counts(plan: Plan) -> dict[str, int]:
    return {"heartbeats": plan.heartbeats, "audits": plan.audits, "saves": plan.saves}


def _heal(stage: Stage, day: Day) -> None:
    traffic = stage.relay.traffic
    healed_at = time.time()
    stage.relay.resume()
    wait_until(
        lambda: journals.entries_pending(stage.journals) == 0, _DRAIN_SECONDS, "an empty outbox"
    )
    stage.edge.ask("heartbeat", _SETUP_SECONDS)
    day.link_bytes = (stage.relay.traffic - traffic).total
    # The last is the heartbeat just made, which came after the host had caught up.
    served = _replayed(stage, healed_at)[:-1]
    day.heal_seconds = served[-1]["at"] + served[-1]["seconds"] - healed_at
    day.drain_seconds = served[-1]["at"] + served[-1]["seconds"] - served[0]["at"]


def _replayed(stage: Stage, since: float) -> list[dict[str, Any]]:
    """The writes that the conductor has served since then, in the order in which it began."""
    served = [
        each
        for each in rpc_trace.read(stage.trace)
        if each["way"] == "served" and each["method"].endswith(".save") and each["at"] >= since
    ]
    return sorted(served, key=lambda each: float(each["at"]))


def _judge(stage: Stage, day: Day, told: dict[str, Any]) -> None:
    """Compare what the centre has with what the edge has saved."""
    day.wrong += told["wrong"]
    if not told["conflicts"]:
        day.wrong.append("no save was compared with a wrong task_state")
    _judge_replay(day, _replayed(stage, 0.0))
    engine = sqlalchemy.create_engine(stage.databases.url(database.CELL1))
    with contextlib.closing(engine.connect()) as connection:
        _judge_tables(connection, day, told)
    engine.dispose()


def _judge_replay(day: Day, served: list[dict[str, Any]]) -> None:
    """Everything once and without an error, and the heartbeat of the cut last.

    The last of all was made after the cut.
    """
    count = {
        name: sum(each["method"] == f"{name}.save" for each in served)
        for name in ("Service", "ComputeNode", "Instance")
    }
    # The first audit was saved while linked.
    expected = {"Instance": day.plan.saves, "ComputeNode": 2}
    for name, number in expected.items():
        if count[name] != number:
            day.wrong.append(f"{count[name]} of {number} {name}.save reached the conductor")
    day.wrong += [f"{each['method']} raised {each['error']}" for each in served if each["error"]]
    *replayed, heartbeat, _ = served
    ended = max(each["at"] + each["seconds"] for each in replayed)
    if heartbeat["method"] != "Service.save" or heartbeat["at"] < ended:
        day.wrong.append("the heartbeat of the cut did not wait for all the rest")


def _judge_tables(connection: sqlalchemy.Connection, day: Day, told: dict[str, Any]) -> None:
    def rows(query: str) -> list[Any]:
        return list(connection.execute(sqlalchemy.text(query)).mappings())

    found = {each["uuid"]: each for each in rows("SELECT * FROM instances WHERE deleted = 0")}
    if len(found) != day.plan.instances:
        day.wrong.append(f"there are {len(found)} instances")
    for uuid, fields in told["instances"].items():
        for name, value in fields.items():
            if found[uuid][name] != value:
                day.wrong.append(f"{uuid}: {name} is {found[uuid][name]}, saved was {value}")
    (service,) = rows("SELECT * FROM services WHERE `binary` = 'nova-compute'")
    # The heartbeat after the heal has counted on.
    if service["report_count"] != told["report_count"] + 1:
        day.wrong.append(f"report_count is {service['report_count']}")
    (node,) = rows("SELECT * FROM compute_nodes")
    if node["memory_mb_used"] != told["memory_mb_used"]:
        day.wrong.append(f"memory_mb_used of the node is {node['memory_mb_used']}")
    if json.loads(node["stats"]) != told["stats"]:
        day.wrong.append(f"stats of the node are {node['stats']}, saved were {told['stats']}")


def table(day: Day) -> str:
    """What a day came to, for people."""
    plan = day.plan
    lines = [
        f"{plan.heartbeats} heartbeats, {plan.audits} audits, {plan.saves} saves of "
        f"{plan.instances} instances while cut off",
        "",
        f"{'stall at the cut':28}{day.stall_seconds:10.1f} s",
        f"{'the day':28}{day.seconds:10.1f} s",
        f"{'entries written':28}{day.written:10}",
        f"{'merged':28}{day.merged:10}",
        f"{'pending before the heal':28}{day.pending:10}",
        f"{'journal':28}{day.journal_bytes / 2**20:10.2f} MiB",
        f"{'peak memory of the process':28}{day.peak_mib:10.1f} MiB",
        f"{'heal until all is applied':28}{day.heal_seconds:10.1f} s",
        f"{'drain':28}{day.drain_seconds:10.1f} s, {day.pending / day.drain_seconds:.0f} "
        "entries/s",
        f"{'bytes on the link to drain':28}{day.link_bytes / 1024:10.1f} KiB",
        "",
        f"{'':28}{'count':>10}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}",
    ]
    for what, times in {"fdatasync of 4 KiB": day.fdatasync, **day.times}.items():
        numbers = (figures.percentile(times, percent) for percent in (50, 99, 100))
        cells = "".join(f"{figures.milliseconds(number) or 0:10.2f}" for number in numbers)
        lines.append(f"{what:28}{len(times):10}{cells}")
    lines += ["", *(f"WRONG: {each}" for each in day.wrong)]
    lines.append("all as it was saved, nothing twice" if not day.wrong else "")
    return "\n".join(lines).rstrip()


def main() -> None:
    """Run a day and print what it came to; exits with 1 when something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.nova.compressed_day")
    parser.add_argument("--share", type=int, default=1, help="so many times less of everything")
    parser.add_argument("--backend", choices=["sqlite", "mariadb"], default="sqlite")
    parser.add_argument("--directory", type=pathlib.Path, help="where to keep logs and journals")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edge-bus-day-", dir="/var/tmp") as scratch:
        directory = parsed.directory or pathlib.Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        day = run(directory, Plan().share(parsed.share), parsed.backend)
    print(table(day))
    sys.exit(1 if day.wrong else 0)


if __name__ == "__main__":
    main()
