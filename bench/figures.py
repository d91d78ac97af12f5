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
    """One line of the comparison: what is sent, how large, from how many threads."""

    kind: str
    size: int
    callers: int


@dataclasses.dataclass
class Round:
    """What one round on one bus gave: the sender's answer and the receiver's count."""

    number: int
    began_at: float
    ended_at: float
    times: list[int]
    failures: list[str]
    numbers: int
    tally: dict[str, typing.Any]


@dataclasses.dataclass(frozen=True)
class Result:
    """A scenario on one bus, over all its rounds; times in milliseconds, rates a second."""

    bus: str
    kind: str
    size: int
    callers: int
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

    @property
    def exact(self) -> bool:
        """Whether every message that was sent was counted once, and only once."""
        return self.failed == 0 and self.lost == 0 and self.repeated == 0


def summarise(bus: str, scenario: Scenario, rounds: list[Round], settled: list[Round]) -> Result:
    """The figures of *scenario* from its timed *rounds*.

    :param settled: the same rounds and those that only warmed up, for the count of messages
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
        kind=scenario.kind,
        size=scenario.size,
        callers=scenario.callers,
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
    )


_RATIOS = ("p50_ms", "p99_ms", "sent_per_second", "arrived_per_second")


def ratios(edge: Result, rabbit: Result) -> dict[str, float | None]:
    """The figures of *edge* in multiples of those of *rabbit*."""
    found: dict[str, float | None] = {}
    for name in _RATIOS:
        above, below = getattr(edge, name), getattr(rabbit, name)
        found[name] = above / below if above is not None and below else None
    return found
