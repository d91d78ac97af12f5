# SPDX-License-Identifier: Apache-2.0
"""How a sender asks for credit for its backlog, and what it ships with it."""

import collections
import sys

import pytest

from nova_edge_bus.delivery import permits
from nova_edge_bus.delivery import streams
from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import messages
from tests.unit.delivery import rigs
from tests.unit.delivery.rigs import TOPIC

A = rigs.consumer("a", admits=True)
B = rigs.consumer("b", admits=True)
FRANK = rigs.consumer("f")
OTHERS = [rigs.consumer(name, admits=True) for name in "cdefgh"]


@pytest.fixture
def rig() -> rigs.SenderRig:
    return rigs.SenderRig()


def numbers(shipped: list[messages.Deliver]) -> list[int]:
    return [message.number for message in shipped]


def gives_back(rig: rigs.SenderRig) -> dict[bytes, int]:
    """What has been given back to each peer since this was last asked for."""
    questions, rig.questions = rig.questions, []
    given: collections.Counter[bytes] = collections.Counter()
    for _, message in questions:
        given[message.to] += message.unused
    return {peer: entries for peer, entries in given.items() if entries}


def cut_off(rig: rigs.SenderRig, count: int, groups: int = 100) -> None:
    """So many records are written while nobody takes them."""
    rig.ship()
    for number in range(count):
        rig.record(f"g{number % groups}")
    assert rig.wait(streams.BACKLOG_AFTER + 0.5) == []


def test_a_backlog_waits_for_credit_and_what_is_of_now_does_not(rig: rigs.SenderRig) -> None:
    cut_off(rig, 5)
    rig.routes(A)
    assert rig.ship() == []
    assert rig.asked() == {A.peer: 5}
    live = rig.record("live")
    assert numbers(rig.ship()) == [live.number]
    call = rig.call()
    assert numbers(rig.ship()) == [call.call_number]
    rig.grant(A, 2)
    assert numbers(rig.ship()) == [1, 2]
    rig.grant(A, 3)
    assert numbers(rig.ship()) == [3, 4, 5]


def test_the_question_tells_a_backlog_by_its_highest_seq(rig: rigs.SenderRig) -> None:
    cut_off(rig, 5)
    rig.routes(A)
    rig.ship()
    rig.record()
    (question,) = [message for _, message in rig.questions]
    assert (question.through, question.address, question.outbox) == (5, TOPIC, rigs.OUTBOX)


def test_what_an_earlier_life_left_is_backlog(rig: rigs.SenderRig) -> None:
    rig.sender.restore([(3, "g"), (4, "g")], [(TOPIC, 3)])
    rig.routes(A)
    left = [rig.item(rigs.Kind.RECORD, "g", number=number) for number in (3, 4)]
    rig.ship()
    rig.sender.loaded(TOPIC, left, more=False)
    assert rig.ship() == []
    assert rig.asked() == {A.peer: 2}
    later = rig.record("other", number=5)
    assert numbers(rig.ship()) == [later.number]
    (question,) = [message for _, message in rig.questions]
    assert question.through == 4


def test_what_is_written_while_a_peer_catches_up_is_backlog(rig: rigs.SenderRig) -> None:
    rig.routes(A)
    rig.sender.hold_back(until_all_is_done=True)
    rig.record()
    assert rig.ship() == []
    assert rig.asked() == {A.peer: 1}


def test_what_waits_for_a_moment_until_it_is_known_who_takes_it_is_no_backlog(
    rig: rigs.SenderRig,
) -> None:
    for _ in range(3):
        rig.record()
    rig.wait(streams.BACKLOG_AFTER / 2)
    rig.routes(A)
    assert numbers(rig.ship()) == [1, 2, 3]


def test_each_is_asked_for_all_and_what_comes_is_spread(rig: rigs.SenderRig) -> None:
    cut_off(rig, 60)
    takers = [A, B, OTHERS[0]]
    rig.routes(*takers)
    rig.ship()
    assert rig.asked() == {taker.peer: 60 for taker in takers}
    for taker in takers:
        rig.grant(taker, 20)
        rig.ship()
    assert collections.Counter(message.to for _, message in rig.shipped) == {
        taker.peer: 20 for taker in takers
    }


def test_one_that_does_not_admit_gets_all_as_before(rig: rigs.SenderRig) -> None:
    cut_off(rig, 5)
    rig.routes(FRANK)
    assert numbers(rig.ship()) == [1, 2, 3, 4, 5]
    assert rig.asked() == {}


def test_what_another_was_shipped_before_the_link_was_lost_asks_again(
    rig: rigs.SenderRig,
) -> None:
    """The whole fleet has such when an endpoint comes back."""
    rig.routes(A)
    first = rig.record("g")
    assert numbers(rig.ship()) == [first.number]
    rig.endpoint_down()
    rig.wait(streams.BACKLOG_AFTER + 0.5)
    rig.routes(A)
    assert rig.ship() == []
    assert rig.asked() == {A.peer: 1}
    rig.grant(A, 1)
    assert numbers(rig.ship()) == [first.number]


def test_only_some_consumers_are_asked_for_what_may_go_to_any(rig: rigs.SenderRig) -> None:
    cut_off(rig, 5)
    rig.routes(A, B, *OTHERS)
    rig.ship()
    assert len(rig.asked()) == permits.ASKED_CONSUMERS


def test_entries_go_to_those_who_grant(rig: rigs.SenderRig) -> None:
    cut_off(rig, 5)
    rig.routes(A, B)
    rig.ship()
    rig.grant(B, 3)
    assert [message.to for message in rig.ship()] == 3 * [B.peer]


def test_a_group_stays_with_its_consumer_and_in_order(rig: rigs.SenderRig) -> None:
    cut_off(rig, 5, groups=1)
    rig.routes(A, B)
    rig.ship()
    assert rig.asked() == {A.peer: 5, B.peer: 5}, "all can follow the first"
    rig.grant(A, 2)
    assert [(each.number, each.after) for each in rig.ship()] == [(1, 0), (2, 1)]
    assert rig.asked() == {B.peer: 0}, "and nothing is wanted elsewhere now"
    rig.grant(A, 3)
    assert [(each.number, each.after) for each in rig.ship()] == [(3, 2), (4, 3), (5, 4)]
    assert {message.to for _, message in rig.shipped} == {A.peer}


def test_a_notification_does_not_pass_those_that_wait_for_credit(rig: rigs.SenderRig) -> None:
    for _ in range(2):
        rig.command(expires=1e9)
    rig.wait(streams.BACKLOG_AFTER + 0.5)
    rig.routes(A)
    rig.ship()
    rig.command(expires=1e9)
    assert rig.ship() == []
    rig.grant(A, 2)
    assert numbers(rig.ship()) == [1, 2]
    rig.command(expires=1e9)
    assert rig.ship() == []
    rig.grant(A, 9)
    assert numbers(rig.ship()) == [3, 4]


def test_what_cannot_be_used_is_given_back(rig: rigs.SenderRig) -> None:
    cut_off(rig, 2)
    rig.routes(A, B)
    rig.ship()
    rig.asked()
    rig.grant(A, 2)
    assert numbers(rig.ship()) == [1, 2]
    assert rig.asked() == {B.peer: 0}


def test_what_comes_too_late_is_given_back(rig: rigs.SenderRig) -> None:
    """Each consumer is asked, and the first to grant has all."""
    cut_off(rig, 2)
    rig.routes(A, B)
    rig.ship()
    rig.grant(A, 2)
    first = rig.ship()
    rig.asked()
    rig.grant(B, 2)
    rig.ship()
    assert gives_back(rig) == {B.peer: 2}
    rig.applied(*(rig.sender._backlog.find(each.kind, each.number) for each in first))
    rig.durable()
    rig.grant(B, 3)
    rig.ship()
    assert gives_back(rig) == {B.peer: 3}, "also when nothing is left of the stream"


def test_a_consumer_that_grants_too_much_does_no_harm(rig: rigs.SenderRig) -> None:
    cut_off(rig, 2)
    rig.routes(A)
    rig.ship()
    rig.questions.clear()
    for _ in range(2):
        rig.grant(A, sys.maxsize)
    assert numbers(rig.ship()) == [1, 2]
    for _, question in rig.questions:
        assert codec.Codec().decode(codec.Codec().encode([question])) == [question]


def test_what_is_granted_and_cannot_be_used_now_is_given_back_at_once(
    rig: rigs.SenderRig,
) -> None:
    cut_off(rig, 6, groups=2)
    rig.routes(A, B)
    rig.ship()
    rig.grant(A, 1)
    rig.ship()
    rig.questions.clear()
    rig.grant(B, 6)
    assert numbers(rig.ship()) == [2, 4, 6], "the other group is with A"
    assert gives_back(rig) == {B.peer: 3}


def test_more_is_asked_for_when_all_that_was_asked_for_has_come(rig: rigs.SenderRig) -> None:
    cut_off(rig, 2)
    rig.routes(A)
    rig.ship()
    rig.sender.hold_back(until_all_is_done=True)
    rig.asked()
    for _ in range(3):
        rig.record("more")
    rig.grant(A, 2)
    assert numbers(rig.ship()) == [1, 2]
    assert rig.asked() == {A.peer: 3}


def test_who_waits_in_line_is_not_taken_for_cut_off(rig: rigs.SenderRig) -> None:
    cut_off(rig, 2)
    rig.routes(A)
    rig.ship()
    rig.grant(A, 0, patience=60.0)
    assert rig.heard_from == [TOPIC]
    rig.asked()
    rig.wait(59.0)
    assert (rig.unheard, rig.asked()) == ([], {})
    rig.wait(2.0)
    assert rig.asked() == {A.peer: 2}, "it asks again when the time is over"


def test_a_consumer_that_does_not_answer_is_suspected_and_asked_again(
    rig: rigs.SenderRig,
) -> None:
    cut_off(rig, 2)
    rig.routes(A)
    rig.routes(A, endpoint="e2")
    rig.ship()
    ((first, _),) = rig.questions
    rig.wait(rigs.ACK_TIMEOUT + 0.5)
    assert set(rig.unheard) == {TOPIC}
    assert [endpoint for endpoint, _ in rig.questions[1:]] == [{"e1": "e2", "e2": "e1"}[first]]


def test_a_lost_endpoint_takes_the_question_along(rig: rigs.SenderRig) -> None:
    cut_off(rig, 2)
    rig.routes(A)
    rig.routes(A, endpoint="e2")
    rig.ship()
    ((first, _),) = rig.questions
    rig.questions.clear()
    rig.endpoint_down(str(first))
    rig.sender.routes_changed(TOPIC)
    rig.ship()
    assert rig.asked() == {A.peer: 2}


def test_one_that_leaves_takes_its_permits_along(rig: rigs.SenderRig) -> None:
    cut_off(rig, 2)
    rig.routes(A)
    rig.ship()
    rig.grant(A, 2)
    rig.routes(B)
    rig.asked()
    assert rig.ship() == []
    assert rig.asked() == {B.peer: 2}


def test_one_that_leaves_leaves_nobody_in_its_line(rig: rigs.SenderRig) -> None:
    cut_off(rig, 2)
    rig.routes(A)
    rig.ship()
    rig.grant(A, 0, patience=600.0)
    rig.asked()
    rig.routes(B)
    rig.ship()
    assert rig.asked() == {B.peer: 2}


def test_an_entry_is_bound_to_its_consumer_only_when_that_lets_it_come(
    rig: rigs.SenderRig,
) -> None:
    """What is bound may have been shipped, for all that a next life knows."""
    rig.auto_pin = False
    cut_off(rig, 3)
    rig.routes(A, B)
    rig.ship()
    assert rig.pins == []
    rig.grant(A, 1)
    rig.ship()
    assert rig.pins == [(1, A.inbox)]
    rig.sender.pinned(rig.pins)
    assert numbers(rig.ship()) == [1]


@pytest.mark.parametrize("heir", ["a", "b"])
def test_a_permit_of_a_process_that_has_ended_is_worth_nothing(
    rig: rigs.SenderRig, heir: str
) -> None:
    rig.auto_pin = False
    cut_off(rig, 1)
    rig.routes(A)
    rig.ship()
    rig.grant(A, 1)
    rig.ship()
    rig.asked()
    successor = rigs.consumer("new", inbox=heir, admits=True)
    rig.routes(successor)
    rig.sender.pinned([(1, A.inbox)])
    rig.wait(rigs.GRACE + 1)
    assert rig.asked() == {successor.peer: 1}
    rig.grant(successor, 1)
    rig.auto_pin = True
    assert [message.to for message in rig.ship()] == [successor.peer]


def test_what_goes_to_one_server_waits_for_its_credit(rig: rigs.SenderRig) -> None:
    for _ in range(3):
        rig.command("g", key=rigs.SERVER)
    rig.wait(streams.BACKLOG_AFTER + 0.5)
    rig.routes(A, address=rigs.SERVER)
    assert rig.ship() == []
    assert rig.asked() == {A.peer: 3}
    rig.grant(A, 2, key=rigs.SERVER)
    assert numbers(rig.ship()) == [1, 2]
