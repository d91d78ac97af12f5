# SPDX-License-Identifier: Apache-2.0
"""How soon a consumer is known to be quick, and what says nothing about it."""

from nova_edge_bus.delivery import pace

SLOTS = 2
FIRST = SLOTS * pace.AHEAD_OF_SLOT
"""What is let come while nothing is known."""


def _after(*done: tuple[float, int]) -> pace.Pace:
    """The pace once so many were done, each time at the moment given."""
    looked_at = pace.Pace(SLOTS)
    looked_at.look(0.0)
    for now, count in done:
        for _ in range(count):
            looked_at.done()
        looked_at.look(now)
    return looked_at


def test_who_is_quick_with_the_first_is_given_more_at_once() -> None:
    known = _after((pace.GROWING_SECONDS, FIRST))
    assert known.room == round(FIRST / pace.GROWING_SECONDS * pace.AHEAD_SECONDS)
    assert known.at_once == FIRST


def test_a_few_that_end_together_say_nothing() -> None:
    for now, count in ((pace.GROWING_SECONDS / 20, FIRST), (pace.GROWING_SECONDS, FIRST - 1)):
        assert (_after((now, count)).room, _after((now, count)).at_once) == (FIRST, SLOTS)


def test_what_is_known_already_is_reckoned_anew_after_the_whole_time() -> None:
    """Else one good moment among many would be taken for the pace."""
    known = _after((pace.LOOK_SECONDS, 100))
    steady = known.room
    for _ in range(FIRST * 2):
        known.done()
    known.look(pace.LOOK_SECONDS + 1.5 * pace.GROWING_SECONDS)
    assert known.room == steady
    known.look(2 * pace.LOOK_SECONDS)
    assert known.room < steady


def test_one_slow_moment_halves_it_at_the_most() -> None:
    known = _after((pace.LOOK_SECONDS, 50), (3 * pace.LOOK_SECONDS, 0))
    assert known.room == round(50 / pace.LOOK_SECONDS * pace.AHEAD_SECONDS / 2)
