# SPDX-License-Identifier: Apache-2.0
"""Calls: kept in memory, made once, or again where that does no harm."""

import pytest

from nova_edge_bus.delivery import choice
from tests.unit.delivery import rigs
from tests.unit.delivery.rigs import GRACE
from tests.unit.delivery.rigs import TOPIC
from tests.unit.delivery.rigs import A
from tests.unit.delivery.rigs import B


@pytest.fixture
def rig() -> rigs.SenderRig:
    made = rigs.SenderRig()
    made.routes(A, B)
    return made


def test_a_call_that_may_not_be_repeated_is_left_to_a_lost_consumer(
    rig: rigs.SenderRig,
) -> None:
    rig.call()
    rig.ship()
    rig.routes(B)
    assert rig.wait(3 * GRACE) == []
    rig.routes(A, B)
    assert [each.to for each in rig.ship()] == [A.peer], "it alone knows whether it had it"


def test_a_repeatable_call_does_not_wait_for_the_grace(rig: rigs.SenderRig) -> None:
    rig.call(repeatable=True)
    rig.ship()
    rig.endpoint_down()
    rig.routes(B)
    assert rig.wait(choice.REPEAT_AFTER - 0.25) == [], "the consumer may be about to come back"
    assert [each.to for each in rig.wait(0.5)] == [B.peer]


def test_a_repeatable_call_of_a_process_that_has_ended_is_made_again(
    rig: rigs.SenderRig,
) -> None:
    rig.call(repeatable=True)
    rig.ship()
    rig.routes(rigs.consumer("a2", inbox="a"), B)
    assert len(rig.ship()) == 1


def test_a_repeatable_call_goes_to_another_consumer_whenever_it_is_refused(
    rig: rigs.SenderRig,
) -> None:
    call = rig.call(repeatable=True)
    rig.ship()
    rig.endpoint_down()
    rig.routes(A, B)
    rig.ship()
    rig.routes(B)
    rig.refused(rigs.Refusal.NO_ROUTE, call)
    assert [each.to for each in rig.ship()] == [B.peer]


def test_a_call_without_room_keeps_its_turn(rig: rigs.SenderRig) -> None:
    rig.full.add("e1")
    rig.call()
    rig.wait(1.25)
    rig.full.clear()
    assert [each.to for each in rig.wait(0.3)] == [A.peer]
    rig.call()
    assert [each.to for each in rig.ship()] == [B.peer]


def test_a_mandatory_call_fails_when_nobody_takes_it() -> None:
    rig = rigs.SenderRig()
    rig.directory.expect("e1", True)
    call = rig.call(mandatory=True)
    assert rig.wait(1.0) == []
    assert rig.hopeless == [], "no endpoint has answered yet"
    assert rig.lookups.count(TOPIC) > 0
    rig.routes()
    rig.ship()
    assert rig.hopeless == [call]
    assert rig.sender.depth() == 0


def test_a_mandatory_call_that_was_shipped_is_not_called_undeliverable(
    rig: rigs.SenderRig,
) -> None:
    rig.call(mandatory=True)
    rig.ship()
    rig.routes()
    rig.wait(3 * GRACE)
    assert rig.hopeless == []


def test_a_call_that_is_not_mandatory_waits_for_a_consumer() -> None:
    rig = rigs.SenderRig()
    rig.routes()
    rig.call()
    assert rig.wait(2.0) == []
    rig.routes(A)
    assert len(rig.ship()) == 1


def test_an_answer_comes_once_and_to_the_right_call(rig: rigs.SenderRig) -> None:
    first, second = rig.call(), rig.call()
    rig.ship()
    rig.applied(second)
    rig.applied(second, first)
    assert [item for item, _, _ in rig.answers] == [second, first]
    assert rig.sender.depth() == 0


def test_a_heartbeat_is_passed_on_to_the_caller(rig: rigs.SenderRig) -> None:
    call = rig.call(monitor=2.0)
    assert rig.ship()[0].monitor == 2000
    rig.sender.holding(rigs.Kind.REQUEST, [call.call_number], rig.now, monitor=True)
    assert rig.heartbeats == [call]


def test_a_call_says_how_much_time_is_left(rig: rigs.SenderRig) -> None:
    rig.call(expires=rig.now + 1.5)
    rig.call(expires=rig.now - 1.0)
    assert [each.remaining for each in rig.ship()] == [1500, 1]


def test_a_call_goes_out_although_the_one_before_it_was_given_up(rig: rigs.SenderRig) -> None:
    """Their stream is forgotten in between, and another one has its place."""
    given_up = rig.call()
    rig.sender.cancel(given_up.number)
    call = rig.call()
    assert [each.number for each in rig.ship()] == [call.call_number]
    rig.applied(call)
    assert rig.sender.depth() == 0
    rig.routes()
    given_up = rig.call()
    rig.sender.cancel(given_up.number)
    call = rig.call()
    assert rig.ship() == []
    rig.routes(A, B)
    assert [each.number for each in rig.ship()] == [call.call_number]
