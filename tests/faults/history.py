# SPDX-License-Identifier: Apache-2.0
"""What happened, in files that several processes append to and that survive any of them."""

from __future__ import annotations

import collections
import itertools
import json
import math
import os
import pathlib
import statistics
import time
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple


class Mark(NamedTuple):
    """The name of one operation, carried inside it.

    ``life`` and ``number`` rise with time within one ``thread`` of one ``client``.
    """

    kind: str
    client: str
    thread: int
    life: int
    number: int
    group: str

    @property
    def at(self) -> tuple[int, int]:
        """When its thread began it, compared with that thread's other operations."""
        return self.life, self.number

    @property
    def line(self) -> tuple[str, int, str]:
        """Operations of the same thread in the same group: their order is known."""
        return self.client, self.thread, self.group


class Event(NamedTuple):
    """One line of a history; ``time`` is the machine's monotonic clock, in seconds."""

    time: float
    what: str
    who: str
    mark: Mark
    detail: Any


class Writer:
    """Appends events; a line is whole and in its place whatever happens to its process."""

    def __init__(self, path: str, who: str) -> None:
        self._who = who
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, what: str, mark: Mark, detail: Any = None) -> None:
        """Append one event."""
        event = Event(time.monotonic(), what, self._who, mark, detail)
        os.write(self._file, json.dumps(event).encode() + b"\n")


def read(path: pathlib.Path, *whats: str) -> list[Event]:
    """The events of a history in their order, or those of some sorts only."""
    if not path.exists():
        return []
    found = (_event(line) for line in path.read_text().splitlines())
    return [event for event in found if not whats or event.what in whats]


def _event(line: str) -> Event:
    at, what, who, mark, detail = json.loads(line)
    return Event(at, what, who, Mark(*mark), detail)


def missing(asked: list[Event], done: list[Event]) -> Iterator[str]:
    """Operations that the first history has and the second has not."""
    seen = {event.mark for event in done}
    for event in asked:
        if event.mark not in seen:
            yield f"missing: {event.mark} returned at {event.time:.3f}"


def doubled(done: list[Event]) -> Iterator[str]:
    """Operations that were done more than once."""
    times: collections.defaultdict[Mark, list[Event]] = collections.defaultdict(list)
    for event in done:
        times[event.mark].append(event)
    for mark, events in times.items():
        if len(events) > 1:
            at = ", ".join(f"{event.time:.3f} by {event.who}" for event in events)
            yield f"done {len(events)} times: {mark} at {at}"


def disordered(done: list[Event], asked: list[Event]) -> Iterator[str]:
    """Operations of one kind and group that were done after a later one.

    Later is what the same thread began later, and what began after the other had returned.
    """
    times = {event.mark: (event.detail, event.time) for event in asked}
    last: dict[tuple[str, tuple[str, int, str]], Event] = {}
    latest: dict[tuple[str, str], tuple[float, Event]] = {}
    for event in done:
        mark = event.mark
        before = last.get((mark.kind, mark.line))
        if before is not None and before.mark.at > mark.at:
            yield f"out of order: {event} came after {before}"
        last[mark.kind, mark.line] = event
        begun, returned = times.get(mark, (-math.inf, math.inf))
        limit, other = latest.get((mark.kind, mark.group), (-math.inf, event))
        if returned < limit:
            yield f"out of order: {event} came after {other}, which began after it had returned"
        if begun > limit:
            latest[mark.kind, mark.group] = begun, event


def overlapping(spans: list[Event]) -> Iterator[str]:
    """Operations of one group that began before the one before them had ended."""
    under_way: dict[str, Event] = {}
    for event in spans:
        other = under_way.get(event.mark.group)
        if event.what == "begun":
            if other is not None:
                yield f"overlapping: {event} while {other}"
            under_way[event.mark.group] = event
        elif other is not None and other.mark == event.mark:
            del under_way[event.mark.group]


def overtaken(commands: list[Event], records: list[Event]) -> Iterator[str]:
    """Commands that were handed out before an earlier record of their group was applied."""
    waiting: collections.defaultdict[tuple[str, int, str], list[Event]] = collections.defaultdict(
        list
    )
    for event in sorted([*commands, *records], key=lambda event: event.time):
        earlier = waiting[event.mark.line]
        if event.what == "ended":
            for command in earlier:
                if command.mark.at > event.mark.at:
                    yield f"overtaken: {event} came after {command}"
        else:
            earlier.append(event)


def tell_stalls(asked: list[Event], rounds: list[float]) -> None:
    """Print how long callers were held up by what happened in each round.

    :param rounds: when each began; the last one ends with the last operation
    """
    for kind in sorted({event.mark.kind for event in asked}):
        spans = [(e.detail, e.time) for e in asked if e.mark.kind == kind]
        longest = [
            max((end - begin for begin, end in spans if begin < until and end > since), default=0)
            for since, until in itertools.pairwise([*rounds, math.inf])
        ]
        print(
            f"longest {kind} of each of {len(rounds)} rounds: median "
            f"{statistics.median(longest):.3f} s, maximum {max(longest):.3f} s"
        )
