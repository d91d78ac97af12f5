# SPDX-License-Identifier: Apache-2.0
"""From samples to figures: percentiles, rates and ratios."""

import collections.abc
import dataclasses
import math
import typing


def percentile(samples: collections.abc.Sequence[int], percent: float) -> int | None:
    """The nearest-rank percentile of *samples*, sorted or not; None when there are none."""
    if not samples:
        return None
    ordered = sorted(samples)
    rank = max(1, math.ceil(percent / 100 * len(ordered)))
    return ordered[rank - 1]


def milliseconds(nanoseconds: int | None) -> float | None:
    """Nanoseconds as milliseconds, None kept."""
    return None if nanoseconds is None else nanoseconds / 1e6


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One line of the comparison: what is sent, how large, from how many threads.

    :param rate: messages a second of all threads together; 0 for as many as they can
    """

    kind: str
    size: int
    callers: int
    rate: float = 0.0

    def __str__(self) -> str:
        pace = f"{self.rate:g}/s" if self.rate else "as fast as they can"
        return f"{self.kind}, {self.size} bytes, {self.callers} callers, {pace}"


@dataclasses.dataclass
class Round:
    """What one round on one bus gave: the sender's answer and the receiver's count.

    :param numbers: how many messages were owed, each copy of a fanout for itself
    :param cpu: seconds of processor time of each process in the round
    :param memory: bytes of each process after it
    """

    number: int
    began_at: float
    ended_at: float
    times: list[int]
    failures: list[str]
    numbers: int
    tally: dict[str, typing.Any]
    cpu: dict[str, float] = dataclasses.field(default_factory=dict)
    memory: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Result:
    """A scenario on one bus, over all its rounds; times in milliseconds, rates a second.

    Of each process: ``cpu_us``, microseconds of processor time for a message sent;
    ``memory_bytes`` at the end; and by how many bytes it had grown for each message.
    """

    bus: str
    concurrency: str
    kind: str
    size: int
    callers: int
    rate: float
    samples: int
    p50_ms: float | None
    p99_ms: float | None
    sent_per_second: float
    arrived_per_second: float
    sent: int
    failed: int
    counted_once: int
    lost: int
    repeated: int
    failures: list[str]
    cpu_us: dict[str, float]
    memory_bytes: dict[str, int]
    growth_bytes: dict[str, float]

    @property
    def exact(self) -> bool:
        """Whether every message that was sent was counted once, and only once.

        Nobody keeps a fanout, so one that was lost broke no promise.
        """
        return self.failed == self.repeated == 0 and (self.lost == 0 or self.kind == "fanout")


def summarise(
    bus: str, concurrency: str, scenario: Scenario, rounds: list[Round], settled: list[Round]
) -> Result:
    """The figures of *scenario* from its timed *rounds*.

    :param settled: the same rounds and then those that only warmed up, for the count of messages
    """
    times = [taken for one in rounds for taken in one.times]
    sending = sum(one.ended_at - one.began_at for one in rounds)
    arriving = sum(max(one.tally["last_at"], one.ended_at) - one.began_at for one in rounds)
    received = sum(one.tally["received"] for one in rounds)
    sent = sum(one.numbers for one in settled)
    failures = [text for one in settled for text in one.failures]
    never = sum(one.tally["never"] for one in settled)
    return Result(
        bus=bus,
        concurrency=concurrency,
        kind=scenario.kind,
        size=scenario.size,
        callers=scenario.callers,
        rate=scenario.rate,
        samples=len(times),
        p50_ms=milliseconds(percentile(times, 50)),
        p99_ms=milliseconds(percentile(times, 99)),
        sent_per_second=len(times) / sending,
        arrived_per_second=received / arriving,
        sent=sent,
        failed=len(failures),
        counted_once=sum(one.tally["once"] for one in settled),
        # A send that raised may have arrived or not; only the others are owed.
        lost=max(0, never - len(failures)),
        repeated=sum(one.tally["repeated"] for one in settled),
        failures=sorted(set(failures))[:5],
        cpu_us={name: 1e6 * _spent(rounds, name) / max(1, len(times)) for name in rounds[0].cpu},
        memory_bytes=rounds[-1].memory,
        growth_bytes={
            name: (rounds[-1].memory[name] - size) / max(1, len(times))
            for name, size in settled[-1].memory.items()
        },
    )


def _spent(rounds: list[Round], name: str) -> float:
    return sum(one.cpu[name] for one in rounds)


_RATIOS = ("p50_ms", "p99_ms", "sent_per_second", "arrived_per_second")


def ratios(edge: Result, rabbit: Result) -> dict[str, float | None]:
    """The figures of *edge* in multiples of those of *rabbit*."""
    found: dict[str, float | None] = {}
    for name in _RATIOS:
        above, below = getattr(edge, name), getattr(rabbit, name)
        found[name] = above / below if above is not None and below else None
    return found
