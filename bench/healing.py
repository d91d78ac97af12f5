# SPDX-License-Identifier: Apache-2.0
"""One heal: a real nova-conductor, a fleet that comes back, and a host that never was away."""

import collections.abc
import contextlib
import dataclasses
import itertools
import pathlib
import subprocess
import sys
import time
import typing

import sqlalchemy

from bench import figures
from bench import fleet_rows
from bench import places
from bench import processes
from tests.nova import config
from tests.nova import database
from tests.nova.bus import EdgeBus
from tests.nova.processes import Process

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_NOWHERE = "http://127.0.0.1:9"
_SETUP_SECONDS = 300.0
_LOOK_SECONDS = 0.5
_LINKED_HOST = "linked-0"
_LINKED_INSTANCES = 64
CONDUCTORS = ("nova", "cell")
"""What applies: nova-conductor, or :mod:`bench.cell_conductor`."""
_PHASES = ("before", "during", "after")
# MariaDB and SQLite both read this. A row's lock makes its order that of the saves.
_LOG = (
    "CREATE TABLE heal_log (id INTEGER PRIMARY KEY {auto}, uuid VARCHAR(36), progress INTEGER)",
    "CREATE TRIGGER heal_log_saves AFTER UPDATE ON instances FOR EACH ROW BEGIN "
    "INSERT INTO heal_log (uuid, progress) VALUES (NEW.uuid, NEW.progress); END",
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much comes back, and what is measured meanwhile."""

    edges: int = 200
    entries: int = 500
    instances: int = 5
    workers: int = 4
    groups_of_edges: int = 4
    rate: float = 5.0
    seconds: float = 15.0
    patience: float = 1800.0
    conductor: str = "nova"


@dataclasses.dataclass(frozen=True)
class Latency:
    """Calls of the linked host in one phase; times in milliseconds from when each was due."""

    phase: str
    what: str
    calls: int
    failed: int
    p50_ms: float | None
    p99_ms: float | None
    longest_ms: float | None


@dataclasses.dataclass
class Outcome:
    """What one heal came to; ``wrong`` has a line for everything that should not be."""

    backlog_at_once: int
    entries: int
    bytes: int
    came_back_seconds: float = 0.0
    drained_seconds: float = 0.0
    per_second: float = 0.0
    latencies: list[Latency] = dataclasses.field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether everything was applied once, and in the order of its group."""
        return not (self.lost or self.doubled or self.out_of_order or self.wrong)


class Stage:
    """The parts of one heal, running while the context is entered.

    :param backlog_at_once: of nova-conductor
    """

    def __init__(
        self, workdir: pathlib.Path, plan: Plan, backend: str, backlog_at_once: int
    ) -> None:
        self._workdir = workdir
        self._plan = plan
        self._backlog_at_once = backlog_at_once
        self._bus = EdgeBus()
        self._databases: database.Databases = (
            database.MariadbDatabases()
            if backend == "mariadb"
            else database.SqliteDatabases(workdir / "db")
        )
        self._undo = contextlib.ExitStack()
        self._engine: typing.Any = None
        self._fleets: list[processes.Child] = []

    def __enter__(self) -> "Stage":
        with contextlib.ExitStack() as undo:
            undo.callback(self._bus.stop)
            self._bus.start(self._workdir)
            self._url = self._bus.url(self._bus.addresses)
            undo.callback(self._databases.drop)
            self._databases.create(self._url)
            self._engine = sqlalchemy.create_engine(self._databases.url(database.CELL1))
            undo.callback(self._engine.dispose)
            self._start_conductor(undo)
            self._fill()
            self._linked = self._child(
                undo,
                "linked",
                "bench.linked",
                *("--config-file", str(self._edge_conf), self._plan.conductor, _LINKED_HOST),
            )
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()

    def _configure(self, name: str, *layers: config.Options) -> pathlib.Path:
        state = self._workdir / name
        common = config.service(state, self._url, _NOWHERE, _NOWHERE)
        bus = self._bus.options(state, far=False)
        quiet = {"DEFAULT": {"debug": False}}
        path = state / "nova.conf"
        return config.write(path, config.merged(common, bus, quiet, *layers))

    def _start_conductor(self, undo: contextlib.ExitStack) -> None:
        urls = (self._databases.url("nova_api"), self._databases.url(database.CELL1))
        self._conductor_conf = self._configure(
            "conductor",
            config.databases(*urls),
            config.conductor("conductor", self._plan.workers),
            {"edge_bus": {"backlog_at_once": self._backlog_at_once}},
            # All workers together stay below what MariaDB admits unless told otherwise.
            {"database": {"max_pool_size": 5, "max_overflow": 15}},
        )
        self._edge_conf = self._configure(
            _LINKED_HOST, config.compute(_LINKED_HOST), {"edge_bus": {"autonomy": "off"}}
        )
        if self._plan.conductor == "cell":
            self._start_workers(undo)
            return
        arguments = ["nova-conductor", "--config-file", str(self._conductor_conf)]
        process = Process(
            "conductor",
            [sys.executable, "-m", "tests.nova.service", *arguments],
            self._workdir / "logs" / "conductor.log",
            config.environment(),
        )
        undo.callback(process.kill)
        process.start()
        process.wait_ready(
            lambda: process.log_text().count("linked to endpoint") >= self._plan.workers,
            _SETUP_SECONDS,
        )

    def _start_workers(self, undo: contextlib.ExitStack) -> None:
        arguments = ["--config-file", str(self._conductor_conf)]
        for number in range(self._plan.workers):
            worker = self._child(undo, f"worker-{number}", "bench.cell_conductor", *arguments)
            worker.ask("begin", _SETUP_SECONDS)

    def _fill(self) -> None:
        """Make the rows of all hosts, and log every save of an instance from then on."""
        directory = self._workdir / "edges"
        directory.mkdir()
        configured = ["--config-file", str(self._conductor_conf)]
        self._run("bench.fleet_rows", *configured, str(directory), *map(str, (
            self._plan.edges, self._plan.instances
        )))  # fmt: skip
        linked = [_LINKED_HOST, str(_LINKED_INSTANCES)]
        self._run("bench.fleet_rows", *configured, str(directory), *linked)
        auto = "AUTO_INCREMENT" if self._engine.dialect.name == "mysql" else "AUTOINCREMENT"
        with self._engine.begin() as connection:
            for statement in _LOG:
                connection.exec_driver_sql(statement.format(auto=auto))

    def _run(self, module: str, *arguments: str) -> None:
        with (self._workdir / "logs" / f"{module}.log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-m", module, *arguments],
                check=True,
                timeout=_SETUP_SECONDS,
                cwd=_ROOT,
                stderr=log,
            )

    def _child(
        self, undo: contextlib.ExitStack, name: str, module: str, *arguments: str
    ) -> processes.Child:
        command = [sys.executable, "-m", module, *arguments]
        child = processes.Child(name, command, self._workdir / "logs" / f"{name}.log")
        undo.callback(child.kill)
        return child

    # What happens.

    def write(self) -> int:
        """Let the fleet write its journals; returns the bytes of all bodies."""
        hosts = [fleet_rows.NAME.format(number) for number in range(self._plan.edges)]
        size = 0
        for number in range(self._plan.groups_of_edges):
            child = self._child(self._undo, f"fleet-{number}", "bench.fleet_process")
            self._fleets.append(child)
            size += child.ask(
                "fill",
                _SETUP_SECONDS,
                url=f"{self._url}?curve_dir={places.NO_KEYS}",
                directory=str(self._workdir / "edges"),
                hosts=hosts[number :: self._plan.groups_of_edges],
                count=self._plan.entries,
            )["bytes"]
        return size

    def begin(self) -> None:
        """Let the linked host make its calls."""
        directory = str(self._workdir / "edges")
        self._linked.ask("begin", _SETUP_SECONDS, rate=self._plan.rate, directory=directory)

    def heal(self) -> float:
        """Let the whole fleet come back; returns the seconds until the last has dialled."""
        for fleet in self._fleets:
            fleet.tell("come_back")
        answers = [fleet.answer("come_back", _SETUP_SECONDS) for fleet in self._fleets]
        return max(answer["seconds"] for answer in answers)

    def await_drained(self, seconds: float, progress: typing.Callable[[str], None]) -> bool:
        """Wait until every host has had an answer to all of its entries."""
        deadline = time.monotonic() + seconds
        told_at = 0.0
        while (left := sum(fleet.ask("waiting")["waiting"] for fleet in self._fleets)) > 0:
            if time.monotonic() > deadline:
                return False
            if time.monotonic() - told_at > 30.0:
                told_at = time.monotonic()
                progress(f"    {left} hosts are not drained, {self._applied()} saves applied")
            time.sleep(_LOOK_SECONDS)
        return True

    def _applied(self) -> int:
        with self._engine.connect() as connection:
            return connection.exec_driver_sql("SELECT MAX(id) FROM heal_log").scalar() or 0

    def calls(self) -> list[list[typing.Any]]:
        """Let the linked host finish, and return what it has made."""
        calls: list[list[typing.Any]] = self._linked.ask("end", _SETUP_SECONDS)["calls"]
        return calls

    def log(self) -> list[tuple[str, int]]:
        """The saves of the fleet in the order in which they took effect."""
        query = (
            "SELECT heal_log.uuid, heal_log.progress FROM heal_log JOIN instances ON "
            f"instances.uuid = heal_log.uuid WHERE instances.host != '{_LINKED_HOST}' "
            "ORDER BY heal_log.id"
        )
        with self._engine.connect() as connection:
            return [(row[0], row[1]) for row in connection.exec_driver_sql(query)]


def run(
    workdir: pathlib.Path,
    plan: Plan,
    backend: str,
    backlog_at_once: int,
    progress: typing.Callable[[str], None],
) -> Outcome:
    """Have a fleet come back, and say what became of it and of the calls meanwhile.

    :param workdir: an existing empty directory on a disk
    :param backend: sqlite, or mariadb for the server on 127.0.0.1:3306
    :param backlog_at_once: the option of nova-conductor; 0 admits everything
    :raises NotReadyError: when a part does not come up
    :raises ChildFailed: when one of the processes ends or keeps silent
    """
    (workdir / "logs").mkdir()
    progress(f"backlog_at_once={backlog_at_once}: a conductor and {plan.edges} hosts")
    with Stage(workdir, plan, backend, backlog_at_once) as stage:
        outcome = Outcome(backlog_at_once, plan.edges * plan.entries, stage.write())
        stage.begin()
        time.sleep(plan.seconds)
        progress("  the heal")
        healed_at = time.monotonic()
        outcome.came_back_seconds = stage.heal()
        if not stage.await_drained(plan.patience, progress):
            outcome.wrong.append(f"not drained after {plan.patience:g} s")
        drained_at = time.monotonic()
        outcome.drained_seconds = drained_at - healed_at
        outcome.per_second = outcome.entries / outcome.drained_seconds
        time.sleep(plan.seconds)
        outcome.latencies = latencies(stage.calls(), healed_at, drained_at)
        judge(outcome, plan, stage.log())
    return outcome


def latencies(
    calls: collections.abc.Iterable[collections.abc.Sequence[typing.Any]],
    healed_at: float,
    drained_at: float,
) -> list[Latency]:
    """The calls of each phase, of each kind; one belongs to the phase in which it was due."""
    by_line: dict[tuple[str, str], list[tuple[float, str | None]]] = {}
    for what, due, seconds, error in calls:
        phase = _PHASES[(due >= healed_at) + (due >= drained_at)]
        by_line.setdefault((phase, what), []).append((seconds, error))
    found = []
    for phase in _PHASES:
        for what in ("read", "save"):
            made = by_line.get((phase, what), [])
            times = [round(seconds * 1e9) for seconds, error in made if error is None]
            p50, p99, longest = (
                figures.milliseconds(figures.percentile(times, percent))
                for percent in (50, 99, 100)
            )
            failed = len(made) - len(times)
            found.append(Latency(phase, what, len(made), failed, p50, p99, longest))
    return found


def judge(outcome: Outcome, plan: Plan, log: collections.abc.Iterable[tuple[str, int]]) -> None:
    """Note what is lost, doubled and out of order.

    :param log: instance and number of each save, in the order in which they took effect
    """
    by_instance: dict[str, list[int]] = {}
    for uuid, number in log:
        by_instance.setdefault(uuid, []).append(number)
    applied = 0
    for numbers in by_instance.values():
        applied += len(set(numbers))
        outcome.doubled += len(numbers) - len(set(numbers))
        outcome.out_of_order += sum(
            later < earlier for earlier, later in itertools.pairwise(numbers)
        )
    outcome.lost = plan.edges * plan.entries - applied
