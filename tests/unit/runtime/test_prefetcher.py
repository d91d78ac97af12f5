# SPDX-License-Identifier: Apache-2.0
"""When what the snapshot lacks is asked of the centre."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from nova_edge_bus import concurrency
from nova_edge_bus.runtime import prefetcher


class Keeper:
    """Lacks what the test says."""

    def __init__(self) -> None:
        self.lacks: list[str] = []

    def missing(self) -> list[tuple[str, bytes]]:
        return [(each, each.encode()) for each in self.lacks]

    def ask(self) -> None:
        return None


class Store:
    """Runs an operation at once."""

    def run(self, op: Callable[[Any], Any], done: Callable[[Any, Any], None]) -> None:
        done(op(None), None)


class Edge:
    """A prefetcher, its clock, and the times at which it asked what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.asked: list[tuple[float, str]] = []
        self.keeper = Keeper()
        self._numbers = itertools.count(1)
        self._open: list[int] = []
        monkeypatch.setattr(concurrency, "monotonic", lambda: self.now)
        keeper: Any = self.keeper
        store: Any = Store()
        self.prefetcher = prefetcher.Prefetcher(
            keeper, store, lambda: next(self._numbers), self._send, lambda _: None
        )

    def _send(self, item: Any, moment: Any) -> None:
        self.asked.append((self.now, item.body.decode()))
        self._open.append(item.number)

    def answer(self) -> None:
        """Let everything that was asked be answered."""
        for number in self._open:
            self.prefetcher.answered(number)
        self._open.clear()

    def run(self, seconds: float, *, answering: bool = True) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self.now < until:
            self.prefetcher.tick("address", self.now)
            if answering:
                self.answer()
            self.now += 0.25


@pytest.fixture
def edge(monkeypatch: pytest.MonkeyPatch) -> Edge:
    return Edge(monkeypatch)


def test_what_did_not_help_is_asked_again_ever_more_rarely(edge: Edge) -> None:
    edge.keeper.lacks = ["guests"]
    edge.run(600)
    times = [at for at, _ in edge.asked]
    pauses = [later - now for now, later in itertools.pairwise(times)]
    assert pauses[0] <= 2 * prefetcher.INTERVAL
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(prefetcher.ASK_AGAIN, abs=prefetcher.INTERVAL)


def test_what_was_known_meanwhile_is_asked_at_once(edge: Edge) -> None:
    edge.keeper.lacks = ["guests"]
    edge.run(100)
    edge.keeper.lacks = []
    edge.run(5)
    edge.asked.clear()
    edge.keeper.lacks = ["guests"]
    began = edge.now
    edge.run(10)
    assert edge.asked[0][0] - began <= prefetcher.INTERVAL


def test_a_read_under_way_is_not_made_again(edge: Edge) -> None:
    edge.keeper.lacks = ["guests"]
    edge.run(prefetcher.REPLY_TIMEOUT - 1, answering=False)
    assert len(edge.asked) == 1
    edge.run(2 * prefetcher.REPLY_TIMEOUT, answering=False)
    assert len(edge.asked) > 1


def test_few_reads_are_under_way_at_a_time(edge: Edge) -> None:
    edge.keeper.lacks = [str(number) for number in range(20)]
    edge.run(10, answering=False)
    assert len(edge.asked) == prefetcher.MOST_UNDER_WAY
    edge.run(30)
    assert {each for _, each in edge.asked} == set(edge.keeper.lacks)
