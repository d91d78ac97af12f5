# SPDX-License-Identifier: Apache-2.0
"""Commands at the receiver: durable, acknowledged, dispatched, each once and in order."""

import pytest

from nova_edge_bus.delivery import acks
from nova_edge_bus.delivery import origins
from nova_edge_bus.delivery import receiver
from nova_edge_bus.protocol import messages
from tests.unit.delivery import rigs
from tests.unit.delivery.rigs import OUTBOX
from tests.unit.delivery.rigs import TOPIC

Refusal = messages.Refusal


@pytest.fixture
def rig() -> rigs.ReceiverRig:
    return rigs.ReceiverRig()


def stored(number: int, address: str = TOPIC) -> origins.Inbound:
    """A command as it comes back from the inbox."""
    return origins.Inbound(
        kind=rigs.Kind.COMMAND,
        number=number,
        origin=OUTBOX,
        reply_to=b"",
        via=None,
        address=address,
        body=b"body",
    )


def test_a_command_is_acknowledged_and_dispatched_when_it_is_durable(
    rig: rigs.ReceiverRig,
) -> None:
    rig.holds_back = True
    assert rig.command(1) == []
    assert rig.acks() == []
    rig.write()
    assert [item.number for item in rig.dispatched] == [1]
    assert rig.acks() == [1]


def test_a_second_copy_is_acknowledged_and_not_dispatched(rig: rigs.ReceiverRig) -> None:
    rig.command(1)
    assert rig.command(1) == []
    assert rig.acks() == [1], "once in a turn is enough"
    assert rig.command(1) == []
    assert rig.acks() == [1]
    assert rig.command(1, reply_to=b"sender-2", epoch=2) == []
    assert [each.to for each in rig.said(messages.Accept)] == [b"sender-2"]


def test_a_copy_while_the_first_is_being_written_is_not_written(rig: rigs.ReceiverRig) -> None:
    rig.holds_back = True
    rig.command(1)
    rig.command(1, via="e2")
    assert len(rig.writes) == 1
    rig.write()
    rig.receiver.flush(rig.now)
    assert [via for via, each in rig.sent if isinstance(each, messages.Accept)] == ["e2"]


def test_what_an_earlier_life_accepted_is_acknowledged_only(rig: rigs.ReceiverRig) -> None:
    rig.inbox.add((OUTBOX, 1))
    assert rig.command(1) == []
    assert rig.acks() == [1]


def test_acknowledgements_gather_in_ranges(rig: rigs.ReceiverRig) -> None:
    for number in (1, 2, 3, 7, 6, 9):
        rig.command(number)
    rig.command(4, outbox=b"outbox-2")
    rig.command(5, via="e2")
    assert rig.said(messages.Accept) == [
        messages.Accept(b"sender-1", OUTBOX, [[1, 3], [6, 7], [9, 9]]),
        messages.Accept(b"sender-1", b"outbox-2", [[4, 4]]),
        messages.Accept(b"sender-1", OUTBOX, [[5, 5]]),
    ]


def test_an_acknowledgement_is_no_longer_than_the_wire_allows(rig: rigs.ReceiverRig) -> None:
    for number in range(1, 2 * acks.MAX_RANGES + 2, 2):
        rig.command(number)
    sizes = [len(each.numbers) for each in rig.said(messages.Accept)]
    assert sizes == [acks.MAX_RANGES, 1]


def test_commands_of_a_group_enter_the_inbox_in_their_order(rig: rigs.ReceiverRig) -> None:
    """The order of the inbox is the order after a restart."""
    rig.holds_back = True
    rig.command(3, after=2)
    rig.command(2, after=1)
    assert rig.writes == []
    rig.command(1)
    assert [item.number for item in rig.writes] == [1]
    assert rig.acks() == []
    rig.write()
    assert [item.number for item in rig.dispatched] == [1, 2, 3]
    assert rig.acks() == [1, 2, 3]


def test_a_command_known_from_before_lets_go_of_what_follows_it(
    rig: rigs.ReceiverRig,
) -> None:
    rig.inbox.add((OUTBOX, 1))
    rig.command(2, after=1)
    assert rig.dispatched == []
    assert [item.number for item in rig.command(1)] == [2]


def test_a_command_that_the_inbox_cannot_take_stays_the_senders(
    rig: rigs.ReceiverRig,
) -> None:
    rig.holds_back = True
    rig.command(1)
    rig.command(2, after=1)
    rig.receiver.not_taken(rig.writes.pop(), Refusal.BUSY, "the disk is full")
    assert rig.refusals() == [(1, Refusal.BUSY)]
    assert rig.acks() == []
    rig.holds_back = False
    assert [item.number for item in rig.command(1)] == [1, 2]


def test_a_command_that_nobody_takes_is_withdrawn_and_refused(rig: rigs.ReceiverRig) -> None:
    rig.command(1, address="v/e/other")
    assert rig.inbox == set()
    assert rig.acks() == []
    assert rig.refusals() == [(1, Refusal.NOT_LISTENING)]
    rig.receiver.listen(2, ["v/e/other"], [])
    assert [item.listener for item in rig.command(1, address="v/e/other")] == [2]


def test_a_command_whose_listener_leaves_while_it_is_written_is_refused(
    rig: rigs.ReceiverRig,
) -> None:
    rig.holds_back = True
    rig.command(1)
    rig.receiver.unlisten(1)
    rig.write()
    assert (rig.inbox, rig.dispatched, rig.acks()) == (set(), [], [])
    assert rig.refusals() == [(1, Refusal.NOT_LISTENING)]


def test_a_command_settled_while_it_is_written_is_withdrawn(rig: rigs.ReceiverRig) -> None:
    """Its sender says with the floor that somebody else has it, or that its time is over."""
    rig.holds_back = True
    rig.command(1)
    rig.command(2, floor=2)
    rig.write()
    assert [item.number for item in rig.dispatched] == [2]
    assert rig.inbox == {(OUTBOX, 2)}


def test_restored_commands_are_dispatched_once_a_listener_comes() -> None:
    rig = rigs.ReceiverRig()
    rig.receiver.unlisten(1)
    rig.receiver.restore([stored(1), stored(2, "v/e/other"), stored(3)])
    rig.inbox |= {(OUTBOX, 1), (OUTBOX, 2), (OUTBOX, 3)}
    assert rig.dispatched == []
    rig.receiver.listen(5, ["v/e/third"], [])
    assert rig.dispatched == []
    rig.receiver.listen(6, [TOPIC], [])
    assert [(item.number, item.listener) for item in rig.dispatched] == [(1, 6), (3, 6)]
    rig.receiver.listen(7, ["v/e/other"], [])
    assert [item.number for item in rig.dispatched] == [1, 3, 2]
    rig.receiver.listen(8, [TOPIC], [])
    assert len(rig.dispatched) == 3
    for number in (1, 3):
        assert rig.command(number) == []
    assert rig.acks() == [1, 3]


def test_restored_commands_go_to_a_listener_that_is_there_already() -> None:
    rig = rigs.ReceiverRig()
    rig.receiver.restore([stored(1), stored(2)])
    assert [item.number for item in rig.dispatched] == [1, 2]


def test_a_command_behind_a_restored_one_is_dispatched_after_it() -> None:
    rig = rigs.ReceiverRig()
    rig.receiver.unlisten(1)
    rig.receiver.restore([stored(1)])
    rig.inbox.add((OUTBOX, 1))
    rig.command(2, after=1)
    rig.command(1)
    assert rig.refusals() == [(2, Refusal.NOT_LISTENING)]
    rig.receiver.listen(1, [TOPIC], [])
    rig.command(2)
    assert [item.number for item in rig.dispatched] == [1, 2]


def test_a_command_is_reported_while_it_is_written_and_not_afterwards(
    rig: rigs.ReceiverRig,
) -> None:
    rig.holds_back = True
    rig.command(1)
    rig.wait(3.0)
    assert [each.numbers for each in rig.said(messages.Holding)] == [[1], [1]]
    rig.write()
    rig.wait(5.0)
    assert rig.said(messages.Holding) == []


def test_the_inbox_is_told_of_floors_where_it_has_rows(rig: rigs.ReceiverRig) -> None:
    rig.record(1, floor=1)
    rig.record(2, floor=2)
    rig.wait(1.0)
    assert rig.forgotten == [], "records are not in the inbox"
    rig.command(3, floor=3)
    rig.record(4, floor=4)
    rig.wait(2.0)
    assert rig.forgotten == [(OUTBOX, TOPIC, 4)]
    rig.command(1, floor=1, address=f"{TOPIC}#audit")
    rig.record(5, floor=5)
    rig.wait(1.0)
    assert rig.forgotten[1:] == [(OUTBOX, TOPIC, 5)], "each stream has a floor of its own"


def test_a_sender_that_rests_is_forgotten_and_known_from_the_inbox(
    rig: rigs.ReceiverRig,
) -> None:
    rig.command(1)
    rig.wait(2 * receiver.IDLE_RETENTION)
    assert list(rig.receiver._senders.values()) == []
    assert rig.command(1) == []
