# SPDX-License-Identifier: Apache-2.0
"""What the endpoint does with sessions and with what they send each other."""

import pytest

from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol.states import State
from tests.unit.protocol import fleet
from tests.unit.protocol import pairs

Refusal = messages.Refusal


def refusals(peer: fleet.Peer) -> list[tuple[int, list[int]]]:
    return [(refusal.code, refusal.numbers) for refusal in peer.of(messages.Refuse)]


def test_a_delivery_goes_to_the_peer_it_names_with_its_sender_filled_in() -> None:
    world = fleet.Fleet()
    a, b, c = (world.join(name) for name in "abc")
    a.session.queue(fleet.deliver(b.id, 7))
    world.settle()
    (given,) = b.inbox
    assert given == fleet.deliver(b.id, 7, reply_to=a.id, outbox=a.session.hello.outbox)
    assert a.inbox == c.inbox == []
    assert world.router.stats.delivered == 1


def test_a_peer_cannot_have_answers_sent_to_another() -> None:
    world = fleet.Fleet()
    a, b, c = (world.join(name) for name in "abc")
    a.session.queue(fleet.deliver(b.id, reply_to=c.id, outbox=b"orphaned"))
    a.session.queue(messages.Fanout(c.id, 1, "v/e/t", b""))
    world.settle()
    assert b.inbox[0].reply_to == a.id


def test_an_adopted_outbox_keeps_its_name() -> None:
    world = fleet.Fleet()
    a, b = world.join("a"), world.join("b")
    a.session.queue(fleet.deliver(b.id, outbox=b"orphaned"))
    world.settle()
    assert b.inbox[0].outbox == b"orphaned"


def test_a_want_goes_to_the_peer_it_names_with_its_sender_filled_in() -> None:
    world = fleet.Fleet()
    a, b, c = (world.join(name) for name in "abc")
    want = messages.Want(b.id, c.id, None, "v/e/t", 9, 3)
    a.session.queue(want)
    a.session.queue(want._replace(outbox=b"orphaned"))
    a.session.queue(want._replace(to=b"nobody"))
    world.settle()
    outboxes = (a.session.hello.outbox, b"orphaned")
    assert b.inbox == [want._replace(reply_to=a.id, outbox=outbox) for outbox in outboxes]
    assert a.inbox == c.inbox == []


def test_a_grant_says_who_gave_it() -> None:
    world = fleet.Fleet()
    a, b, c = (world.join(name) for name in "abc")
    grant = messages.Grant(b.id, c.id, b"o-b     ", "v/e/t", 4, 5000)
    a.session.queue(grant)
    world.settle()
    assert b.inbox == [grant._replace(sender=a.id)]


def test_wants_for_a_peer_that_does_not_read_are_bounded() -> None:
    world = fleet.Fleet(pending_messages=4)
    a, b = world.join("a"), world.join("b", window_messages=2)
    b.reading = False
    for _ in range(20):
        a.session.queue(messages.Want(b.id, None, None, "v/e/t", 9, 3))
    world.settle()
    assert world.router.stats.answers_dropped == 20 - 4


def test_the_more_sessions_there_are_the_longer_their_return_is_spread() -> None:
    world = fleet.Fleet(greetings_per_second=2.0)
    peers = [world.join(name) for name in "abc"]
    spreads = [peer.session.welcome.spread for peer in peers if peer.session.welcome]
    assert spreads == [0, 500, 1000]


@pytest.mark.parametrize(
    "answer",
    [
        messages.Accept(b"", b"o-b     ", [[1, 3]]),
        messages.Reply(b"", b"o-b     ", 2, 1, 0, b"result"),
        messages.Holding(b"", b"o-b     ", 2, [1, 2], False),
        messages.Refuse(b"", b"o-b     ", 2, [1], Refusal.NOT_LISTENING, "gone"),
    ],
)
def test_answers_go_to_the_peer_they_name(answer: messages.Message) -> None:
    world = fleet.Fleet()
    a, b = world.join("a"), world.join("b")
    named = answer._replace(to=b.id)  # type: ignore[call-arg]
    a.session.queue(named)
    a.session.queue(answer._replace(to=b"nobody"))  # type: ignore[call-arg]
    world.settle()
    assert b.inbox == [named._replace(sender=a.id)]  # type: ignore[call-arg]
    assert a.inbox == []
    assert world.router.stats.answers_dropped == 1


def test_a_delivery_to_nobody_is_refused() -> None:
    world = fleet.Fleet()
    a = world.join("a")
    a.session.queue(fleet.deliver(b"nobody", 7))
    a.session.queue(fleet.deliver(b"nobody", 8, outbox=b"orphaned"))
    world.settle()
    own = a.session.hello.outbox
    assert a.inbox == [
        messages.Refuse(a.id, own, 2, [7], Refusal.NO_ROUTE, "peer is not here"),
        messages.Refuse(a.id, b"orphaned", 2, [8], Refusal.NO_ROUTE, "peer is not here"),
    ]
    assert world.router.stats.refused == {"NO_ROUTE": 2}


def test_a_delivery_to_a_peer_that_does_not_read_is_refused_when_the_room_is_full() -> None:
    world = fleet.Fleet(pending_messages=5, window_messages=1000)
    a, b = world.join("a"), world.join("b", window_messages=3)
    b.reading = False
    for number in range(1, 11):
        a.session.queue(fleet.deliver(b.id, number))
        world.settle()
    assert refusals(a) == [(Refusal.BUSY, [9]), (Refusal.BUSY, [10])]
    assert world.slow == ["b", "b"]
    assert world.router.stats.pending_bytes == 5 * (64 + 5 + 10)
    b.reading = True
    world.settle()
    assert [given.number for given in b.inbox] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert world.router.stats.pending_bytes == 0


@pytest.mark.parametrize("limit", ["pending_bytes", "pending_bytes_total"])
def test_the_room_is_bounded_in_bytes(limit: str) -> None:
    world = fleet.Fleet(**{limit: 2000})
    a, b = world.join("a"), world.join("b", window_messages=1)
    b.reading = False
    for number in range(1, 6):
        a.session.queue(fleet.deliver(b.id, number, size=900))
        world.settle()
    assert refusals(a) == [(Refusal.BUSY, [5])]


def test_answers_find_room_where_deliveries_do_not() -> None:
    world = fleet.Fleet(pending_messages=5)
    a, b = world.join("a"), world.join("b", window_messages=1)
    b.reading = False
    for number in range(1, 9):
        a.session.queue(fleet.deliver(b.id, number))
        world.settle()
    for number in range(1, 9):
        a.session.queue(messages.Reply(b.id, b"", 2, number, 0, b""))
        world.settle()
    b.reading = True
    world.settle()
    assert [given.number for given in b.of(messages.Reply)] == [1, 2, 3, 4, 5]
    assert world.router.stats.answers_dropped == 3


@pytest.mark.parametrize("window", [1, 64])
def test_a_peer_that_does_not_take_refusals_gets_no_more_credit(window: int) -> None:
    world = fleet.Fleet(pending_messages=5, window_messages=4)
    a = world.join("a", window_messages=window)
    a.taking = False
    for number in range(1, 101):
        a.session.queue(fleet.deliver(b"nobody", number))
        world.settle()
    assert world.router.stats.refused["NO_ROUTE"] <= window + 5 + 4
    a.taking = True
    world.settle(500)
    assert refusals(a) == [(Refusal.NO_ROUTE, [number]) for number in range(1, 101)]


def test_what_a_lost_connection_took_along_is_refused() -> None:
    world = fleet.Fleet()
    a, b = world.join("a"), world.join("b", window_messages=2)
    b.reading = False
    for number in range(1, 4):
        a.session.queue(fleet.deliver(b.id, number))
    world.settle()
    world.disconnect(b)
    for number in range(4, 6):
        a.session.queue(fleet.deliver(b.id, number))
    world.wait(20)
    # 1 and 2 were written before the connection broke: the sender's own time has to tell.
    assert sorted(number for _, (number,) in refusals(a)) == [3, 4, 5]
    assert world.router.stats.sessions == 1


def test_an_unreachable_peer_is_gone_at_once() -> None:
    world = fleet.Fleet()
    a, b = world.join("a"), world.listen("b", "v/e/t")
    a.session.queue(messages.Lookup(["v/e/t"]))
    world.settle()
    world.disconnect(b)
    a.session.queue(fleet.deliver(b.id, 1))
    world.settle()
    assert refusals(a) == [(Refusal.NO_ROUTE, [1])]
    world.wait(0.1)
    assert a.routes() == {"v/e/t": []}
    assert (b.id, "connection lost") in world.closed


def test_a_silent_peer_is_closed_and_its_listeners_leave() -> None:
    world = fleet.Fleet()
    a, b = world.join("a"), world.listen("b", "v/e/t")
    a.session.queue(messages.Lookup(["v/e/t"]))
    world.settle()
    b.frozen = True
    world.wait(12)
    assert a.session.state is State.UP
    assert a.routes() == {"v/e/t": []}
    assert (b.id, "silent: nothing heard for 8.0 s") in world.closed


def test_idle_sessions_stay() -> None:
    world = fleet.Fleet()
    joined = [world.join(str(number)) for number in range(5)]
    world.wait(60)
    assert all(peer.session.state is State.UP for peer in joined)


def test_a_full_endpoint_rejects() -> None:
    world = fleet.Fleet(max_sessions=2)
    world.join("a")
    world.join("b")
    c = world.join("c")
    assert c.session.rejection == messages.Rejection.FULL
    assert "at most 2" in c.session.reason
    assert world.router.stats.rejected == {"FULL": 1}
    again = world.join("b")
    assert again.session.state is State.UP


def test_a_peer_that_comes_again_replaces_its_old_session() -> None:
    world = fleet.Fleet()
    old = world.listen("a", "v/e/t")
    b = world.join("b")
    b.session.queue(messages.Lookup(["v/e/t"]))
    world.settle()
    new = world.join("a")
    b.session.queue(fleet.deliver(new.id, 1))
    world.wait(0.1)
    assert [given.number for given in new.inbox] == [1]
    assert old.inbox == [messages.Listening(1)]
    assert b.routes() == {"v/e/t": []}
    old.session.queue(fleet.deliver(b.id, 2))
    world.settle()
    assert old.session.reason.startswith("reset")
    assert b.of(messages.Deliver) == []


def test_a_journal_opened_again_replaces_the_session_that_had_it() -> None:
    world = fleet.Fleet()
    old = world.join("a", peer=b"first---")
    new = world.join("a", peer=b"second--", epoch=2, nonce=b"another-")
    assert new.session.state is State.UP
    assert old.session.reason.endswith("outbox opened again with epoch 2")
    assert world.router.stats.sessions == 1


@pytest.mark.parametrize(("epoch", "nonce"), [(4, b"nonce---"), (5, b"copied--")])
def test_an_older_or_copied_journal_is_fenced(epoch: int, nonce: bytes) -> None:
    world = fleet.Fleet()
    good = world.join("a", epoch=5)
    for peer in (b"another-", good.id):
        copy = world.join("a", peer=peer, epoch=epoch, nonce=nonce)
        assert copy.session.rejection == messages.Rejection.FENCED
        assert "epoch 5 is open at a" in copy.session.reason
    assert good.session.state is State.UP


def test_peers_without_a_journal_are_not_fenced() -> None:
    world = fleet.Fleet()
    a, b = world.join("a", outbox=b""), world.join("b", outbox=b"", nonce=b"")
    assert a.session.state is b.session.state is State.UP


def test_an_unknown_connection_is_reset() -> None:
    world = fleet.Fleet()
    world.router.receive(b"stranger", pairs.CODEC.encode([messages.Ping(1)]), 0.0)
    ((key, packet, _),) = world.router.outgoing()
    assert key == b"stranger"
    assert pairs.CODEC.decode(packet) == [messages.Reset()]
    world.router.receive(b"stranger", b"\x00\x90", 0.0)
    assert list(world.router.outgoing()) == []
    assert world.router.stats.sessions == 0


def test_garbage_ends_one_session_only() -> None:
    world = fleet.Fleet()
    a, b = world.join("a"), world.join("b")
    world.router.receive(a.key, b"\xff\xff\xff", world.now)
    world.router.receive(b"stranger", b"\xff\xff\xff", world.now)
    world.settle()
    assert a.session.reason.startswith("the other side said goodbye: protocol error")
    assert b.session.state is State.UP


def test_the_end_of_the_endpoint_is_told_to_all() -> None:
    world = fleet.Fleet()
    a, b = world.join("a"), world.join("b")
    a.session.queue(fleet.deliver(b.id))
    for packet in a.session.outgoing():
        world.router.receive(a.key, packet, 0.0)
    world.router.close("maintenance")
    world.settle()
    assert [given.number for given in b.inbox] == [1]
    assert a.session.reason == b.session.reason == "the other side said goodbye: maintenance"
    assert world.router.next_deadline() is None


def test_packets_and_bytes_are_counted() -> None:
    world = fleet.Fleet()
    world.join("a")
    stats = world.router.stats
    assert (stats.packets_in, stats.packets_out, stats.sessions_ever) == (1, 1, 1)
    assert stats.bytes_in > 50
    assert stats.bytes_out > 10
