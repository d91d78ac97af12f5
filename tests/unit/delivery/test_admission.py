# SPDX-License-Identifier: Apache-2.0
"""How much of its senders' backlogs a receiver lets come, and works on at a time."""

import sys

import pytest

from nova_edge_bus.delivery import admission
from nova_edge_bus.delivery import origins
from nova_edge_bus.delivery import pace
from nova_edge_bus.delivery import receiver
from nova_edge_bus.protocol import messages
from tests.unit.delivery import rigs
from tests.unit.delivery.rigs import TOPIC

SLOTS = 2
ROOM = SLOTS * pace.AHEAD_OF_SLOT
MANY = 500
THROUGH = 1000


@pytest.fixture
def rig() -> rigs.ReceiverRig:
    return rigs.ReceiverRig(backlog_slots=SLOTS)


def outbox(number: int) -> bytes:
    return b"box-%04d" % number


def want(
    rig: rigs.ReceiverRig,
    entries: int,
    *,
    sender: int = 1,
    through: int = THROUGH,
    unused: int = 0,
) -> None:
    message = messages.Want(
        b"me------", b"peer%04d" % sender, outbox(sender), TOPIC, through, entries, unused
    )
    rig.receiver.want(message, "e1", rig.now)


def grants(rig: rigs.ReceiverRig) -> dict[bytes, int]:
    """What has been granted since this was last asked for, by the sender's outbox."""
    return {grant.outbox: grant.entries for grant in rig.said(messages.Grant)}


def backlog(
    rig: rigs.ReceiverRig, number: int, *, sender: int = 1, after: int = 0
) -> list[origins.Inbound]:
    """An entry of a backlog comes; gives what is dispatched."""
    return rig.record(number, outbox=outbox(sender), reply_to=b"peer%04d" % sender, after=after)


def test_who_asks_is_answered_at_once_even_with_nothing(rig: rigs.ReceiverRig) -> None:
    want(rig, MANY)
    (first,) = rig.said(messages.Grant)
    assert first == messages.Grant(b"peer0001", None, outbox(1), TOPIC, ROOM, first.patience)
    want(rig, MANY, sender=2)
    (second,) = rig.said(messages.Grant)
    assert (second.outbox, second.entries) == (outbox(2), 0)
    assert second.patience >= 1000 * admission.MIN_PATIENCE


def test_all_senders_together_are_granted_no_more_than_there_is_room_for(
    rig: rigs.ReceiverRig,
) -> None:
    for sender in range(100):
        want(rig, MANY, sender=sender)
    assert sum(grants(rig).values()) == ROOM
    for sender in range(100):
        want(rig, MANY, sender=sender)
    assert sum(grants(rig).values()) == 0


def test_they_are_served_in_turns(rig: rigs.ReceiverRig) -> None:
    for sender in range(1, 9):
        want(rig, MANY, sender=sender)
    first = grants(rig)
    served = [sender for sender in range(1, 9) if first[outbox(sender)]]
    assert served == [1, 2, 3, 4], "a turn each, until the room is used up"
    for number in range(1, admission.TURN + 1):
        for sender in served:
            for item in backlog(rig, number, sender=sender):
                rig.finish(item)
    second = grants(rig)
    assert second == {outbox(sender): admission.TURN for sender in (5, 6, 7, 8)}


def test_the_line_is_as_long_as_the_patience_that_is_asked_for(rig: rigs.ReceiverRig) -> None:
    for sender in range(9000):
        want(rig, MANY, sender=sender)
    patience = {grant.patience for grant in rig.said(messages.Grant)}
    assert patience == {1000 * 9000 // admission.QUESTIONS_PER_SECOND}


def test_so_many_are_worked_on_and_the_rest_waits_its_turn(rig: rigs.ReceiverRig) -> None:
    want(rig, MANY)
    for number in range(1, ROOM + 1):
        backlog(rig, number)
    assert [item.number for item in rig.dispatched] == [1, 2]
    rig.finish(rig.dispatched[0])
    rig.receiver.flush(rig.now)
    assert [item.number for item in rig.dispatched] == [1, 2, 3]


def test_what_waits_its_turn_is_reported_as_held(rig: rigs.ReceiverRig) -> None:
    want(rig, MANY)
    for number in range(1, 6):
        backlog(rig, number)
    rig.wait(3.0)
    assert {number for report in rig.said(messages.Holding) for number in report.numbers} == {
        *range(1, 6)
    }


@pytest.mark.parametrize("kind", [rigs.Kind.RECORD, rigs.Kind.REQUEST])
def test_what_is_of_now_passes_a_backlog_by(rig: rigs.ReceiverRig, kind: rigs.Kind) -> None:
    want(rig, MANY)
    for number in range(1, ROOM + 1):
        backlog(rig, number)
    (other,) = rig.deliver(kind, 1, outbox=outbox(7), reply_to=b"peer0007")
    (later,) = rig.deliver(kind, THROUGH + 1, outbox=outbox(1), reply_to=b"peer0001")
    assert [other.number, later.number] == [1, THROUGH + 1]


def test_an_entry_that_was_not_granted_is_taken_while_there_is_room(
    rig: rigs.ReceiverRig,
) -> None:
    want(rig, 1)
    for number in range(1, ROOM + 1):
        backlog(rig, number)
    assert rig.refusals() == []
    backlog(rig, ROOM + 1)
    assert rig.refusals() == [(ROOM + 1, messages.Refusal.BUSY)]


def test_what_is_not_used_is_given_back(rig: rigs.ReceiverRig) -> None:
    want(rig, MANY)
    assert grants(rig) == {outbox(1): ROOM}
    want(rig, MANY, sender=2)
    assert grants(rig) == {outbox(2): 0}
    want(rig, 0, unused=ROOM)
    assert grants(rig) == {outbox(2): ROOM}


def test_what_is_neither_used_nor_given_back_goes_to_others(rig: rigs.ReceiverRig) -> None:
    want(rig, MANY)
    assert grants(rig) == {outbox(1): ROOM}
    want(rig, MANY, sender=2)
    assert grants(rig) == {outbox(2): 0}
    rig.wait(admission.GRANT_SECONDS + 1)
    assert grants(rig) == {outbox(2): ROOM}
    rig.wait(admission.GRANT_SECONDS + 1)
    want(rig, MANY, sender=3)
    assert grants(rig) == {outbox(3): ROOM}, "who was not heard of is forgotten"


def test_who_used_a_part_keeps_his_place(rig: rigs.ReceiverRig) -> None:
    want(rig, MANY)
    grants(rig)
    for item in backlog(rig, 1):
        rig.finish(item)
    rig.wait(admission.GRANT_SECONDS + 1)
    assert grants(rig) == {outbox(1): ROOM}


def test_a_second_copy_uses_up_what_was_granted_and_takes_no_room(rig: rigs.ReceiverRig) -> None:
    want(rig, ROOM)
    grants(rig)
    for _ in range(ROOM):
        backlog(rig, 1)
    want(rig, MANY, sender=2)
    assert grants(rig) == {outbox(2): ROOM - 1}


def test_a_record_that_is_put_off_keeps_no_other_from_being_worked_on(
    rig: rigs.ReceiverRig,
) -> None:
    want(rig, MANY)
    for number in range(1, 4):
        backlog(rig, number)
    rig.receiver.put_off(rig.dispatched[0])
    rig.receiver.flush(rig.now)
    assert [item.number for item in rig.dispatched] == [1, 2, 3]


def test_a_backlog_is_worked_off_in_the_order_of_its_groups(rig: rigs.ReceiverRig) -> None:
    want(rig, MANY)
    backlog(rig, 1)
    backlog(rig, 2, after=1)
    backlog(rig, 3)
    backlog(rig, 4)
    assert [item.number for item in rig.dispatched] == [1, 3]
    for done in (0, 1, 2, 3):
        rig.finish(rig.dispatched[done])
        rig.receiver.flush(rig.now)
    assert [item.number for item in rig.dispatched] == [1, 3, 4, 2]


def test_what_follows_an_entry_that_is_not_here_keeps_no_room(rig: rigs.ReceiverRig) -> None:
    """The entry that it follows could not come, when the room is full of such."""
    want(rig, ROOM)
    grants(rig)
    for number in range(2, ROOM + 2):
        backlog(rig, number, after=number - 1)
    assert rig.dispatched == []
    rig.wait(1.0)
    assert (2, messages.Refusal.BUSY) in rig.refusals()
    for _ in range(ROOM):
        rig.wait(1.0)
    assert len(backlog(rig, 1)) == 1
    want(rig, MANY, sender=2)
    assert grants(rig) == {outbox(2): ROOM - 1}


def test_a_backlog_for_a_listener_that_has_gone_is_refused(rig: rigs.ReceiverRig) -> None:
    want(rig, MANY)
    for number in range(1, 4):
        backlog(rig, number)
    rig.receiver.unlisten(1)
    for item in list(rig.dispatched):
        rig.finish(item)
    rig.receiver.flush(rig.now)
    assert rig.refusals() == [(3, messages.Refusal.NOT_LISTENING)]


def test_a_command_makes_room_as_soon_as_it_is_in_the_inbox(rig: rigs.ReceiverRig) -> None:
    want(rig, MANY)
    grants(rig)
    rig.holds_back = True
    for number in range(1, ROOM + 1):
        rig.command(number, outbox=outbox(1), reply_to=b"peer0001")
    assert grants(rig) == {}
    rig.write()
    assert len(rig.dispatched) == ROOM
    assert grants(rig) == {outbox(1): ROOM}


def test_commands_do_not_make_a_conductor_quick(rig: rigs.ReceiverRig) -> None:
    """They are quick to take; what is worked on is no quicker for that."""
    want(rig, MANY)
    for number in range(1, MANY + 1):
        rig.command(number, outbox=outbox(1), reply_to=b"peer0001")
        if number % ROOM == 0:
            grants(rig)
    want(rig, MANY)
    rig.now += 1.0
    assert sum(grants(rig).values()) > 10 * ROOM
    assert rig.receiver.admission.slots == SLOTS


def test_a_stream_of_which_nothing_is_wanted_any_more_is_forgotten(
    rig: rigs.ReceiverRig,
) -> None:
    want(rig, 1)
    assert grants(rig) == {outbox(1): 1}
    for item in backlog(rig, 1):
        rig.finish(item)
    rig.wait(3 * receiver.IDLE_SWEEP)
    assert rig.receiver.admission._lines == {}


def test_one_that_admits_without_bounds_says_nothing() -> None:
    rig = rigs.ReceiverRig()
    want(rig, MANY)
    assert rig.said(messages.Grant) == []
    for number in range(1, 200):
        backlog(rig, number)
    assert len(rig.dispatched) == 199


def test_replies_pass_the_floor_and_leave_room(rig: rigs.ReceiverRig) -> None:
    """A sender that settled an entry elsewhere does not keep its place here."""
    want(rig, MANY)
    grants(rig)
    for number in range(1, ROOM + 1):
        backlog(rig, number)
    rig.record(ROOM + 1, outbox=outbox(1), reply_to=b"peer0001", floor=ROOM + 1)
    assert sum(grants(rig).values()) == ROOM - 1
    assert receiver.MAX_PARKED > ROOM


def test_who_does_much_in_a_second_works_on_more_and_has_more_before_it(
    rig: rigs.ReceiverRig,
) -> None:
    number = 0
    for _ in range(100):
        want(rig, MANY, through=sys.maxsize)
        granted = sum(grants(rig).values())
        for _ in range(granted):
            number += 1
            backlog(rig, number)
        while rig.dispatched:
            rig.finish(rig.dispatched.pop())
            rig.receiver.flush(rig.now)
        rig.now += 0.02
    assert granted > 10 * ROOM
    assert rig.receiver.admission.slots > 10 * SLOTS
    for _ in range(40):
        rig.now += pace.LOOK_SECONDS
        rig.receiver.flush(rig.now)
    want(rig, 0, unused=sys.maxsize)
    want(rig, MANY, sender=2)
    assert grants(rig)[outbox(2)] == ROOM
    assert rig.receiver.admission.slots == SLOTS


def test_what_rests_leaves_room_for_half_of_what_there_is_room_for(rig: rigs.ReceiverRig) -> None:
    want(rig, MANY)
    grants(rig)
    for number in range(1, ROOM + 1):
        backlog(rig, number)
    for number in range(ROOM):
        rig.receiver.put_off(rig.dispatched[number])
        rig.receiver.flush(rig.now)
    assert sum(grant.entries for grant in rig.said(messages.Grant)) == ROOM // 2


def test_large_entries_take_more_room(rig: rigs.ReceiverRig) -> None:
    want(rig, MANY)
    grants(rig)
    size = admission.MOST_BYTES // 4
    for number in range(1, 5):
        rig.record(number, outbox=outbox(1), reply_to=b"peer0001", body=bytes(size))
    want(rig, MANY, unused=ROOM - 4)
    assert grants(rig) == {outbox(1): 0}
    rig.finish(rig.dispatched[0])
    assert sum(grants(rig).values()) == ROOM - 3
