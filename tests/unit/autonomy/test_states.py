# SPDX-License-Identifier: Apache-2.0
"""Linked, cut off, catching up: each way from one to another, and the ways that there are not."""

from __future__ import annotations

import threading

import hypothesis
import pytest
from hypothesis import stateful
from hypothesis import strategies as st

from nova_edge_bus.autonomy import states
from nova_edge_bus.autonomy.states import State

TIMEOUT = 2.0
START = 100.0


class Waiter:
    def __init__(self) -> None:
        self.interruptions = 0

    def interrupt(self) -> None:
        self.interruptions += 1


class Observed:
    """A destination with a clock of its own."""

    def __init__(self, unsettled: set[int] | None = None) -> None:
        self.now = START
        self.it = states.Destination(TIMEOUT, threading.Lock(), unsettled or set(), self.now)

    def look(self, *, reachable: bool, after: float = 0.0, silent_for: float = 0.0) -> State:
        """Look *after* seconds; the endpoints were last heard *silent_for* seconds before that."""
        self.now += after
        return self.it.look(reachable=reachable, heard_at=self.now - silent_for, now=self.now)

    def cut(self) -> None:
        self.look(reachable=True)
        assert self.look(reachable=False, silent_for=TIMEOUT) is State.CUT_OFF


def test_linked_from_the_start_and_while_somebody_takes_the_address() -> None:
    destination = Observed()
    assert destination.it.is_linked
    for _ in range(10):
        assert destination.look(reachable=True, after=TIMEOUT) is State.LINKED


@pytest.mark.parametrize("silent_for", [0.0, float("inf")])
def test_nobody_from_the_start_is_a_cut_when_the_timeout_is_over(silent_for: float) -> None:
    """A process that has just started has had no link that could have been of use."""
    destination = Observed()
    found = [
        destination.look(reachable=False, after=TIMEOUT * 0.4, silent_for=silent_for)
        for _ in range(3)
    ]
    assert found == [State.LINKED, State.LINKED, State.CUT_OFF]
    assert not destination.it.is_linked


def test_a_consumer_that_is_lost_behind_a_live_endpoint_has_the_timeout_to_come_back() -> None:
    destination = Observed()
    destination.look(reachable=True, after=10.0)
    assert destination.look(reachable=False, after=0.1) is State.LINKED
    assert destination.look(reachable=False, after=TIMEOUT * 0.9) is State.LINKED
    assert destination.look(reachable=True, after=0.05) is State.LINKED
    assert destination.look(reachable=False, after=TIMEOUT * 0.9) is State.LINKED
    assert destination.look(reachable=False, after=TIMEOUT * 0.9) is State.CUT_OFF


def test_a_link_that_was_silent_before_it_was_given_up_is_a_cut_at_once() -> None:
    destination = Observed()
    destination.look(reachable=True, after=10.0)
    found = destination.look(reachable=False, after=0.1, silent_for=TIMEOUT)
    assert found is State.CUT_OFF


def test_silence_counts_from_when_it_began() -> None:
    destination = Observed()
    destination.look(reachable=True, after=10.0)
    assert destination.look(reachable=False, silent_for=TIMEOUT * 0.6) is State.LINKED
    assert destination.look(reachable=False, after=TIMEOUT * 0.5) is State.CUT_OFF


def test_linked_again_at_once_when_nothing_was_written() -> None:
    destination = Observed()
    destination.cut()
    assert destination.look(reachable=True) is State.LINKED


def test_catches_up_until_everything_written_is_settled() -> None:
    destination = Observed()
    destination.cut()
    for seq in (1, 2):
        assert destination.it.enter()
        destination.it.entered(seq)
    assert destination.look(reachable=True) is State.CATCHING_UP
    destination.it.settled(1)
    assert destination.look(reachable=True, after=60.0) is State.CATCHING_UP
    destination.it.settled(2)
    assert destination.it.state is State.CATCHING_UP
    assert destination.look(reachable=True) is State.LINKED


def test_a_write_that_is_being_made_keeps_it_from_being_linked() -> None:
    destination = Observed()
    destination.cut()
    assert destination.it.enter()
    assert destination.look(reachable=True) is State.CATCHING_UP
    destination.it.entered(None)
    assert destination.look(reachable=True) is State.LINKED
    assert not destination.it.enter()


def test_cut_off_again_while_it_catches_up() -> None:
    destination = Observed()
    destination.cut()
    destination.it.enter()
    destination.it.entered(1)
    destination.look(reachable=True)
    assert destination.look(reachable=False, silent_for=TIMEOUT) is State.CUT_OFF
    destination.it.settled(1)
    assert destination.it.state is State.CUT_OFF
    assert destination.look(reachable=True) is State.LINKED


def test_what_an_earlier_life_has_left_is_caught_up_with_first() -> None:
    destination = Observed({7})
    assert destination.it.state is State.CATCHING_UP
    assert not destination.it.join(Waiter())
    assert destination.look(reachable=True) is State.CATCHING_UP
    destination.it.settled(7)
    assert destination.look(reachable=True) is State.LINKED


def test_records_of_round_trips_do_not_end_the_link_but_are_caught_up_with() -> None:
    destination = Observed()
    destination.it.committed(1)
    assert destination.it.takes_records
    assert destination.look(reachable=True) is State.LINKED
    destination.cut()
    assert destination.look(reachable=True) is State.CATCHING_UP
    destination.it.settled(1)
    assert destination.look(reachable=True) is State.LINKED


def test_a_write_behind_enters_although_linked() -> None:
    destination = Observed()
    assert not destination.it.enter()
    assert destination.it.enter(even_linked=True)
    destination.it.entered(1)
    assert destination.it.is_linked
    assert destination.it.takes_records


def test_who_joins_is_interrupted_once_and_who_has_left_is_not() -> None:
    destination = Observed()
    waiting, left, late = Waiter(), Waiter(), Waiter()
    assert destination.it.join(waiting)
    assert destination.it.join(left)
    destination.it.leave(left)
    destination.cut()
    destination.look(reachable=False, after=60.0)
    assert not destination.it.join(late)
    destination.look(reachable=True)
    destination.cut()
    assert [each.interruptions for each in (waiting, left, late)] == [1, 0, 0]


def test_join_is_refused_while_it_catches_up() -> None:
    destination = Observed()
    destination.cut()
    destination.it.enter()
    destination.look(reachable=True)
    assert not destination.it.join(Waiter())


def test_unanswered_is_a_cut_although_the_address_is_taken() -> None:
    destination = Observed()
    destination.look(reachable=True)
    destination.it.committed(1)
    destination.it.unanswered(destination.now)
    assert destination.look(reachable=True) is State.CUT_OFF
    # What is under way will tell; until then nothing is assumed.
    assert destination.look(reachable=True, after=100 * TIMEOUT) is State.CUT_OFF
    destination.it.heard()
    assert destination.look(reachable=True) is State.CATCHING_UP
    destination.it.settled(1)
    assert destination.look(reachable=True) is State.LINKED


def test_a_suspicion_ends_by_itself_when_nothing_is_under_way() -> None:
    destination = Observed()
    destination.look(reachable=True)
    destination.it.unanswered(destination.now)
    assert destination.look(reachable=True) is State.CUT_OFF
    assert destination.look(reachable=True, after=TIMEOUT * 1.9) is State.CUT_OFF
    assert destination.look(reachable=True, after=TIMEOUT * 0.2) is State.LINKED


def test_a_suspicion_that_is_renewed_goes_on() -> None:
    destination = Observed()
    destination.look(reachable=True)
    for _ in range(5):
        destination.it.unanswered(destination.now)
        assert destination.look(reachable=True, after=TIMEOUT) is State.CUT_OFF


@pytest.mark.parametrize("heard", [True, False])
def test_the_end_of_a_suspicion_is_no_link(heard: bool) -> None:
    destination = Observed()
    destination.cut()
    destination.it.unanswered(destination.now)
    if heard:
        destination.it.heard()
    assert destination.look(reachable=False, after=10 * TIMEOUT) is State.CUT_OFF


class DestinationMachine(stateful.RuleBasedStateMachine):
    """Everything that may happen to a destination, in any order."""

    @stateful.initialize(left=st.sets(st.integers(1, 3)))
    def begin(self, left: set[int]) -> None:
        self.observed = Observed(set(left))
        self.unsettled = set(left)
        self.entering: list[bool] = []
        self.apart = set(left)
        """Writes that were answered without the centre, and which it has not applied."""
        self.next_seq = 10
        self.joined: list[Waiter] = []
        self.expected: dict[Waiter, int] = {}
        self.state = self.observed.it.state

    def seq(self) -> int:
        self.next_seq += 1
        return self.next_seq

    @stateful.rule(
        reachable=st.booleans(), after=st.floats(0, 5), silent_for=st.sampled_from([0.0, 1.0, 9.0])
    )
    def look(self, reachable: bool, after: float, silent_for: float) -> None:
        before = self.observed.it.state
        found = self.observed.look(reachable=reachable, after=after, silent_for=silent_for)
        if found is State.CUT_OFF and before is not State.CUT_OFF:
            for waiter in self.joined:
                self.expected[waiter] += 1
            self.joined = []
        if found is State.LINKED and before is not State.LINKED:
            assert reachable
            assert not self.unsettled
            assert not self.entering
        assert (before, found) != (State.LINKED, State.CATCHING_UP)

    @stateful.rule(even_linked=st.booleans())
    def enter(self, even_linked: bool) -> None:
        is_linked = self.observed.it.is_linked
        assert self.observed.it.enter(even_linked=even_linked) is (even_linked or not is_linked)
        if even_linked or not is_linked:
            self.entering.append(not is_linked)

    @stateful.precondition(lambda self: self.entering)
    @stateful.rule(written=st.booleans())
    def entered(self, written: bool) -> None:
        is_apart = self.entering.pop()
        seq = self.seq() if written else None
        self.observed.it.entered(seq)
        if seq is not None:
            self.unsettled.add(seq)
            if is_apart:
                self.apart.add(seq)

    @stateful.rule()
    def committed(self) -> None:
        seq = self.seq()
        self.observed.it.committed(seq)
        self.unsettled.add(seq)

    @stateful.precondition(lambda self: self.unsettled)
    @stateful.rule(pick=st.integers(0, 99))
    def settled(self, pick: int) -> None:
        seq = sorted(self.unsettled)[pick % len(self.unsettled)]
        self.observed.it.settled(seq)
        self.unsettled.discard(seq)
        self.apart.discard(seq)

    @stateful.rule()
    def unanswered(self) -> None:
        self.observed.it.unanswered(self.observed.now)

    @stateful.rule()
    def heard(self) -> None:
        self.observed.it.heard()

    @stateful.rule()
    def join(self) -> None:
        waiter = Waiter()
        is_linked = self.observed.it.is_linked
        assert self.observed.it.join(waiter) is is_linked
        self.expected[waiter] = 0
        if is_linked:
            self.joined.append(waiter)

    @stateful.precondition(lambda self: self.joined)
    @stateful.rule(pick=st.integers(0, 99))
    def leave(self, pick: int) -> None:
        self.observed.it.leave(self.joined.pop(pick % len(self.joined)))

    @stateful.invariant()
    def nothing_written_apart_is_forgotten(self) -> None:
        if self.apart or True in self.entering:
            assert not self.observed.it.is_linked
        assert self.observed.it.takes_records is bool(self.unsettled or self.entering)

    @stateful.invariant()
    def each_waiter_is_interrupted_once_by_its_cut(self) -> None:
        assert {each: each.interruptions for each in self.expected} == self.expected

    def teardown(self) -> None:
        """However it went, it is linked when all is settled and somebody can be reached."""
        if not hasattr(self, "observed"):
            return
        while self.entering:
            self.entered(written=False)
        for seq in self.unsettled:
            self.observed.it.settled(seq)
        self.observed.look(reachable=True)
        # Sums of seconds are rounded, so just the time that it takes may be a little less.
        assert self.observed.look(reachable=True, after=3 * TIMEOUT) is State.LINKED


TestDestination = DestinationMachine.TestCase
TestDestination.settings = hypothesis.settings(max_examples=200, stateful_step_count=40)
