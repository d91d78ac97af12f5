# SPDX-License-Identifier: Apache-2.0
"""What a sender holds and what it leaves in the journal, and what its floors say."""

import random

import pytest

from nova_edge_bus.delivery import sender
from nova_edge_bus.delivery import streams
from tests.unit.delivery import rigs
from tests.unit.delivery.rigs import SERVER
from tests.unit.delivery.rigs import TOPIC
from tests.unit.delivery.rigs import A
from tests.unit.delivery.rigs import B

WINDOW = 4
NOTIFICATIONS = "v/e/notifications.info"


@pytest.fixture
def rig() -> rigs.SenderRig:
    made = rigs.SenderRig()
    made.routes(A)
    return made


@pytest.fixture
def small() -> rigs.SenderRig:
    """A sender that holds four entries of a stream, or a hundred bytes."""
    made = rigs.SenderRig(sender.Limits(window_messages=WINDOW, window_bytes=100))
    made.routes(A)
    return made


def numbers(*items: streams.Item) -> list[int]:
    return [item.number for item in items]


# The window


def test_beyond_the_window_entries_stay_in_the_journal_until_there_is_room(
    small: rigs.SenderRig,
) -> None:
    entries = [small.command() for _ in range(WINDOW + 3)]
    assert [each.number for each in small.ship()] == numbers(*entries[:WINDOW])
    assert small.sender.depth() == WINDOW
    assert small.loads == []
    small.accepted(entries[0])
    small.ship()
    assert small.loads == [(TOPIC, entries[WINDOW - 1].number)]
    small.sender.loaded(TOPIC, entries[WINDOW:], more=False)
    assert [each.number for each in small.ship()] == numbers(*entries[WINDOW:])
    last = small.command()
    assert small.sender.depth() == WINDOW + 2
    small.accepted(*entries, last)
    small.ship()
    assert [key for key, _ in small.loads] == [TOPIC, TOPIC], "the last one was left on disk"


def test_the_window_counts_bytes_as_well(small: rigs.SenderRig) -> None:
    large = small.item(rigs.Kind.COMMAND)
    large.body = bytes(200)
    small.sender.committed(large)
    small.command()
    assert small.sender.depth() == 1
    small.ship()
    small.accepted(large)
    small.ship()
    assert small.loads == [(TOPIC, large.number)]


def test_nothing_is_read_while_nobody_takes_it(small: rigs.SenderRig) -> None:
    small.endpoint_down()
    small.sender.restore([], [(TOPIC, 5)])
    small.wait(1.0)
    assert small.loads == []
    assert TOPIC in small.lookups
    assert small.sender.unfinished()
    small.routes(A)
    small.ship()
    assert small.loads == [(TOPIC, 4)]
    small.wait(1.0)
    assert len(small.loads) == 1, "one read at a time"


def test_an_entry_committed_while_a_page_is_read_is_not_forgotten(
    small: rigs.SenderRig,
) -> None:
    small.sender.restore([], [(TOPIC, 1)])
    small.ship()
    late = small.command(number=7)
    small.sender.loaded(TOPIC, [], more=False)
    small.ship()
    assert len(small.loads) == 2, "the page may have been read before the commit"
    small.sender.loaded(TOPIC, [late], more=False)
    assert [each.number for each in small.ship()] == [7]


def test_a_page_that_could_not_be_read_is_asked_for_again(small: rigs.SenderRig) -> None:
    small.sender.restore([], [(TOPIC, 1)])
    small.ship()
    small.sender.loaded(TOPIC, [], more=True)
    small.ship()
    assert len(small.loads) == 1, "not in a busy loop"
    small.wait(0.3)
    assert len(small.loads) == 2


def test_a_page_of_parked_entries_is_followed_by_the_next(rig: rigs.SenderRig) -> None:
    rig.sender.restore([(1, "g")], [(SERVER, 2)])
    rig.routes(B, address=SERVER)
    rig.ship()
    parked = [rig.item(rigs.Kind.COMMAND, "g", SERVER, number=seq) for seq in (2, 3)]
    rig.sender.loaded(SERVER, parked, more=True)
    rig.ship()
    assert rig.loads == [(SERVER, 1), (SERVER, 3)]


def test_a_page_that_overlaps_what_is_held_is_taken_once(rig: rigs.SenderRig) -> None:
    rig.sender.restore([], [(TOPIC, 1)])
    rig.ship()
    items = [rig.item(rigs.Kind.COMMAND, number=seq) for seq in (1, 2)]
    rig.sender.loaded(TOPIC, items, more=True)
    rig.sender.loaded(TOPIC, items, more=False)
    assert rig.sender.depth() == 2


def test_what_was_never_shipped_in_this_life_is_not_in_doubt(small: rigs.SenderRig) -> None:
    """It waited in the journal for room; a refusal of its first attempt frees it at once."""
    held = [small.command() for _ in range(WINDOW)]
    left = small.command(pin=A.inbox)
    small.ship()
    small.accepted(*held)
    left.in_doubt = True
    small.ship()
    small.sender.loaded(TOPIC, [left], more=False)
    small.ship()
    small.routes(B)
    small.refused(rigs.Refusal.NO_ROUTE, left)
    assert [each.to for each in small.ship()] == [B.peer]


def test_a_group_is_let_go_when_its_entry_is_left_in_the_journal(
    small: rigs.SenderRig,
) -> None:
    small.routes(A, B)
    for _ in range(WINDOW):
        small.command(pin=A.inbox)
    assert small.directory.pick(TOPIC, "g") == A
    small.command("g", pin=A.inbox, bound=True)
    assert small.directory.pick(TOPIC, "g") == B


# Memory


def test_nothing_remains_of_what_is_settled(rig: rigs.SenderRig) -> None:
    for number in range(50):
        address = f"v/e/compute/edge-{number}"
        rig.routes(A, address=address)
        rig.command("g", address)
        rig.call("g", address)
        rig.record(f"g{number}")
    rig.ship()
    for _, each in list(rig.shipped):
        rig.sender.accepted([[each.number, each.number]])
        rig.sender.replied(each.kind, each.number, 0, b"")
    rig.ship()
    rig.durable()
    assert rig.sender.depth() == 0
    assert not rig.sender.unfinished()
    held = [
        *rig.sender._backlog._streams,
        *rig.sender._backlog._by_address,
        *rig.sender._ordering._groups,
        *rig.sender._ordering._group_of,
        *rig.directory._affinities,
    ]
    assert held == []


def test_what_expires_while_nobody_takes_it_is_let_go(small: rigs.SenderRig) -> None:
    small.endpoint_down()
    held = small.command()
    for _ in range(50):
        entry = small.command(expires=small.now + 1)
        small.ship()
        small.sender.expired([entry.number])
    small.ship()
    assert len(small.sender._backlog.stream(held.key).waiting) <= 2
    small.routes(A)
    assert [each.number for each in small.ship()] == [held.number]


def test_a_range_of_numbers_costs_no_more_than_what_is_held(rig: rigs.SenderRig) -> None:
    first, second = rig.command(), rig.command()
    record = rig.record()
    rig.ship()
    rig.sender.accepted([[second.number, 2**62]])
    assert rig.outcomes == [(second.number, "accepted")], "a record is not settled by that"
    rig.sender.accepted([[0, first.number]])
    rig.applied(record)
    assert rig.sender.depth() == 0


def test_an_entry_is_unfinished_until_its_outcome_is_on_disk(rig: rigs.SenderRig) -> None:
    entry = rig.record()
    rig.ship()
    rig.applied(entry)
    assert rig.sender.unfinished()
    rig.durable()
    assert not rig.sender.unfinished()


# Floors


def test_the_floor_of_a_stream_is_its_lowest_entry_not_settled_on_disk(
    rig: rigs.SenderRig,
) -> None:
    first, second, third = rig.record(), rig.record(), rig.record()
    assert [each.floor for each in rig.ship()] == [first.number] * 3
    rig.applied(first, third)
    fourth = rig.record()
    assert [each.floor for each in rig.ship()] == [first.number], "a crash would undo that"
    rig.sender.settled([first.number])
    rig.record()
    assert [each.floor for each in rig.ship()] == [second.number]
    rig.applied(second, fourth)
    rig.durable()
    sixth = rig.record()
    rig.sender.settled([3])
    assert [each.floor for each in rig.ship()] == [sixth.number - 1]


def test_the_floor_stays_below_what_is_only_in_the_journal(rig: rigs.SenderRig) -> None:
    rig.sender.restore([], [(TOPIC, 3), (SERVER, 8)])
    rig.routes(A, address=SERVER)
    rig.ship()
    rig.sender.loaded(SERVER, [rig.item(rigs.Kind.COMMAND, key=SERVER, number=8)], more=False)
    assert [(each.address, each.floor) for each in rig.ship()] == [(SERVER, 8)]
    rig.sender.loaded(TOPIC, [rig.item(rigs.Kind.COMMAND, number=4)], more=False)
    assert [(each.number, each.floor) for each in rig.ship()] == [(4, 4)]


def test_settling_is_exact_in_any_order(rig: rigs.SenderRig) -> None:
    entries = [rig.record() for _ in range(40)]
    rig.ship()
    choice = random.Random(4)
    unsettled = set(numbers(*entries))
    for entry in choice.sample(entries, len(entries)):
        rig.applied(entry)
        if choice.random() < 0.6:
            rig.sender.settled([entry.number])
            unsettled.discard(entry.number)
        probe = rig.record()
        (shipped,) = rig.ship()
        assert shipped.floor == min(unsettled | {probe.number})
        unsettled.add(probe.number)


def test_all_calls_share_one_floor_whatever_their_addresses(rig: rigs.SenderRig) -> None:
    """A server that takes two addresses has one memory of a caller's calls."""
    rig.routes(A, address=SERVER)
    first = rig.call()
    rig.call(key=SERVER)
    assert [each.floor for each in rig.ship()] == [1, 1]
    rig.applied(first)
    rig.call()
    assert [(each.number, each.floor) for each in rig.ship()] == [(3, 2)]


def test_calls_are_numbered_in_the_order_in_which_they_come_to_the_sender(
    rig: rigs.SenderRig,
) -> None:
    """Two threads took numbers and the second was faster: neither call may seem settled."""
    late, early = rig.call(number=8), rig.call(number=7)
    assert [(each.number, each.floor) for each in rig.ship()] == [(1, 1), (2, 1)]
    rig.sender.replied(rigs.Kind.REQUEST, late.call_number, 0, b"")
    assert [item.number for item, _, _ in rig.answers] == [8]
    rig.sender.cancel(early.number)
    assert rig.sender.depth() == 0


# Notifications


def test_a_notification_is_copied_for_each_pool_before_it_is_shipped(
    rig: rigs.SenderRig,
) -> None:
    rig.routes(A, rigs.consumer("x", pool="audit"), address=NOTIFICATIONS)
    original = rig.command(key=NOTIFICATIONS, expires=500.0)
    later = rig.command(key=NOTIFICATIONS)
    assert [each.number for each in rig.ship()] == [], "what has no copies waits behind"
    assert rig.expansions == [(original, {"audit"})]
    copies = [
        rig.item(rigs.Kind.COMMAND, key=f"{NOTIFICATIONS}#{pool}", expires=500.0)
        for pool in ("", "audit")
    ]
    rig.sender.expanded(original, copies)
    shipped = {each.number: (each.to, each.address) for each in rig.ship()}
    assert shipped == {
        later.number: (A.peer, NOTIFICATIONS),
        copies[0].number: (A.peer, f"{NOTIFICATIONS}#"),
        copies[1].number: (b"x-------", f"{NOTIFICATIONS}#audit"),
    }


def test_a_notification_that_could_not_be_copied_is_tried_again(rig: rigs.SenderRig) -> None:
    rig.routes(A, rigs.consumer("x", pool="audit"), address=NOTIFICATIONS)
    original = rig.command(key=NOTIFICATIONS, expires=500.0)
    rig.ship()
    rig.sender.not_expanded(original)
    rig.wait(0.3)
    assert [item for item, _ in rig.expansions] == [original, original]
    rig.sender.expired([original.number])
    rig.sender.not_expanded(original)
    rig.sender.expanded(original, [])
    assert rig.wait(1.0) == []
    assert rig.sender.depth() == 0


def test_a_notification_that_may_have_arrived_is_not_copied(rig: rigs.SenderRig) -> None:
    rig.routes(A, address=NOTIFICATIONS)
    rig.command(key=NOTIFICATIONS, expires=500.0)
    rig.ship()
    rig.endpoint_down()
    rig.routes(A, rigs.consumer("x", pool="audit"), address=NOTIFICATIONS)
    assert [each.to for each in rig.ship()] == [A.peer]
    assert rig.expansions == []


def test_notifications_are_read_when_only_a_pool_listens(rig: rigs.SenderRig) -> None:
    rig.sender.restore([], [(NOTIFICATIONS, 1)])
    rig.routes(rigs.consumer("x", pool="audit"), address=NOTIFICATIONS)
    rig.ship()
    assert rig.loads == [(NOTIFICATIONS, 0)]


def test_an_expired_entry_is_not_shipped(rig: rigs.SenderRig) -> None:
    rig.endpoint_down()
    entry = rig.command(expires=rig.now + 1)
    rig.sender.expired([entry.number, 99])
    rig.routes(A)
    assert rig.ship() == []
    assert rig.outcomes == [], "the journal knows it"
    assert rig.sender.depth() == 0
