# SPDX-License-Identifier: Apache-2.0
"""A fleet comes back: no consumer stands still, no call waits, everything in order and once."""

import collections
import itertools

import pytest

from nova_edge_bus.delivery import admission
from nova_edge_bus.delivery import choice
from nova_edge_bus.delivery import pace
from nova_edge_bus.delivery import sender
from tests.unit.delivery import healing

SLOTS = 2
THREADS = 4
LIMITS = sender.Limits(ack_timeout=5.0, consumer_grace=10.0)
LONG = 3600.0


class Heal:
    """So many edges with as many entries of as many groups, and the consumers of their topic."""

    def __init__(
        self,
        *,
        edges: int,
        entries: int,
        groups: int = 5,
        centres: int = 4,
        slots: int = SLOTS,
        times: healing.Times | None = None,
    ) -> None:
        self.world = healing.World(times or healing.Times())
        self.centres = [
            healing.Centre(self.world, number, THREADS, slots) for number in range(centres)
        ]
        self.edges = [
            healing.Edge(self.world, number, healing.records(entries, groups), LIMITS)
            for number in range(edges)
        ]
        self.linked = healing.Edge(self.world, edges, [], LIMITS)
        self.entries = edges * entries
        self.tell()

    def tell(self) -> None:
        """Say who takes the topic, to each beginning with another one."""
        alive = [each.consumer for each in self.centres if each.peer in self.world.members]
        for number, edge in enumerate([*self.edges, self.linked]):
            first = number % len(alive)
            edge.routes(alive[first:] + alive[:first])

    def drain(self) -> float:
        """Until nothing is left; returns the seconds."""
        return self.world.run(lambda: all(edge.is_drained for edge in self.edges), LONG)

    def at_best(self) -> float:
        """The seconds that it takes if every slot is at work all the time."""
        return self.entries * self.world.times.apply / (SLOTS * len(self.centres))

    def begun(self) -> dict[tuple[bytes, str], list[int]]:
        """What has been begun of each group, in this order."""
        found = collections.defaultdict(list)
        for origin, group, number in self.world.begun:
            found[origin, group].append(number)
        return found


@pytest.mark.parametrize(
    ("edges", "entries", "groups"), [(60, 10, 5), (12, 50, 5), (1, 300, 50), (40, 15, 1)]
)
def test_no_slot_stands_still_while_anybody_stands_in_line(
    edges: int, entries: int, groups: int
) -> None:
    heal = Heal(edges=edges, entries=entries, groups=groups)
    # The first entries have to be asked for, and the last ones are not spread evenly.
    assert heal.drain() < 1.25 * heal.at_best() + 1.0
    assert sum(each.busy_seconds for each in heal.centres) == pytest.approx(
        heal.entries * heal.world.times.apply
    )


def test_everything_is_begun_once_and_in_the_order_of_its_group() -> None:
    heal = Heal(edges=20, entries=30)
    heal.drain()
    numbers = heal.begun()
    assert sum(map(len, numbers.values())) == heal.entries
    assert all(each == sorted(set(each)) for each in numbers.values())


def test_a_call_of_who_is_linked_waits_for_no_backlog() -> None:
    heal = Heal(edges=20, entries=30)
    number = itertools.count(1)

    def call() -> None:
        heal.linked.call(next(number))
        heal.world.after(0.33, call)

    heal.world.after(1.0, call)
    heal.drain()
    times = heal.world.times
    took = [end - begin for begin, end in heal.linked.calls.values() if end is not None]
    assert len(took) > 15
    assert max(took) == pytest.approx(2 * times.way + times.apply)


def test_all_who_stand_in_line_have_their_turns() -> None:
    heal = Heal(edges=20, entries=30)
    heal.world.run(lambda: sum(len(edge.applied) for edge in heal.edges) >= 300, LONG)
    applied = [len(edge.applied) for edge in heal.edges]
    assert min(applied) >= admission.TURN
    assert max(applied) <= 30 - admission.TURN


def test_a_single_backlog_is_drained_about_as_fast_as_without_credit() -> None:
    quick = healing.Times(way=0.0005, commit=0.003, apply=0.0005)
    took = [
        Heal(edges=1, entries=1000, groups=100, centres=1, slots=slots, times=quick).drain()
        for slots in (0, SLOTS)
    ]
    assert took[1] < 1.1 * took[0] + 2 * pace.LOOK_SECONDS


def test_a_consumer_that_dies_delays_nobody_but_what_it_had() -> None:
    heal = Heal(edges=20, entries=30)
    heal.world.run(lambda: len(heal.world.begun) > 100, LONG)
    del heal.world.members[heal.centres.pop().peer]
    heal.tell()
    at_best = (heal.entries - 100) * heal.world.times.apply / (SLOTS * len(heal.centres))
    assert heal.drain() < 1.25 * at_best + LIMITS.consumer_grace + choice.REPEAT_AFTER
    for numbers in heal.begun().values():
        assert list(dict.fromkeys(numbers)) == sorted(set(numbers))


def test_who_stands_in_one_line_goes_to_a_consumer_that_has_nothing_to_do() -> None:
    heal = Heal(edges=20, entries=30, groups=1, centres=1)
    heal.world.run(lambda: len(heal.world.begun) > 50, LONG)
    for number in range(1, 4):
        heal.centres.append(healing.Centre(heal.world, number, THREADS, SLOTS))
    heal.tell()
    # A group stays where the one before it is; the first has four times as long for all of them.
    assert heal.drain() < 2.2 * heal.at_best()
    assert min(each.busy_seconds for each in heal.centres) > 0


def test_a_sender_that_dies_with_what_it_was_granted_leaves_it_to_the_others() -> None:
    heal = Heal(edges=20, entries=30, centres=1)
    granted = heal.centres[0].receiver.admission
    heal.world.run(lambda: granted.in_flight > 0, LONG)
    dead, heal.edges = heal.edges[:8], heal.edges[8:]
    for edge in dead:
        del heal.world.members[edge.peer]
    heal.entries = len(heal.edges) * 30
    # They are twice as many as there is room for.
    void_after = admission.GRANT_SECONDS + healing.RECEIVER_TICK
    assert heal.drain() < 1.1 * heal.at_best() + 2 * void_after
