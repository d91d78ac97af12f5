# SPDX-License-Identifier: Apache-2.0
"""Which consumer gets what, and what becomes of it when that one is gone."""

import pytest

from tests.unit.delivery import rigs
from tests.unit.delivery.rigs import GRACE
from tests.unit.delivery.rigs import SERVER
from tests.unit.delivery.rigs import TOPIC
from tests.unit.delivery.rigs import A
from tests.unit.delivery.rigs import B
from tests.unit.delivery.rigs import C

ENTRIES = [rigs.Kind.RECORD, rigs.Kind.COMMAND]


@pytest.fixture
def rig() -> rigs.SenderRig:
    made = rigs.SenderRig()
    made.routes(A, B)
    return made


def test_an_entry_is_not_shipped_before_its_consumer_is_on_disk(rig: rigs.SenderRig) -> None:
    rig.auto_pin = False
    entry = rig.command()
    assert rig.ship() == []
    assert rig.pins == [(entry.number, A.inbox)]
    assert rig.wait(2.0) == [], "no time makes up for the disk"
    rig.sender.pinned(rig.pins)
    assert [each.to for each in rig.ship()] == [A.peer]


def test_an_entry_for_one_server_needs_no_pin(rig: rigs.SenderRig) -> None:
    rig.auto_pin = False
    rig.routes(A, address=SERVER)
    rig.command(key=SERVER)
    assert [each.to for each in rig.ship()] == [A.peer]


def test_later_entries_of_a_stream_do_not_overtake_one_that_is_being_pinned(
    rig: rigs.SenderRig,
) -> None:
    rig.auto_pin = False
    first, second = rig.command(), rig.command(pin=A.inbox)
    assert rig.ship() == []
    rig.sender.pinned(rig.pins)
    assert [each.number for each in rig.ship()] == [first.number, second.number]


def test_a_pinned_entry_that_is_settled_meanwhile_does_not_block_its_stream(
    rig: rigs.SenderRig,
) -> None:
    rig.auto_pin = False
    first, second = rig.command(), rig.command(pin=A.inbox)
    rig.ship()
    rig.sender.expired([first.number])
    assert [each.number for each in rig.ship()] == [second.number]
    rig.sender.pinned(rig.pins)
    assert rig.ship() == []


@pytest.mark.parametrize("kind", ENTRIES)
def test_what_was_in_flight_goes_to_the_same_inbox_by_another_endpoint(
    rig: rigs.SenderRig, kind: rigs.Kind
) -> None:
    rig.routes(A, B, endpoint="e2")
    entry = rig.record() if kind is rigs.Kind.RECORD else rig.command()
    rig.ship()
    rig.endpoint_down("e1")
    rig.ship()
    assert [(endpoint, each.to, each.number) for endpoint, each in rig.shipped] == [
        ("e1", A.peer, entry.number),
        ("e2", A.peer, entry.number),
    ]


def test_the_next_endpoint_is_taken_when_the_first_has_no_room(rig: rigs.SenderRig) -> None:
    rig.routes(A, B, endpoint="e2")
    rig.full.add("e1")
    rig.record()
    rig.ship()
    assert [endpoint for endpoint, _ in rig.shipped] == ["e2"]


def test_what_went_unanswered_goes_by_another_endpoint(rig: rigs.SenderRig) -> None:
    """The first one may take much longer than the sender to notice that a consumer is silent."""
    rig.routes(A, B, endpoint="e2")
    entry = rig.record()
    rig.ship()
    rig.wait(rigs.ACK_TIMEOUT + 0.5)
    assert [(endpoint, each.to, each.number) for endpoint, each in rig.shipped] == [
        ("e1", A.peer, entry.number),
        ("e2", A.peer, entry.number),
    ]
    rig.call(consumer=A)
    rig.call(consumer=B)
    rig.ship()
    assert [(endpoint, each.to) for endpoint, each in rig.shipped[2:]] == [
        ("e2", A.peer),
        ("e1", B.peer),
    ]


def test_an_entry_follows_its_inbox_into_a_new_process(rig: rigs.SenderRig) -> None:
    entry = rig.record()
    rig.ship()
    again = rigs.consumer("a2", inbox="a")
    rig.routes(again, B)
    assert [(each.number, each.to) for each in rig.ship()] == [(entry.number, again.peer)]


def test_a_process_that_is_still_there_keeps_what_it_has(rig: rigs.SenderRig) -> None:
    """Another endpoint has not noticed yet which of the two processes ended."""
    entry = rig.record()
    rig.ship()
    rig.routes(A, B, endpoint="e2")
    again = rigs.consumer("a2", inbox="a")
    rig.routes(again, B)
    assert rig.ship() == []
    rig.routes(again, B, endpoint="e2")
    assert [(each.number, each.to) for each in rig.ship()] == [(entry.number, again.peer)]


def test_a_process_that_takes_nothing_new_keeps_what_it_has(rig: rigs.SenderRig) -> None:
    entry = rig.record()
    rig.ship()
    rig.routes(B)
    assert rig.ship() == []
    rig.sender.holding(rigs.Kind.RECORD, [entry.number], rig.now, monitor=False)
    assert rig.wait(rigs.ACK_TIMEOUT - 0.5) == []


@pytest.mark.parametrize("kind", ENTRIES)
def test_what_a_dead_process_had_goes_at_once_to_the_one_that_has_its_inbox(
    rig: rigs.SenderRig, kind: rigs.Kind
) -> None:
    entry = rig.record() if kind is rigs.Kind.RECORD else rig.command()
    call, read = rig.call(), rig.call(repeatable=True)
    assert [each.to for each in rig.ship()] == [B.peer, A.peer, A.peer]
    rig.applied(call)
    call = rig.call()
    rig.ship()
    heirs = [rigs.consumer("a2", inbox="a"), rigs.consumer("b2", inbox="b")]
    rig.routes(*heirs)
    shipped = [(each.number, each.kind) for each in rig.ship()]
    assert (entry.number, kind) in shipped
    assert (read.call_number, rigs.Kind.REQUEST) in shipped
    assert (call.call_number, rigs.Kind.REQUEST) not in shipped, "it may have been made"


def test_what_goes_unanswered_goes_by_another_endpoint(rig: rigs.SenderRig) -> None:
    """The first one goes on listing a consumer that it has not yet noticed to be silent."""
    rig.routes(A, B, endpoint="e2")
    rig.command()
    rig.ship()
    rig.wait(2 * rigs.ACK_TIMEOUT + 1)
    assert [(endpoint, each.to) for endpoint, each in rig.shipped] == [
        ("e1", A.peer),
        ("e2", A.peer),
        ("e1", A.peer),
    ]


def test_the_listeners_of_one_process_take_turns_as_well(rig: rigs.SenderRig) -> None:
    listeners = [rigs.consumer("a", listener=number) for number in (1, 2)]
    rig.routes(*listeners)
    for _ in range(4):
        rig.command()
    assert [each.listener for each in rig.ship()] == [1, 2, 1, 2]


def test_what_nobody_acknowledges_is_shipped_again_but_not_what_is_held(
    rig: rigs.SenderRig,
) -> None:
    silent, held = rig.record(), rig.record()
    rig.ship()
    for _ in range(3):
        rig.wait(2.0)
        rig.sender.holding(rigs.Kind.RECORD, [held.number], rig.now, monitor=False)
    again = [each.number for _, each in rig.shipped[2:]]
    assert again == [silent.number]


@pytest.mark.parametrize("kind", ENTRIES)
def test_what_a_lost_consumer_may_have_waits_for_the_grace(
    rig: rigs.SenderRig, kind: rigs.Kind
) -> None:
    entry = rig.record() if kind is rigs.Kind.RECORD else rig.command()
    rig.ship()
    rig.routes(B)
    rig.endpoint_down("e2")
    rig.refused(rigs.Refusal.BUSY, entry)
    assert rig.wait(GRACE - 0.5) == []
    assert [each.to for each in rig.wait(1.0)] == [B.peer]


def test_a_consumer_that_is_back_within_the_grace_gets_it_again(rig: rigs.SenderRig) -> None:
    entry = rig.command()
    rig.ship()
    rig.routes(B)
    rig.refused(rigs.Refusal.BUSY, entry)
    rig.wait(GRACE - 1)
    rig.routes(A, B)
    assert [each.to for each in rig.ship()] == [A.peer]
    rig.refused(rigs.Refusal.BUSY, entry)
    rig.routes(B)
    assert rig.wait(GRACE - 1) == [], "the grace begins anew"


def test_the_grace_runs_once_for_all_that_one_inbox_may_have() -> None:
    """A backlog pinned to a dead conductor is not held up for the grace page after page."""
    rig = rigs.SenderRig()
    rig.sender.restore([], [(TOPIC, 1)])
    rig.routes(B)
    rig.ship()

    def page(first: int) -> None:
        items = [
            rig.item(rigs.Kind.COMMAND, number=seq, pin=A.inbox, in_doubt=True)
            for seq in range(first, first + 3)
        ]
        rig.sender.loaded(TOPIC, items, more=True)

    page(1)
    assert rig.wait(GRACE - 1) == []
    assert len(rig.wait(2.0)) == 3
    page(4)
    assert len(rig.ship()) == 3


def test_nobody_is_lost_while_nobody_can_be_reached(rig: rigs.SenderRig) -> None:
    """It is this side that is cut off, for hours, and the consumer may well have the entry."""
    entry = rig.command()
    rig.ship()
    rig.endpoint_down()
    assert rig.wait(10 * GRACE) == []
    rig.routes(B)
    assert rig.wait(GRACE - 1) == [], "now it may be about to come back"
    rig.routes(A, B)
    assert [(each.number, each.to) for each in rig.ship()] == [(entry.number, A.peer)]


def test_a_cut_on_this_side_ends_the_grace_that_has_begun(rig: rigs.SenderRig) -> None:
    entry = rig.command()
    rig.ship()
    rig.routes(B)
    rig.refused(rigs.Refusal.BUSY, entry)
    rig.wait(GRACE - 1)
    rig.endpoint_down()
    rig.wait(3 * GRACE)
    rig.routes(B)
    assert rig.wait(GRACE - 1) == [], "everybody may be about to come back"
    assert len(rig.wait(2.0)) == 1


def test_an_entry_pinned_but_never_shipped_goes_elsewhere_at_once(rig: rigs.SenderRig) -> None:
    rig.record("g", pin=C.inbox, bound=True)
    assert [each.to for each in rig.ship()] == [A.peer]


def test_an_entry_that_an_earlier_life_may_have_shipped_waits_for_its_inbox() -> None:
    rig = rigs.SenderRig()
    rig.sender.restore([], [(TOPIC, 1)])
    rig.routes(B)
    rig.ship()
    pinned = rig.item(rigs.Kind.COMMAND, number=1, pin=A.inbox, in_doubt=True)
    unpinned = rig.item(rigs.Kind.COMMAND, number=2, in_doubt=True)
    rig.sender.loaded(TOPIC, [pinned, unpinned], more=False)
    assert [each.number for each in rig.ship()] == [2], "what has no pin was never shipped"
    rig.refused(rigs.Refusal.NO_ROUTE, unpinned)
    rig.routes(A)
    assert {each.number for each in rig.ship()} == {1, 2}


# Refusals


@pytest.mark.parametrize("code", [rigs.Refusal.NO_ROUTE, rigs.Refusal.NOT_LISTENING])
def test_a_refused_first_attempt_goes_to_another_consumer(
    rig: rigs.SenderRig, code: rigs.Refusal
) -> None:
    entry = rig.record("g")
    rig.ship()
    rig.routes(B)
    rig.refused(code, entry)
    assert [(each.number, each.to) for each in rig.ship()] == [(entry.number, B.peer)]


def test_a_refused_second_attempt_proves_nothing(rig: rigs.SenderRig) -> None:
    """The first one may have arrived, and only that consumer can tell."""
    entry = rig.command()
    rig.ship()
    rig.endpoint_down()
    rig.routes(A, B)
    rig.ship()
    rig.refused(rigs.Refusal.NO_ROUTE, entry)
    assert [each.to for each in rig.wait(0.5)] == [A.peer]


def test_a_late_refusal_proves_nothing_after_the_grace(rig: rigs.SenderRig) -> None:
    """It speaks of a copy for the consumer that was given up, not of the one in flight."""
    entry = rig.command()
    rig.ship()
    rig.routes(B, C)
    rig.refused(rigs.Refusal.BUSY, entry)
    (moved,) = rig.wait(GRACE + 0.5)
    rig.refused(rigs.Refusal.NO_ROUTE, entry)
    assert {each.to for each in rig.wait(1.0)} == {moved.to}


def test_a_busy_consumer_keeps_an_entry_and_loses_a_call(rig: rigs.SenderRig) -> None:
    entry, call = rig.command(), rig.call()
    assert [each.to for each in rig.ship()] == [B.peer, A.peer]
    rig.refused(rigs.Refusal.BUSY, entry, call)
    assert rig.ship() == [], "not at once"
    assert {(each.kind, each.to) for each in rig.wait(0.3)} == {
        (rigs.Kind.COMMAND, A.peer),
        (rigs.Kind.REQUEST, A.peer),
    }


def test_a_refusal_of_what_is_not_in_flight_changes_nothing(rig: rigs.SenderRig) -> None:
    entry = rig.command()
    rig.full.add("e1")
    rig.ship()
    rig.refused(rigs.Refusal.NO_ROUTE, entry)
    rig.sender.refused(rigs.Kind.RECORD, [99], rigs.Refusal.NO_ROUTE)
    rig.full.clear()
    assert [each.to for each in rig.wait(0.3)] == [A.peer]


def test_a_fenced_sender_ships_nothing_more(rig: rigs.SenderRig) -> None:
    entry = rig.command()
    rig.ship()
    rig.refused(rigs.Refusal.FENCED, entry)
    rig.command()
    assert rig.wait(30.0) == []
    assert rig.was_fenced
    assert not rig.sender.unfinished(), "nothing can be settled from here any more"
