# SPDX-License-Identifier: Apache-2.0
"""What a receiver takes, once and in order, and what it says about it."""

import pytest

from nova_edge_bus.delivery import receiver
from nova_edge_bus.protocol import messages
from tests.unit.delivery import rigs
from tests.unit.delivery.rigs import OUTBOX
from tests.unit.delivery.rigs import TOPIC

Refusal = messages.Refusal
Refuse = messages.Refuse


@pytest.fixture
def rig() -> rigs.ReceiverRig:
    return rigs.ReceiverRig()


# Records and calls


def test_a_record_is_answered_when_it_is_done(rig: rigs.ReceiverRig) -> None:
    (item,) = rig.record(1)
    assert rig.said(messages.Reply) == []
    rig.finish(item)
    assert rig.said(messages.Reply) == [
        messages.Reply(b"sender-1", OUTBOX, rigs.Kind.RECORD, 1, 0, b"reply")
    ]


@pytest.mark.parametrize("kind", [rigs.Kind.RECORD, rigs.Kind.REQUEST])
def test_a_second_copy_is_not_dispatched(rig: rigs.ReceiverRig, kind: rigs.Kind) -> None:
    (item,) = rig.deliver(kind, 1)
    assert rig.deliver(kind, 1, via="e2") == []
    (report,) = rig.said(messages.Holding)
    assert (report.kind, report.numbers, report.monitor) == (kind, [1], False)
    rig.finish(item)
    assert rig.sent[0][0] == "e2", "the answer goes the way that the last copy came"
    rig.said(messages.Reply)
    assert rig.deliver(kind, 1, via="e3") == []
    assert [each.body for each in rig.said(messages.Reply)] == [b"reply"]


def test_a_record_that_is_put_off_stays_the_sender_s(rig: rigs.ReceiverRig) -> None:
    (item,) = rig.record(1)
    rig.receiver.put_off(item)
    rig.wait(receiver.PUT_OFF_SECONDS / 2)
    assert rig.said(Refuse) == []
    rig.wait(receiver.PUT_OFF_SECONDS)
    (refusal,) = rig.said(Refuse)
    assert (refusal.code, refusal.numbers) == (Refusal.BUSY, [1])
    assert len(rig.record(1)) == 1, "it is dispatched anew when it comes again"


def test_the_answer_goes_to_the_process_that_asked_last(rig: rigs.ReceiverRig) -> None:
    """The outbox has been opened again: its new process wants to know what became of it."""
    (item,) = rig.record(1)
    rig.finish(item)
    rig.said(messages.Reply)
    assert rig.record(1, reply_to=b"sender-2", epoch=2) == []
    assert [each.to for each in rig.said(messages.Reply)] == [b"sender-2"]


def test_an_answer_is_kept_until_the_floor_has_passed(rig: rigs.ReceiverRig) -> None:
    (item,) = rig.record(1)
    rig.finish(item)
    rig.wait(3 * receiver.IDLE_RETENTION)
    rig.said(messages.Reply)
    assert rig.record(1) == []
    assert len(rig.said(messages.Reply)) == 1
    rig.record(2, floor=2)
    assert rig.record(1) == []
    assert [each.body for each in rig.said(messages.Reply)] == [b"null"], "the answer is gone"


def test_a_copy_of_a_journal_is_told_what_its_outbox_has_settled(rig: rigs.ReceiverRig) -> None:
    """Whoever replays it, or lives on beside it, would else wait for an answer for ever."""
    rig.finish(*rig.record(1))
    rig.finish(*rig.record(3, after=1, floor=3))
    rig.said(messages.Reply)
    assert rig.record(1, reply_to=b"sender-2") == []
    assert rig.record(2, after=1, reply_to=b"sender-2") == []
    assert rig.said(messages.Reply) == [
        messages.Reply(b"sender-2", OUTBOX, rigs.Kind.RECORD, number, 0, b"null")
        for number in (1, 2)
    ]


def test_the_answer_to_a_call_is_kept_for_a_time_after_it_was_given(
    rig: rigs.ReceiverRig,
) -> None:
    """A call that takes longer than that time must not be made twice for a lost answer."""
    (item,) = rig.call(1)
    rig.wait(receiver.REPLY_RETENTION + 10)
    rig.finish(item)
    rig.said(messages.Reply)
    rig.wait(receiver.REPLY_RETENTION - 10)
    assert rig.call(1) == []
    assert len(rig.said(messages.Reply)) == 1
    rig.wait(20)
    assert rig.call(1) == []
    assert rig.said(messages.Reply) == []


def test_calls_and_entries_are_numbered_apart(rig: rigs.ReceiverRig) -> None:
    assert len(rig.call(1) + rig.record(1) + rig.command(1, address=f"{TOPIC}#")) == 3
    assert len(rig.call(2, floor=2) + rig.record(2, address=f"{TOPIC}#")) == 2
    assert len(rig.record(1, outbox=b"outbox-2")) == 1
    assert len(rig.call(1, reply_to=b"sender-2")) == 1


def test_a_delivery_below_the_floor_is_not_taken(rig: rigs.ReceiverRig) -> None:
    """A copy that was held up somewhere, and whose sender has long been content."""
    rig.call(5, floor=5)
    assert rig.call(4, floor=2) == []
    rig.command(5, floor=5)
    rig.acks()
    assert rig.command(4, floor=2) == []
    assert rig.acks() == [4]


# Order


def test_a_record_waits_until_its_predecessor_is_applied(rig: rigs.ReceiverRig) -> None:
    assert rig.record(2, after=1) == []
    (first,) = rig.record(1)
    assert rig.dispatched == [first]
    rig.finish(first)
    assert [item.number for item in rig.dispatched] == [1, 2]


def test_a_chain_is_let_go_link_by_link(rig: rigs.ReceiverRig) -> None:
    for number in (4, 3, 2):
        rig.record(number, after=number - 1)
    rig.record(9)
    (first,) = rig.record(1)
    rig.finish(first)
    assert [item.number for item in rig.dispatched] == [9, 1, 2]
    rig.finish(rig.dispatched[2])
    assert [item.number for item in rig.dispatched] == [9, 1, 2, 3]


def test_a_predecessor_below_the_floor_is_not_waited_for(rig: rigs.ReceiverRig) -> None:
    assert rig.record(5, after=4) == []
    assert [item.number for item in rig.record(7, floor=5)] == [5, 7]
    assert [item.number for item in rig.record(8, after=3)] == [8]


def test_what_was_parked_and_settled_elsewhere_is_not_dispatched(
    rig: rigs.ReceiverRig,
) -> None:
    """Its sender gave it to another consumer: the floor says so."""
    rig.record(5, after=4)
    assert [item.number for item in rig.record(7, floor=6)] == [7]
    assert rig.record(5, floor=6) == []


def test_a_parked_copy_follows_what_its_sender_says_last(rig: rigs.ReceiverRig) -> None:
    """The predecessor was applied by another consumer: nothing is left to wait for."""
    rig.record(5, after=4)
    assert [item.number for item in rig.record(5, after=0)] == [5]
    assert rig.record(5, after=0) == []


def test_what_waits_for_something_absent_is_not_reported_as_held(
    rig: rigs.ReceiverRig,
) -> None:
    """So its sender ships it again, and says what it follows by then."""
    rig.record(5, after=4)
    rig.wait(20.0)
    assert rig.said(messages.Holding) == []
    rig.record(4, after=3)
    (third,) = rig.record(3)
    rig.wait(3.0)
    assert rig.said(messages.Holding)[-1].numbers == [5, 4, 3]
    rig.finish(third)
    assert [item.number for item in rig.dispatched] == [3, 4]


def test_what_waits_too_long_is_dropped_and_taken_again(rig: rigs.ReceiverRig) -> None:
    rig.record(5, after=4)
    rig.wait(receiver.PARKED_RETENTION + 2)
    (fourth,) = rig.record(4)
    rig.finish(fourth)
    assert rig.dispatched == [fourth]
    assert [item.number for item in rig.record(5, after=4)] == [5]


def test_no_more_is_parked_than_the_limit(rig: rigs.ReceiverRig) -> None:
    for number in range(2, receiver.MAX_PARKED + 3):
        rig.record(number, after=1)
    assert rig.refusals() == [(receiver.MAX_PARKED + 2, Refusal.BUSY)]
    (first,) = rig.record(1)
    rig.finish(first)
    assert len(rig.dispatched) == receiver.MAX_PARKED + 1
    rig.record(receiver.MAX_PARKED + 2, after=0)
    assert len(rig.dispatched) == receiver.MAX_PARKED + 2


# Reports


def test_what_takes_long_is_reported_again_and_again(rig: rigs.ReceiverRig) -> None:
    (first,) = rig.record(1)
    rig.record(2)
    rig.call(1)
    rig.wait(0.9)
    assert rig.said(messages.Holding) == []
    rig.wait(6.0)
    reports = rig.said(messages.Holding)
    assert [each.numbers for each in reports if each.kind == rigs.Kind.RECORD] == [[1, 2]] * 3
    rig.finish(first)
    rig.wait(2.0)
    assert [each.numbers for each in rig.said(messages.Holding)] == [[2], [1]]


def test_a_report_is_no_longer_than_the_wire_allows(rig: rigs.ReceiverRig) -> None:
    for number in range(1, receiver.MAX_NUMBERS + 2):
        rig.call(number)
    rig.wait(2.0)
    assert [len(each.numbers) for each in rig.said(messages.Holding)] == [
        receiver.MAX_NUMBERS,
        1,
    ]


def test_a_heartbeat_of_the_server_goes_to_the_caller(rig: rigs.ReceiverRig) -> None:
    (item,) = rig.call(1, monitor=2000)
    assert item.monitor == 2.0
    rig.receiver.heartbeat(item)
    (report,) = rig.said(messages.Holding)
    assert (report.numbers, report.monitor) == ([1], True)


# Refusals


def test_an_older_epoch_is_fenced(rig: rigs.ReceiverRig) -> None:
    rig.record(5, epoch=2)
    assert rig.record(6, epoch=1) == []
    assert rig.command(7, epoch=1) == []
    assert rig.refusals() == [(6, Refusal.FENCED), (7, Refusal.FENCED)]
    assert len(rig.record(6, epoch=2)) == 1
    assert len(rig.record(1, epoch=1, outbox=b"outbox-2")) == 1
    assert len(rig.call(1, epoch=1)) == 1, "a call belongs to a process and not to an outbox"


def test_what_is_under_way_becomes_that_of_whoever_ships_it_again(rig: rigs.ReceiverRig) -> None:
    (item,) = rig.record(5, epoch=1)
    rig.record(5, epoch=2)
    assert item.epoch == 2


def test_what_is_found_to_be_fenced_is_taken_once_more(rig: rigs.ReceiverRig) -> None:
    (item,) = rig.record(5, epoch=1)
    rig.record(6, after=5)
    rig.receiver.not_taken(item, Refusal.FENCED, receiver.OPENED_SINCE)
    assert rig.refusals() == [(5, Refusal.FENCED)]
    (again,) = rig.record(5, epoch=2)
    rig.finish(again)
    assert [item.number for item in rig.dispatched] == [5, 5, 6]


def test_what_nobody_listens_for_is_refused(rig: rigs.ReceiverRig) -> None:
    assert rig.record(1, address="v/e/other") == []
    assert rig.call(1, address="v/e/other") == []
    assert rig.refusals() == [(1, Refusal.NOT_LISTENING)] * 2
    rig.receiver.listen(2, ["v/e/other"], [])
    assert [item.listener for item in rig.record(1, address="v/e/other")] == [2]


def test_another_listener_of_the_same_pool_takes_over(rig: rigs.ReceiverRig) -> None:
    rig.receiver.listen(2, [TOPIC], [], "audit")
    rig.receiver.listen(3, [TOPIC], [])
    assert [item.listener for item in rig.record(1, listener=3)] == [3]
    rig.receiver.unlisten(3)
    assert [item.listener for item in rig.record(2, listener=3)] == [1]
    rig.receiver.unlisten(1)
    assert rig.record(3, listener=3) == []
    assert [item.listener for item in rig.record(4, address=f"{TOPIC}#audit")] == [2]


def test_a_parked_record_that_lost_its_listener_is_refused(rig: rigs.ReceiverRig) -> None:
    (first,) = rig.record(1)
    rig.record(2, after=1)
    rig.receiver.unlisten(1)
    rig.finish(first)
    assert rig.refusals() == [(2, Refusal.NOT_LISTENING)]
    rig.receiver.listen(1, [TOPIC], [])
    assert len(rig.record(2)) == 1


def test_a_crowded_listener_takes_nothing_new(rig: rigs.ReceiverRig) -> None:
    (first,) = rig.record(1)
    rig.crowded.add(1)
    for kind in (rigs.Kind.RECORD, rigs.Kind.REQUEST, rigs.Kind.COMMAND):
        assert rig.deliver(kind, 2) == []
    assert rig.refusals() == [(2, Refusal.BUSY)] * 3
    assert rig.inbox == set()
    rig.finish(first)
    assert rig.record(1) == []
    assert len(rig.said(messages.Reply)) == 2, "what is known is answered all the same"
    rig.crowded.clear()
    assert len(rig.record(2) + rig.call(2) + rig.command(3)) == 3


def test_a_kind_of_a_later_version_is_passed_over(rig: rigs.ReceiverRig) -> None:
    rig.receiver.deliver(
        messages.Deliver(b"me------", 1, b"s", b"o", 1, 9, 1, 1, 0, "", TOPIC, 0, 0, b""),
        "e1",
        rig.now,
    )
    assert (rig.sent, rig.dispatched) == ([], [])


# Memory


def test_nothing_remains_of_a_sender_that_is_done(rig: rigs.ReceiverRig) -> None:
    for number in range(1, 20):
        rig.finish(*rig.record(number, floor=number), *rig.call(number, floor=number))
    rig.record(20, after=19, floor=21)
    assert len(rig.receiver._active) == 0
    rig.wait(2 * receiver.IDLE_RETENTION)
    assert ([*rig.receiver._senders.values()], len(rig.receiver._answered)) == ([], 0)
    assert rig.receiver._holdings.total == 0


def test_what_is_done_is_forgotten_as_the_floor_rises(rig: rigs.ReceiverRig) -> None:
    for number in range(1, 1000):
        rig.finish(*rig.record(number, floor=max(1, number - 5), after=number - 1))
    (origin,) = rig.receiver._senders.values()
    assert len(origin.items) <= 6
    assert len(origin.done) <= 6


def test_a_record_that_ends_below_the_floor_leaves_nothing(rig: rigs.ReceiverRig) -> None:
    (item,) = rig.record(1)
    rig.record(2, floor=2)
    rig.finish(item)
    (origin,) = rig.receiver._senders.values()
    assert (set(origin.items), origin.done) == ({2}, set())
