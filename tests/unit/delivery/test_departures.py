# SPDX-License-Identifier: Apache-2.0
"""A consumer that has left, as all endpoints say, does not hold up the records that it had."""

import pytest

from nova_edge_bus.delivery import choice
from nova_edge_bus.delivery import departures
from tests.unit.delivery import rigs
from tests.unit.delivery.rigs import ACK_TIMEOUT
from tests.unit.delivery.rigs import GRACE
from tests.unit.delivery.rigs import TOPIC
from tests.unit.delivery.rigs import A
from tests.unit.delivery.rigs import B

SOON = choice.REPEAT_AFTER + 0.5
assert SOON < GRACE


@pytest.fixture
def rig() -> rigs.SenderRig:
    made = rigs.SenderRig()
    made.link("e1", "e2")
    for endpoint in ("e1", "e2"):
        made.routes(A, B, endpoint=endpoint)
    return made


def cut(rig: rigs.SenderRig) -> None:
    """What was in flight is not, and may have arrived."""
    for endpoint in ("e1", "e2"):
        rig.endpoint_down(endpoint)


def shipped_soon(rig: rigs.SenderRig) -> list[bytes]:
    return [each.to for each in rig.wait(SOON)]


def test_a_group_goes_on_soon_when_its_consumer_left_during_a_cut(rig: rigs.SenderRig) -> None:
    entries = [rig.record("g") for _ in range(3)]
    assert {each.to for each in rig.ship()} == {A.peer}
    cut(rig)
    rig.wait(3600.0)
    rig.link("e1", "e2")
    rig.routes(B, endpoint="e1")
    rig.routes(B, endpoint="e2")
    moved = rig.wait(SOON)
    assert [(each.number, each.to) for each in moved] == [
        (each.number, B.peer) for each in entries
    ]
    assert [each.after for each in moved] == [0, entries[0].number, entries[1].number]


def test_what_it_had_in_flight_goes_on_soon_after_it_went_unanswered(rig: rigs.SenderRig) -> None:
    rig.record("g")
    rig.ship()
    rig.routes(B, endpoint="e1")
    rig.routes(B, endpoint="e2")
    assert rig.wait(ACK_TIMEOUT - 0.5) == [], "it may be finishing what it has"
    assert [each.to for each in rig.wait(0.75 + SOON)] == [B.peer]


def test_a_command_waits_for_the_inbox_that_may_have_it(rig: rigs.SenderRig) -> None:
    rig.command("g")
    rig.ship()
    cut(rig)
    rig.link("e1", "e2")
    rig.routes(B, endpoint="e1")
    rig.routes(B, endpoint="e2")
    assert rig.wait(GRACE - 1) == []


@pytest.mark.parametrize("silence", ["not linked", "has not answered", "started again", "listing"])
def test_one_endpoint_alone_proves_nothing(rig: rigs.SenderRig, silence: str) -> None:
    rig.record("g")
    rig.ship()
    cut(rig)
    rig.link("e1")
    rig.routes(B, endpoint="e1")
    if silence == "has not answered":
        rig.link("e2")
    elif silence == "started again":
        rig.link("e2", life=b"second")
        rig.routes(B, endpoint="e2")
    elif silence == "listing":
        rig.link("e2")
        rig.routes(A, B, endpoint="e2")
    expected = [A.peer] if silence == "listing" else []
    assert shipped_soon(rig) == expected


def test_a_consumer_that_is_back_at_once_gets_it_again(rig: rigs.SenderRig) -> None:
    rig.record("g")
    rig.ship()
    cut(rig)
    rig.link("e1", "e2")
    rig.routes(B, endpoint="e1")
    rig.routes(B, endpoint="e2")
    rig.wait(choice.REPEAT_AFTER / 2)
    again = rigs.consumer("a2", inbox="a")
    rig.routes(again, B, endpoint="e1")
    assert [each.to for each in rig.ship()] == [again.peer]


def test_what_is_remembered_is_bounded() -> None:
    known = departures.Departures()
    known.linked("e", b"life")
    inboxes = [bytes([number % 256, number // 256]) for number in range(1000)]
    for inbox in inboxes:
        known.listed("e", TOPIC, [A._replace(inbox=inbox)])
    remembered = [inbox for inbox in inboxes if known.has_listed("e", TOPIC, inbox)]
    assert remembered == inboxes[-departures.MOST_INBOXES :]
