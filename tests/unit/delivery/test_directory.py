# SPDX-License-Identifier: Apache-2.0
"""Consumers, turns and the groups that stay with one consumer."""

from nova_edge_bus.delivery import directory
from tests.unit.delivery import rigs
from tests.unit.delivery.rigs import TOPIC
from tests.unit.delivery.rigs import A
from tests.unit.delivery.rigs import B
from tests.unit.delivery.rigs import C


def known(*consumers: object) -> directory.Directory:
    made = directory.Directory()
    made.update("e1", TOPIC, consumers)  # type: ignore[arg-type]
    return made


def test_consumers_take_strict_turns() -> None:
    made = known(A, B, C)
    assert [made.pick(TOPIC) for _ in range(6)] == [A, B, C, A, B, C]


def test_each_address_and_pool_has_its_own_turns() -> None:
    audit = [rigs.consumer("x", pool="audit"), rigs.consumer("y", pool="audit")]
    made = known(A, B, *audit)
    made.update("e1", "v/e/other", [A, B])
    picks = [made.pick(TOPIC), made.pick("v/e/other"), made.pick(TOPIC, pool="audit")]
    assert picks == [A, A, audit[0]]
    assert [made.pick(TOPIC), made.pick(TOPIC, pool="audit")] == [B, audit[1]]


def test_a_consumer_behind_two_endpoints_has_one_turn() -> None:
    made = known(A, B)
    made.update("e2", TOPIC, [B, A])
    assert made.consumers(TOPIC) == [A, B]
    assert made.endpoints_to(TOPIC, B.peer) == ["e1", "e2"]


def test_a_consumer_stays_while_one_endpoint_still_reaches_it() -> None:
    made = known(A)
    made.update("e2", TOPIC, [A, B])
    made.forget_endpoint("e1")
    assert made.consumers(TOPIC) == [A, B]
    assert made.endpoints_to(TOPIC, A.peer) == ["e2"]
    made.update("e2", TOPIC, [B])
    assert made.by_inbox(TOPIC, A.inbox) is None
    assert made.by_peer(TOPIC, B.peer) == B


def test_nobody_is_picked_where_nobody_takes_the_address() -> None:
    made = known()
    assert made.pick(TOPIC, "g") is None
    assert made.pick("v/e/other") is None
    made.update("e1", TOPIC, [A, B])
    assert made.pick(TOPIC, "g") == A, "the pick of nobody bound nothing"


def test_an_address_is_answered_when_every_expected_endpoint_has_spoken() -> None:
    made = directory.Directory()
    made.expect("e1", True)
    made.expect("e2", True)
    assert not made.answered(TOPIC)
    made.update("e1", TOPIC, [])
    assert not made.answered(TOPIC)
    made.expect("e2", False)
    assert made.answered(TOPIC)
    made.forget_endpoint("e1")
    assert not made.answered(TOPIC)


def test_a_group_stays_with_its_consumer_while_any_of_it_is_in_flight() -> None:
    made = known(A, B)
    assert [made.pick(TOPIC, "g"), made.pick(TOPIC, "g")] == [A, A]
    assert made.pick(TOPIC, "h") == B, "another group takes the next turn"
    made.release(TOPIC, "g")
    assert made.pick(TOPIC, "g") == A
    made.release(TOPIC, "g")
    made.release(TOPIC, "g")
    made.pick(TOPIC)
    assert made.pick(TOPIC, "g") == B, "the group is free again and takes the next turn"


def test_a_group_does_not_take_a_turn_from_others() -> None:
    made = known(A, B)
    made.pick(TOPIC, "g")
    made.pick(TOPIC, "g")
    assert [made.pick(TOPIC), made.pick(TOPIC)] == [B, A]


def test_a_group_follows_its_inbox_into_a_new_process() -> None:
    made = known(A, B)
    assert made.pick(TOPIC, "g") == A
    again = rigs.consumer("a2", inbox="a")
    made.update("e1", TOPIC, [B, again])
    assert made.pick(TOPIC, "g") == again


def test_a_group_moves_when_its_consumer_is_gone() -> None:
    made = known(A, B)
    assert made.pick(TOPIC, "g") == A
    made.update("e1", TOPIC, [B, C])
    first = made.pick(TOPIC, "g")
    assert first in (B, C)
    assert made.pick(TOPIC, "g") == first
    for _ in range(3):
        made.release(TOPIC, "g")
    assert made.pick(TOPIC) != made.pick(TOPIC, "g"), "free again, it takes the next turn"


def test_the_pools_of_an_address_are_bound_apart() -> None:
    audit = rigs.consumer("x", pool="audit")
    made = known(A, B, audit)
    assert made.pick(TOPIC, "g") == A
    assert made.pick(TOPIC, "g", "audit") == audit
    made.release(TOPIC, "g", "audit")
    assert made.pick(TOPIC, "g") == A
    assert made.pools(TOPIC) == {"audit"}


def test_the_local_way_is_preferred_and_our_own_listener_is_the_newest() -> None:
    """An endpoint may still list the last life of this process under the same name."""
    made = known(B, A)
    made.update(directory.LOCAL, TOPIC, [B])
    assert made.is_local(TOPIC)
    assert made.consumers(TOPIC) == [A, B]
    assert made.endpoints_to(TOPIC, B.peer) == [directory.LOCAL, "e1"]
    made.update(directory.LOCAL, TOPIC, [])
    assert not made.is_local(TOPIC)
    assert made.endpoints_to(TOPIC, B.peer) == ["e1"]


def test_an_address_that_is_forgotten_has_to_be_asked_for_again() -> None:
    made = known(A, B)
    made.update(directory.LOCAL, rigs.SERVER, [C])
    made.update("e1", rigs.SERVER, [A])
    for address in (TOPIC, rigs.SERVER):
        made.forget_address(address)
    assert (made.consumers(TOPIC), made.answered(TOPIC)) == ([], False)
    assert made.consumers(rigs.SERVER) == [C], "what is local stays"


def test_it_is_known_where_anything_was_to_go() -> None:
    made = known(A)
    made.reaches(TOPIC)
    assert made.take_used() == set()
    made.pick(TOPIC)
    made.consumers("v/e/other")
    assert made.take_used() == {TOPIC, "v/e/other"}
    assert made.take_used() == set()
