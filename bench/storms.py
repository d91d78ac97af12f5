# SPDX-License-Identifier: Apache-2.0
"""What is measured of a fleet, and how that is told."""

import dataclasses
import resource

from bench import figures
from bench import places

_FEWEST_CROWDS = 4
_PHASES = ("before", "storm", "after")


@dataclasses.dataclass(frozen=True)
class Plan:
    """How large the fleet is, and how long each thing is measured; times in seconds.

    :param processes: that the computes are in; 0 for as many as their descriptors take
    :param pace: computes that dial for the first time in a second
    """

    sessions: int = 10_000
    endpoints: int = 1
    encrypted: bool = False
    processes: int = 0
    seconds: float = 20.0
    interval: float = 10.0
    rate: float = 20.0
    pace: float = 400.0
    settle: float = 8.0
    patience: float = 240.0

    def crowds(self) -> int:
        """How many processes the computes are in."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = (hard - places.OTHER_DESCRIPTORS) // places.LINE_DESCRIPTORS
        # A compute's links to all endpoints are in one process.
        needed = -(-self.sessions // max(1, most // self.endpoints))
        return self.processes or max(_FEWEST_CROWDS, needed)


@dataclasses.dataclass(frozen=True)
class Steady:
    """What one endpoint did in a while in which nothing changed.

    ``pings`` are the packets of the computes that carried no report. ``messages`` are what
    ``cpu_per_thousand`` is for, seconds of processor time without those of pings between reports.
    ``waited_seconds`` are those for which the endpoint, and the simulators on average, were ready
    to run and had no processor; ``busy_cores`` are those of the machine, whoever used them.
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
    waited_seconds: dict[str, float]
    busy_cores: float


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
    waited_seconds: float
    busy_cores: float


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
    """One fleet; ``memory_bytes`` and ``descriptors`` are those of one endpoint.

    ``live_waits`` are the shares of the time before the storm in which processes waited to run.
    """

    plan: Plan
    memory_bytes: dict[str, int]
    descriptors: dict[str, int]
    pings: Steady
    reports: Steady
    storm: Storm
    live: list[Latency]
    live_waits: dict[str, float]
    reports_sent: int
    reports_answered: int
    simulators_memory_bytes: int

    @property
    def bytes_per_session(self) -> float:
        """Bytes of memory that an endpoint takes for each session, after a while of traffic."""
        return (self.memory_bytes["steady"] - self.memory_bytes["empty"]) / self.plan.sessions


def share(times: list[float], percent: int, count: int) -> float | None:
    """When so many percent of all had come, if they had."""
    place = -(-count * percent // 100)
    return times[place - 1] if place <= len(times) else None


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
