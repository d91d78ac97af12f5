# SPDX-License-Identifier: Apache-2.0
"""One fleet at real endpoints: what it costs, and its return when one of them is started anew."""

import collections.abc
import contextlib
import dataclasses
import pathlib
import time
import typing

from bench import figures
from bench import places
from bench import processes
from bench import site
from bench import usage

_STANDINS = ["standin-0", "standin-1"]
_LIVE = 2
_LIVE_SIZE = 12 * 1024
_JOIN_SECONDS = 120.0
_PHASES = ("before", "storm", "after")


@dataclasses.dataclass(frozen=True)
class Plan:
    """How large the fleet is, and how long each thing is measured; times in seconds."""

    sessions: int = 10_000
    endpoints: int = 1
    encrypted: bool = False
    processes: int = 4
    seconds: float = 20.0
    interval: float = 10.0
    rate: float = 20.0
    pace: float = 1000.0
    settle: float = 8.0
    patience: float = 240.0


@dataclasses.dataclass(frozen=True)
class Steady:
    """What one endpoint did in a while in which nothing changed.

    ``pings`` are the packets of the computes that carried no report. ``messages`` are what
    ``cpu_per_thousand`` is for, seconds of processor time without those of pings between reports.
    """

    seconds: float
    messages: int
    pings: int
    packets_in: int
    packets_out: int
    cpu_seconds: float
    loop_seconds: float
    io_seconds: float
    cpu_per_thousand: float | None
    simulators_cpu_seconds: float


@dataclasses.dataclass(frozen=True)
class Storm:
    """The return of the sessions of one endpoint; seconds from its death.

    ``linked`` has the shares of the sessions that were linked again, and when they were.
    """

    down_seconds: float
    linked: dict[str, float | None]
    all_linked_seconds: float | None
    all_routed_seconds: float | None
    missing: int
    cpu_seconds: float
    loop_seconds: float
    io_seconds: float
    simulators_cpu_seconds: float


@dataclasses.dataclass(frozen=True)
class Latency:
    """Calls of the live peer in one phase; times in milliseconds from when each was due."""

    phase: str
    calls: int
    failed: int
    p50_ms: float | None
    p99_ms: float | None
    longest_ms: float | None


@dataclasses.dataclass
class Outcome:
    """One fleet; ``memory_bytes`` and ``descriptors`` are those of one endpoint."""

    plan: Plan
    memory_bytes: dict[str, int]
    descriptors: dict[str, int]
    pings: Steady
    reports: Steady
    storm: Storm
    live: list[Latency]
    reports_sent: int
    reports_answered: int
    simulators_memory_bytes: int

    @property
    def bytes_per_session(self) -> float:
        """Bytes of memory that an endpoint takes for each session, after a while of traffic."""
        return (self.memory_bytes["steady"] - self.memory_bytes["empty"]) / self.plan.sessions


class Fleet:
    """The parts of one run, in a directory of its own."""

    def __init__(self, plan: Plan, workdir: pathlib.Path, stack: contextlib.ExitStack) -> None:
        self._plan = plan
        self._workdir = workdir
        self._stack = stack
        self._hosts = [f"edge-{number:05}" for number in range(plan.sessions)]
        keys = site.Keys(workdir / "keys") if plan.encrypted else None
        if keys is not None:
            keys.enroll(self._hosts, _STANDINS)
        room = plan.sessions + plan.sessions // 20 + len(_STANDINS) + _LIVE + 8
        self.endpoints = [
            stack.enter_context(site.Endpoint(workdir / f"endpoint-{number}.log", room, keys))
            for number in range(plan.endpoints)
        ]
        self.empty = self.endpoints[0].usage()
        self._keys = keys

    def gather(self) -> None:
        """Start everybody, and return when everybody is linked and knows a consumer."""
        plan = self._plan
        # All of them before the first is waited for: they take seconds to load what they need.
        self.consumers = self._process("consumers")
        self.simulators = [self._process(f"computes-{n}") for n in range(plan.processes)]
        centre, centre_place = self._live("centre", places.CONDUCTOR_HOST)
        self.caller, caller_place = self._live("caller", places.COMPUTE_HOST)
        self._join(self.consumers, "consumer", _STANDINS, 0, 0.0)
        for number, simulator in enumerate(self.simulators):
            hosts = self._hosts[number :: plan.processes]
            self._join(simulator, "compute", hosts, number + 1, plan.sessions / plan.pace)
        centre.ask("open", place=vars(centre_place))
        centre.ask("begin", size=_LIVE_SIZE)
        self.caller.ask("open", place=vars(caller_place))
        wanted = plan.sessions * plan.endpoints
        site.wait_for(lambda: self.counted("routed") == wanted, plan.patience, "the first links")

    def _join(
        self, process: processes.Child, role: str, hosts: list[str], number: int, seconds: float
    ) -> None:
        process.ask(
            "join",
            timeout=_JOIN_SECONDS,
            role=role,
            url=self._url("", compression="zstd"),
            hosts=hosts,
            first=number * self._plan.sessions,
            network=f"127.{2 + number}.0",
            seconds=seconds,
        )

    def _url(self, virtual_host: str, **options: str) -> str:
        addresses = [each.address for each in self.endpoints]
        return site.url(addresses, virtual_host, self._keys, options)

    def _process(self, name: str) -> processes.Child:
        child = processes.Child(name, site.CROWD, self._workdir / f"{name}.log")
        self._stack.callback(child.stop)
        return child

    def _live(self, role: str, host: str) -> tuple[processes.Worker, places.Place]:
        """A peer of the driver, in a virtual host of its own, and what it is to open."""
        worker = processes.Worker(role, "edge", self._workdir / f"{role}.log")
        self._stack.callback(worker.stop)
        options = {"journal_dir": str(self._workdir / role), "autonomy": "off"}
        if self._keys is not None:
            options["curve_key_file"] = f"{host}.key"
        url = self._url("live", **options)
        return worker, places.Place(url, "nova", "conductor", "compute", "notifications", host)

    def ask_all(self, command: str, **arguments: object) -> list[dict[str, typing.Any]]:
        """The answers of all simulators."""
        for each in self.simulators:
            each.tell(command, **arguments)
        return [each.answer(command, 120.0) for each in self.simulators]

    def counted(self, name: str) -> float:
        """A figure of :meth:`bench.crowd_loop.CrowdLoop.state`, of all simulators together."""
        return sum(each[name] for each in self.ask_all("state"))

    def simulators_cpu(self) -> float:
        """Seconds of processor time of the simulators and the stand-ins, so far."""
        return sum(each.cpu_seconds() for each in (*self.simulators, self.consumers))

    def memory(self) -> int:
        """Bytes of memory that the simulators and the stand-ins have."""
        return sum(
            usage.read(each.pid).memory_bytes for each in (*self.simulators, self.consumers)
        )

    def steady(self, seconds: float, counter: str, cpu_per_ping: float = 0.0) -> Steady:
        """Measure an endpoint for a while.

        :param counter: what of it to count as messages
        :param cpu_per_ping: seconds, where pings are not to be counted
        """
        endpoint = self.endpoints[0]
        began, before, simulators = time.monotonic(), endpoint.usage(), self.simulators_cpu()
        counts, sent = endpoint.counts(), self._pings()
        time.sleep(seconds)
        later, pings = endpoint.counts(), self._pings() - sent
        after, took = endpoint.usage(), time.monotonic() - began
        simulators = self.simulators_cpu() - simulators
        messages = later[counter] - counts[counter]
        cpu = after.cpu_seconds - before.cpu_seconds
        return Steady(
            seconds=took,
            messages=messages,
            pings=pings,
            packets_in=later["packets_in"] - counts["packets_in"],
            packets_out=later["packets_out"] - counts["packets_out"],
            cpu_seconds=cpu,
            loop_seconds=after.loop_seconds - before.loop_seconds,
            io_seconds=after.io_seconds - before.io_seconds,
            cpu_per_thousand=(
                1000 * (cpu - pings * cpu_per_ping) / messages if messages else None
            ),
            simulators_cpu_seconds=simulators,
        )

    def _pings(self) -> int:
        """Packets that the computes have sent to each endpoint and that carried no report."""
        found = self.ask_all("state")
        packets = sum(each["packets"] - each["reported"] for each in found)
        return int(packets) // self._plan.endpoints

    def storm(self) -> tuple[float, Storm]:
        """Kill an endpoint, start it again, and wait for its sessions; also tell when it was."""
        endpoint, plan = self.endpoints[0], self._plan
        before = self.simulators_cpu()
        died_at = time.monotonic()
        endpoint.kill()
        endpoint.start()
        ready_at = time.monotonic()

        def are_back() -> bool:
            found = self.ask_all("returned", endpoint=0, since=died_at, times=False)
            return sum(each["routed"] for each in found) == plan.sessions

        with contextlib.suppress(processes.ChildFailed):
            site.wait_for(are_back, plan.patience, "the return")
        used = endpoint.usage()
        simulators = self.simulators_cpu() - before
        found = self.ask_all("returned", endpoint=0, since=died_at, times=True)
        linked, routed = (
            sorted(at - died_at for each in found for at in each[name])
            for name in ("linked", "routed")
        )
        shares = {
            str(percent): share(linked, percent, plan.sessions) for percent in (1, 50, 90, 99)
        }
        return died_at, Storm(
            down_seconds=ready_at - died_at,
            linked=shares,
            all_linked_seconds=share(linked, 100, plan.sessions),
            all_routed_seconds=share(routed, 100, plan.sessions),
            missing=plan.sessions - len(linked),
            cpu_seconds=used.cpu_seconds,
            loop_seconds=used.loop_seconds,
            io_seconds=used.io_seconds,
            simulators_cpu_seconds=simulators,
        )


def share(times: list[float], percent: int, count: int) -> float | None:
    """When so many percent of all had come, if they had."""
    place = -(-count * percent // 100)
    return times[place - 1] if place <= len(times) else None


def run(
    workdir: pathlib.Path, plan: Plan, progress: collections.abc.Callable[[str], None]
) -> Outcome:
    """Measure one fleet.

    :param workdir: existing directory for journals, keys and logs
    :raises bench.processes.ChildFailed: when a part fails, or not everybody is linked in time
    """
    with contextlib.ExitStack() as stack:
        fleet = Fleet(plan, workdir, stack)
        progress(f"{plan.sessions} sessions at each of {plan.endpoints} endpoints: first links")
        fleet.gather()
        time.sleep(plan.settle)
        linked = fleet.endpoints[0].usage()
        progress("pings")
        pings = fleet.steady(plan.seconds, "packets_in")
        progress("reports")
        fleet.ask_all("report", interval=plan.interval)
        time.sleep(min(plan.settle, plan.interval))
        per_ping = (pings.cpu_per_thousand or 0.0) / 1000
        reports = fleet.steady(plan.seconds, "delivered", per_ping)
        steady = fleet.endpoints[0].usage()
        progress("live calls")
        fleet.caller.ask("begin", size=_LIVE_SIZE, rate=plan.rate)
        time.sleep(plan.seconds)
        progress("storm")
        died_at, storm = fleet.storm()
        steady_at = time.monotonic()
        time.sleep(plan.seconds)
        returned = fleet.endpoints[0].usage()
        calls = fleet.caller.ask("end", timeout=plan.patience)["calls"]
        return Outcome(
            plan=plan,
            memory_bytes={
                "empty": fleet.empty.memory_bytes,
                "linked": linked.memory_bytes,
                "steady": steady.memory_bytes,
                "returned": returned.memory_bytes,
            },
            descriptors={"empty": fleet.empty.descriptors, "linked": linked.descriptors},
            pings=pings,
            reports=reports,
            storm=storm,
            live=latencies(calls, died_at, steady_at),
            reports_sent=int(fleet.counted("reported")),
            reports_answered=int(fleet.counted("replied")),
            simulators_memory_bytes=fleet.memory(),
        )


def latencies(
    calls: list[tuple[float, float, str | None]], died_at: float, steady_at: float
) -> list[Latency]:
    """The calls of each phase.

    One belongs to the phase in which it was due, and to the storm if that came before its answer.
    """
    phases: dict[str, list[tuple[float, str | None]]] = {name: [] for name in _PHASES}
    for due, seconds, error in calls:
        phase = _PHASES[(due + seconds >= died_at) + (due >= steady_at)]
        phases[phase].append((seconds, error))
    found = []
    for name, made in phases.items():
        times = [round(seconds * 1e9) for seconds, error in made if error is None]
        p50, p99, longest = (
            figures.milliseconds(figures.percentile(times, percent)) for percent in (50, 99, 100)
        )
        found.append(Latency(name, len(made), len(made) - len(times), p50, p99, longest))
    return found
