# SPDX-License-Identifier: Apache-2.0
"""The router knows who is at the other end of a connection, and lets nobody speak for another."""

from __future__ import annotations

from typing import Any

import pytest

from nova_edge_bus.protocol import entrance
from nova_edge_bus.protocol import identity
from nova_edge_bus.protocol import messages
from tests.unit.protocol import fleet

COMPUTE = identity.Role.COMPUTE
BODY = b"body"


def visitor(host: str, role: identity.Role = COMPUTE, **fields: Any) -> identity.Visitor:
    who = identity.Identity(host, role)
    return identity.Visitor(who, f"key-of-{host}", "192.0.2.7", b"")._replace(**fields)


def compute(world: fleet.Fleet, host: str, **fields: Any) -> fleet.Peer:
    fields.setdefault("visitor", visitor(host))
    return world.join(host, **{"service": "nova-compute", **fields})


def conductor(world: fleet.Fleet, host: str) -> fleet.Peer:
    who = visitor(host, identity.Role.CONDUCTOR)
    return world.join(host, visitor=who, service="nova-conductor")


def delivery(to: fleet.Peer, **fields: Any) -> messages.Deliver:
    return messages.Deliver(
        to.id, 1, None, None, 1, 2, 1, 0, 0, "", "v/nova/conductor", 0, 0, BODY
    )._replace(**fields)


def test_the_receiver_is_told_who_sends() -> None:
    world = fleet.Fleet()
    edge, centre = compute(world, "edge-1"), conductor(world, "c-1")
    edge.session.queue(delivery(centre))
    edge.session.queue(delivery(centre, identity="compute:edge-2", reply_to=edge.id, number=2))
    edge.session.queue(delivery(centre, identity="centre:edge-1", outbox=b"o-edge-1", number=3))
    world.settle()
    assert [each.identity for each in centre.of(messages.Deliver)] == ["compute:edge-1"] * 3


def test_where_nobody_is_known_nobody_is_named() -> None:
    world = fleet.Fleet()
    edge, centre = world.join("edge-1"), world.join("c-1")
    edge.session.queue(delivery(centre, identity="compute:edge-2", reply_to=edge.id))
    world.settle()
    assert [each.identity for each in centre.of(messages.Deliver)] == [""]


@pytest.mark.parametrize(
    "answer",
    [
        messages.Accept(b"", b"o-b     ", [[1, 3]]),
        messages.Reply(b"", b"o-b     ", 2, 1, 0, b"result"),
        messages.Holding(b"", b"o-b     ", 2, [1, 2], False),
        messages.Refuse(b"", b"o-b     ", 2, [1], messages.Refusal.FENCED, "gone"),
    ],
)
def test_the_sender_is_told_who_answers(answer: Any) -> None:
    world = fleet.Fleet()
    thief, victim = compute(world, "edge-1"), compute(world, "edge-2")
    thief.session.queue(answer._replace(to=victim.id, sender=b"p-c-1"))
    world.settle()
    assert [each.sender for each in victim.inbox] == [thief.id]


@pytest.mark.parametrize("former", ["here", "gone"])
def test_an_outbox_belongs_to_the_host_that_it_was_first_heard_of_from(former: str) -> None:
    """Also while that host is cut off."""
    world = fleet.Fleet()
    owner, centre = compute(world, "edge-1"), conductor(world, "c-1")
    if former == "gone":
        owner.session.close("over")
        world.settle()
        assert world.closed
    heir = compute(world, "edge-2", outbox=owner.session.hello.outbox, epoch=99)
    assert heir.session.rejection == messages.Rejection.IDENTITY
    thief = compute(world, "edge-2")
    thief.session.queue(delivery(centre, outbox=owner.session.hello.outbox, epoch=99))
    world.settle()
    assert centre.of(messages.Deliver) == []
    assert "outbox 6f2d656467652d31 is not of its host" in thief.session.reason
    assert {text for text, _ in world.refused} == {"key key-of-edge-2 (compute:edge-2)"}


def test_nor_can_credit_be_asked_for_it() -> None:
    world = fleet.Fleet()
    owner, centre = compute(world, "edge-1"), conductor(world, "c-1")
    thief = compute(world, "edge-2")
    outbox = owner.session.hello.outbox
    thief.session.queue(messages.Want(centre.id, None, outbox, "v/nova/conductor", 9, 5))
    world.settle()
    assert (centre.of(messages.Want), thief.session.closed) == ([], True)


def test_a_host_ships_what_a_dead_process_of_it_has_left() -> None:
    world = fleet.Fleet()
    dead, centre = compute(world, "edge-1"), conductor(world, "c-1")
    dead.session.close("over")
    world.settle()
    heir = compute(world, "edge-1", peer=b"p-heir  ", outbox=b"o-heir  ")
    left = [dead.session.hello.outbox, b"o-older "]
    for number, outbox in enumerate(left):
        heir.session.queue(delivery(centre, outbox=outbox, number=number))
    world.settle()
    assert [each.outbox for each in centre.of(messages.Deliver)] == left


def test_the_centre_ships_what_any_host_has_left_and_takes_nothing_for_its_own() -> None:
    """A host that was taken for dead is admitted when it comes back."""
    world = fleet.Fleet()
    dead, conducting = compute(world, "edge-1"), conductor(world, "c-1")
    known = dead.session.hello.outbox
    dead.session.close("over")
    world.settle()
    operator = world.join(
        "c-2", visitor=visitor("c-2", identity.Role.CENTRE), service="nova-edge-bus"
    )
    for number, outbox in enumerate((known, b"o-other ")):
        operator.session.queue(delivery(conducting, outbox=outbox, number=number))
    world.settle()
    assert [each.outbox for each in conducting.of(messages.Deliver)] == [known, b"o-other "]
    for host, outbox in (("edge-1", known), ("edge-2", b"o-other ")):
        back = compute(world, host, peer=b"p-" + host.encode(), outbox=outbox)
        assert back.session.rejection is None
    assert world.refused == []


def test_nobody_has_the_outbox_of_another_for_his_session_not_even_the_centre() -> None:
    world = fleet.Fleet()
    owner = compute(world, "edge-1")
    who = visitor("c-2", identity.Role.CENTRE)
    outbox = owner.session.hello.outbox
    thief = world.join("c-2", visitor=who, service="nova-edge-bus", outbox=outbox, epoch=99)
    assert thief.session.rejection == messages.Rejection.IDENTITY


def test_the_same_peer_comes_back_and_nobody_else_does() -> None:
    world = fleet.Fleet()
    owner = compute(world, "edge-1")
    taken = {"peer": owner.id, "outbox": b"o-other "}
    assert compute(world, "edge-2", **taken).session.rejection == messages.Rejection.IDENTITY
    assert not owner.session.closed
    again = compute(world, "edge-1")
    assert not again.session.closed


def test_who_is_dismissed_is_told_why() -> None:
    world = fleet.Fleet()
    edge, other = compute(world, "edge-1"), compute(world, "edge-2")
    assert [who.identity for _, who in world.router.visitors()] == [
        identity.Identity("edge-1", COMPUTE),
        identity.Identity("edge-2", COMPUTE),
    ]
    world.router.dismiss(edge.key, "key was revoked")
    world.router.dismiss(b"nobody", "key was revoked")
    world.settle()
    assert edge.session.reason == "the other side said goodbye: key was revoked"
    assert not other.session.closed
    assert not world.router.knows(edge.key)


def test_a_key_that_admits_nobody_begins_no_session() -> None:
    world = fleet.Fleet()
    nobody = visitor("edge-1", identity=None, objection="was revoked")
    peer = compute(world, "edge-1", visitor=nobody)
    assert peer.session.reason == "rejected: key key-of-edge-1 was revoked"


@pytest.mark.parametrize("role", identity.Role)
def test_an_identity_is_read_back_as_written(role: identity.Role) -> None:
    who = identity.Identity("fe80::1", role)
    assert identity.Identity.parse(who.text) == who


def test_a_host_with_many_outboxes_makes_nobody_elses_forgotten() -> None:
    owners = entrance.Owners()
    victim, thief = visitor("edge-1"), visitor("edge-2")
    assert owners.objection_to(victim, b"its own") == ""
    for number in range(2 * entrance.MOST_OUTBOXES):
        assert owners.objection_to(thief, b"made up %d" % number) == ""
    assert "is not of its host" in owners.objection_to(thief, b"its own")
    assert owners.objection_to(victim, b"made up 0") == ""
    assert "is not of its host" in owners.objection_to(victim, b"made up 100")
