# SPDX-License-Identifier: Apache-2.0
"""What one sender can make a receiver hold, and what it cannot take from the others."""

import pytest

from nova_edge_bus.delivery import admission
from nova_edge_bus.delivery import holdings
from nova_edge_bus.delivery import origins
from nova_edge_bus.delivery import receiver
from nova_edge_bus.delivery import senders
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import mailbox
from tests.unit.delivery import rigs

THIEF = "compute:edge-1"
HONEST = "compute:edge-7"
BUSY = messages.Refusal.BUSY


@pytest.fixture
def rig() -> rigs.ReceiverRig:
    return rigs.ReceiverRig()


def test_what_waits_for_its_predecessor_is_bounded_by_its_bytes(rig: rigs.ReceiverRig) -> None:
    body = bytes(1 << 20)
    for number in range(10, 110):
        rig.record(number, after=number - 1, body=body, identity=THIEF)
    refused = rig.refusals()
    assert 100 - len(refused) <= holdings.MOST_OF_A_COMPUTE >> 20
    assert {code for _, code in refused} == {BUSY}
    assert rig.record(1, body=body, outbox=b"another-", identity=HONEST)


def test_beyond_the_whole_each_still_has_a_share(
    rig: rigs.ReceiverRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holdings, "MOST_BYTES", (7 << 20) + (64 << 10))
    for number in range(20):
        rig.record(number + 2, after=1, body=bytes(1 << 20), identity=f"compute:t-{number % 3}")
    assert rig.refusals()
    assert rig.record(1, outbox=b"another-", body=bytes(512 << 10), identity=HONEST)


def test_answers_that_are_kept_make_way_for_newer_ones(rig: rigs.ReceiverRig) -> None:
    body = bytes(1 << 20)
    for number in range(1, 101):
        rig.finish(*rig.call(number, identity=THIEF), body=body)
        rig.finish(*rig.record(number, identity=THIEF), body=body)
    assert rig.receiver._holdings.total <= holdings.MOST_OF_A_COMPUTE
    rig.said(messages.Reply)
    # A call is never made a second time; a record's effect tells whether it was applied.
    assert rig.call(1, identity=THIEF) == []
    assert rig.call(100, identity=THIEF) == []
    assert [reply.number for reply in rig.said(messages.Reply)] == [100]
    (again,) = rig.record(1, identity=THIEF)
    assert rig.record(2, after=1, identity=THIEF) != []
    rig.finish(again)


def test_answers_of_others_make_no_way(rig: rigs.ReceiverRig) -> None:
    rig.finish(*rig.call(1, reply_to=b"honest--", identity=HONEST), body=b"kept")
    for number in range(1, 101):
        rig.finish(*rig.call(number, identity=THIEF), body=bytes(1 << 20))
    rig.said(messages.Reply)
    rig.call(1, reply_to=b"honest--", identity=HONEST)
    assert [reply.body for reply in rig.said(messages.Reply)] == [b"kept"]


def test_nothing_is_held_of_what_has_ended(rig: rigs.ReceiverRig) -> None:
    for number in range(1, 9):
        rig.command(number, identity=THIEF)
        rig.finish(*rig.call(number, floor=number, identity=THIEF))
    rig.record(30, after=29, identity=THIEF)
    rig.record(20, floor=20, identity=THIEF, address="nobody takes it")
    rig.wait(3 * receiver.PARKED_RETENTION)
    assert rig.receiver._holdings.total == 0


def test_who_names_many_addresses_and_lives_is_forgotten_and_nobody_else(
    rig: rigs.ReceiverRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(senders, "MOST_OF_AN_IDENTITY", 50)
    rig.finish(*rig.call(1, reply_to=b"honest--", identity=HONEST))
    rig.command(1, outbox=b"honest--", epoch=5, identity=HONEST)
    for number in range(500):
        life = number.to_bytes(8, "big")
        rig.call(number, reply_to=life, address=f"a{number}", identity=THIEF)
        rig.record(number, outbox=life, epoch=3, address=f"a{number}", identity=THIEF)
    assert len(list(rig.receiver._senders.values())) <= 50 + 2
    assert len(rig.receiver._senders._epochs) <= 50 + 1
    rig.refusals()
    assert (b"honest--", rigs.TOPIC) in rig.receiver._senders._origins
    assert rig.call(1, reply_to=b"honest--", identity=HONEST) == []
    rig.command(2, outbox=b"honest--", epoch=4, identity=HONEST)
    assert rig.refusals() == [(2, messages.Refusal.FENCED)]


def test_what_is_under_way_is_not_forgotten(
    rig: rigs.ReceiverRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(senders, "MOST_OF_AN_IDENTITY", 5)
    (item,) = rig.call(1, reply_to=b"at-work-", identity=THIEF)
    for number in range(50):
        rig.call(1, reply_to=number.to_bytes(8, "big"), address="nobody", identity=THIEF)
    assert rig.call(1, reply_to=b"at-work-", identity=THIEF) == []
    rig.finish(item)


def test_who_settles_nothing_is_not_served_for_ever(
    rig: rigs.ReceiverRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "MAX_DONE", 10)
    for number in range(1, 20):
        rig.finish(*rig.record(number))
    assert rig.refusals() == [(number, BUSY) for number in range(11, 20)]
    rig.finish(*rig.record(20, floor=9))
    assert rig.refusals() == []


def test_nobody_stands_in_line_many_times() -> None:
    rig = rigs.ReceiverRig(backlog_slots=1)
    for number in range(500):
        outbox = number.to_bytes(8, "big")
        rig.receiver.want(
            messages.Want(b"me------", b"thief---", outbox, rigs.TOPIC, 9, 9), "e1", rig.now
        )
        rig.receiver.want(
            messages.Want(b"me------", b"thief---", outbox, "nobody", 9, 9), "e1", rig.now
        )
    assert len(rig.receiver._admission._lines) == admission.LINES_OF_A_PEER
    grants = rig.said(messages.Grant)
    assert len(grants) == 1000
    want = messages.Want(b"me------", b"honest--", b"h" * 8, rigs.TOPIC, 9, 9)
    rig.receiver.want(want, "e1", rig.now)
    for number in range(500):
        back = messages.Want(b"me------", b"thief---", number.to_bytes(8, "big"), rigs.TOPIC, 9, 0)
        rig.receiver.want(back, "e1", rig.now)
    rig.wait(3 * receiver.IDLE_SWEEP)
    assert set(rig.receiver._admission._counts) <= {b"honest--"}


def item(identity: str, number: int, size: int = 1) -> origins.Inbound:
    return origins.Inbound(
        None, number, b"origin", b"peer", None, "address", bytes(size), identity=identity
    )


def test_senders_take_turns_in_a_mailbox_and_keep_their_own_order() -> None:
    box = mailbox.Mailbox()
    for number in range(100):
        box.put(item(THIEF, number))
    for number in range(3):
        box.put(item(HONEST, number))
    taken = box.poll(0, 6, 0)
    assert [(each.identity, each.number) for each in taken] == [
        (who, number) for number in range(3) for who in (THIEF, HONEST)
    ]
    assert [each.number for each in box.poll(0, 200, 0)] == list(range(3, 100))
    assert len(box) == 0


def test_a_mailbox_has_room_for_those_who_have_little_in_it() -> None:
    box = mailbox.Mailbox()
    for number in range(mailbox.LIMIT_OF_AN_IDENTITY):
        assert not box.is_crowded(THIEF)
        box.put(item(THIEF, number))
    assert box.is_crowded(THIEF)
    assert not box.is_crowded("")
    for number in range(5):
        box.put(item(f"compute:other-{number}", number, 16 << 20))
    assert box.is_crowded("")
    assert not box.is_crowded(HONEST)
    for number in range(mailbox.FAIR_SHARE):
        box.put(item(HONEST, number))
    assert box.is_crowded(HONEST)
    box.poll(0, 3000, 0)
    assert not box.is_crowded("")
