# SPDX-License-Identifier: Apache-2.0
"""When endpoints are told how a process is, and what."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import random
import time
import types
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest

import nova_edge_bus
from nova_edge_bus.autonomy import states
from nova_edge_bus.journal import journal
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import telling
from tests.unit.journal import make

MINUTE = 60.0
DOCUMENT = pathlib.Path(__file__).resolve().parents[3] / "doc" / "source" / "wire.rst"


class Store:
    """A journal without a thread of its own."""

    def __init__(self, it: journal.Journal) -> None:
        self.outbox_id = it.outbox_id
        self.it = it
        self.answers = True

    def run(self, op: Callable[[Any], Any], then: Callable[[Any, Any], None]) -> None:
        if self.answers:
            with self.it.transaction():
                result = op(self.it)
            then(result, None)


class Link:
    """A link that keeps what it is given."""

    def __init__(self) -> None:
        self.is_up = True
        self.up_at = 0.0
        self.sent: list[tuple[float, messages.Report]] = []
        self.now = 0.0

    def queue(self, message: Any) -> None:
        self.sent.append((self.now, message))


class Site:
    """A process with links, and the clock."""

    def __init__(self, stores: list[Store]) -> None:
        self.now = 0.0
        self.links = [Link(), Link()]
        self.autonomy = types.SimpleNamespace(worst=states.State.LINKED)
        bus: Any = types.SimpleNamespace(autonomy=self.autonomy, links=dict(enumerate(self.links)))
        self.telling = telling.Telling(lambda: list(stores), lambda: [bus])  # type: ignore[arg-type]

    def pass_time(self, seconds: float) -> None:
        ends = self.now + seconds
        while self.now < ends:
            self.now += 0.25
            for link in self.links:
                link.now = self.now
            self.telling.tick(self.now)

    def states(self, link: int = 0) -> list[int]:
        return [report.state for _, report in self.links[link].sent]


@pytest.fixture
def it(tmp_path: pathlib.Path) -> Iterator[journal.Journal]:
    opened = journal.Journal.open(
        tmp_path / "a.db", max_bytes=make.QUOTA, retention=make.RETENTION
    )
    yield opened
    opened.close()


@pytest.fixture
def store(it: journal.Journal) -> Store:
    return Store(it)


def test_a_new_session_is_told_once_and_again_only_of_changes(
    it: journal.Journal, store: Store
) -> None:
    site = Site([store])
    site.pass_time(telling.SOON_SECONDS + 2)
    (first,) = [report for _, report in site.links[0].sent]
    assert first == messages.Report(1, 0, 0, 0, 0, 0, 0, nova_edge_bus.__version__)
    assert len(site.links[1].sent) == 1
    site.pass_time(10 * MINUTE)
    assert len(site.links[0].sent) == 1
    began = time.time() - 90
    make.append(it, make.entry(created_at=began), make.entry(created_at=began + 5))
    site.pass_time(telling.INTERVAL[1] + 2)
    _, second = site.links[0].sent
    assert second[1].pending == 2
    assert 90_000 <= second[1].oldest < 150_000
    site.pass_time(10 * MINUTE)
    assert len(site.links[0].sent) == 2


def test_no_endpoint_is_told_more_than_once_a_minute(it: journal.Journal, store: Store) -> None:
    site = Site([store])
    for _ in range(120):
        make.append(it, make.entry())
        site.pass_time(5.0)
    sent = [at for at, _ in site.links[0].sent]
    assert 8 <= len(sent) <= 11
    assert min(b - a for a, b in itertools.pairwise(sent)) >= MINUTE


def test_another_state_is_told_soon(store: Store) -> None:
    site = Site([store])
    site.pass_time(10)
    for state in (states.State.CUT_OFF, states.State.CATCHING_UP, states.State.LINKED):
        site.autonomy.worst = state
        site.pass_time(telling.SOON_SECONDS + 2)
    assert site.states() == [1, 2, 3, 1]
    assert site.states(1) == [1, 2, 3, 1]


def test_each_session_is_told_from_the_beginning(store: Store) -> None:
    site = Site([store])
    site.pass_time(10)
    site.links[0].is_up = False
    site.pass_time(10)
    site.links[0].is_up, site.links[0].up_at = True, site.now
    site.pass_time(telling.SOON_SECONDS + 2)
    assert len(site.links[0].sent) == 2
    site.links[0].up_at = site.now
    site.pass_time(telling.SOON_SECONDS + 2)
    assert len(site.links[0].sent) == 3
    assert len(site.links[1].sent) == 1


def test_reports_of_many_are_spread(store: Store) -> None:
    random.seed(1)
    moments = []
    for _ in range(50):
        site = Site([store])
        site.pass_time(10)
        moments.append(site.links[0].sent[0][0])
    assert max(moments) - min(moments) > telling.SOON_SECONDS / 2


def test_journals_are_added_up_and_one_that_is_stuck_holds_nothing_up(
    it: journal.Journal, store: Store, tmp_path: pathlib.Path
) -> None:
    with make_other(tmp_path) as other:
        adopted = Store(other)
        stores = [store, adopted]
        site = Site(stores)
        make.append(it, make.entry(created_at=2000.0))
        make.append(other, make.entry(created_at=1000.0), make.entry(created_at=1500.0))
        site.pass_time(10)
        assert site.links[0].sent[-1][1].pending == 3
        assert site.links[0].sent[-1][1].oldest == pytest.approx(
            (time.time() - 1000) * 1000, rel=0.01
        )
        store.answers = False
        site.autonomy.worst = states.State.CUT_OFF
        site.pass_time(10)
        assert site.links[0].sent[-1][1][:2] == (2, 3)
        stores.remove(adopted)
        site.autonomy.worst = states.State.CATCHING_UP
        site.pass_time(10)
        assert site.links[0].sent[-1][1][:2] == (3, 1)


def make_other(folder: pathlib.Path) -> Any:
    return contextlib.closing(
        journal.Journal.open(folder / "b.db", max_bytes=make.QUOTA, retention=make.RETENTION)
    )


def test_the_times_are_those_of_the_specification() -> None:
    text = " ".join(DOCUMENT.read_text().split())
    soon = telling.SOON_SECONDS + 2 * telling.LOOK_SECONDS
    first, last = telling.INTERVAL
    assert f"at a random moment of the {soon:g} seconds after" in text
    assert f"within {soon:g} seconds when that is the state" in text
    latest = last + 2 * telling.LOOK_SECONDS
    assert f"between {first:g} and {latest:g} seconds after it has last looked" in text
    assert 40_000 / first < 700
