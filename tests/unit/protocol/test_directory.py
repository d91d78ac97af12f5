# SPDX-License-Identifier: Apache-2.0
"""Who listens to what, who is told of it and when, and what a session may put in."""

import pytest

from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import routes
from nova_edge_bus.protocol.states import State
from tests.unit.protocol import fleet


def test_lookup_is_answered_at_once_and_again_on_change() -> None:
    world = fleet.Fleet()
    a = world.join("a")
    a.session.queue(messages.Lookup(["v/e/t", "v/e/u"]))
    world.settle()
    assert a.inbox == [messages.Routes("v/e/t", []), messages.Routes("v/e/u", [])]
    b = world.listen("b", "v/e/t")
    world.wait(0.1)
    consumer = messages.Consumer(b.id, 1, b.session.hello.outbox, "")
    assert a.inbox[2:] == [messages.Routes("v/e/t", [consumer])]
    b.session.queue(messages.Unlisten(1))
    world.wait(0.1)
    assert a.inbox[3:] == [messages.Routes("v/e/t", [])]


def test_forgotten_addresses_are_pushed_no_more() -> None:
    world = fleet.Fleet()
    a = world.join("a")
    a.session.queue(messages.Lookup(["v/e/t"]))
    world.settle()
    a.session.queue(messages.Forget(["v/e/t", "never"]))
    world.settle()
    world.listen("b", "v/e/t")
    world.wait(0.1)
    assert a.inbox == [messages.Routes("v/e/t", [])]


def test_a_push_is_given_to_nobody_who_has_left_meanwhile() -> None:
    table = routes.RouteTable(max_listeners=9, max_addresses=9, max_interests=9)
    for key in (b"a", b"b", b"c"):
        table.lookup(key, "v/e/t")
    table.listen(b"d", b"d", b"", messages.Listen(1, ["v/e/t"], [], ""))
    table.schedule()
    table.drop(b"a")
    table.forget(b"b", "v/e/t")
    assert [key for key, _ in table.pushes(9)] == [b"c"]
    assert not table.pushing


def test_changes_are_pushed_together() -> None:
    world = fleet.Fleet()
    a = world.join("a")
    a.session.queue(messages.Lookup(["v/e/t"]))
    world.settle()
    for name in "bcdef":
        world.listen(name, "v/e/t")
    world.wait(0.1)
    assert len(a.inbox) == 2
    assert len(a.inbox[1].consumers) == 5


def test_changes_that_many_want_to_know_of_come_together_for_longer() -> None:
    world = fleet.Fleet(push_delay=0.1, pushes_per_second=10)
    asking = [world.join(str(number)) for number in range(50)]
    for peer in asking:
        peer.session.queue(messages.Lookup(["v/e/t"]))
    world.settle()
    world.listen("b", "v/e/t")
    world.wait(1)
    world.listen("c", "v/e/t")
    world.wait(3)
    assert {len(peer.inbox) for peer in asking} == {1}
    world.wait(2)
    assert {len(peer.inbox) for peer in asking} == {2}


def test_a_push_to_many_is_spread_over_turns() -> None:
    world = fleet.Fleet(pushes_per_second=1e9)
    asking = [world.join(str(number)) for number in range(600)]
    for peer in asking:
        peer.session.queue(messages.Lookup(["v/e/t"]))
    world.settle()
    world.listen("b", "v/e/t")
    world.wait(0.1)
    assert all(len(peer.routes()["v/e/t"]) == 1 for peer in asking)


def test_listen_again_replaces_the_listener() -> None:
    world = fleet.Fleet()
    a = world.listen("a", "v/e/t", fanouts=("v/e/t",))
    a.session.queue(messages.Listen(1, ["v/e/u"], [], "pool"))
    a.session.queue(messages.Lookup(["v/e/t", "v/e/u"]))
    a.session.queue(messages.Fanout(None, 1, "v/e/t", b""))
    world.settle()
    consumer = messages.Consumer(a.id, 1, a.session.hello.outbox, "pool")
    assert a.routes() == {"v/e/t": [], "v/e/u": [consumer]}
    assert a.of(messages.FanoutSent) == [messages.FanoutSent(1, 0)]


def test_those_who_ask_begin_at_different_consumers() -> None:
    world = fleet.Fleet()
    servers = [world.listen(f"s{number}", "v/e/t").id for number in range(3)]
    firsts = []
    for number in range(6):
        asking = world.join(f"a{number}")
        asking.session.queue(messages.Lookup(["v/e/t"]))
        world.settle()
        order = [consumer.peer for consumer in asking.routes()["v/e/t"]]
        assert sorted(order) == servers
        firsts.append(order[0])
    assert sorted(firsts) == sorted(servers * 2)


def test_routes_list_a_bounded_number_of_consumers() -> None:
    world = fleet.Fleet()
    for number in range(routes.MAX_CONSUMERS + 6):
        world.listen(str(number), "v/e/t")
    seen = set()
    for name in ("a", "b", "c", "d", "e", "f", "g"):
        asking = world.join(name)
        asking.session.queue(messages.Lookup(["v/e/t"]))
        world.settle()
        (consumers,) = asking.routes().values()
        assert len(consumers) == routes.MAX_CONSUMERS
        seen.update(consumer.peer for consumer in consumers)
    assert len(seen) == routes.MAX_CONSUMERS + 6


def test_a_fanout_reaches_each_listening_peer_once() -> None:
    world = fleet.Fleet()
    a = world.listen("a", fanouts=("v/e/t",))
    b = world.listen("b", fanouts=("v/e/t", "v/e/u"))
    b.session.queue(messages.Listen(2, [], ["v/e/t"], ""))
    c = world.listen("c", fanouts=("v/e/u",))
    b.session.queue(messages.Unlisten(1))
    world.settle()
    a.session.queue(messages.Fanout(None, 9, "v/e/t", b"news"))
    world.settle()
    news = messages.Fanout(a.id, 9, "v/e/t", b"news")
    assert a.of(messages.Fanout) == b.of(messages.Fanout) == [news]
    assert c.of(messages.Fanout) == []
    assert a.of(messages.FanoutSent) == [messages.FanoutSent(9, 2)]


@pytest.mark.parametrize(
    ("limit", "batch"),
    [
        ("max_listeners", [messages.Listen(1, [], [], ""), messages.Listen(2, [], [], "")]),
        ("max_addresses", [messages.Listen(1, ["a"], ["b"], "")]),
        ("max_interests", [messages.Lookup(["a", "b"])]),
    ],
)
def test_what_a_session_may_put_into_the_directory_is_bounded(
    limit: str, batch: list[messages.Message]
) -> None:
    world = fleet.Fleet(**{limit: 1})
    a, b = world.join("a"), world.join("b")
    for message in batch:
        a.session.queue(message)
    world.settle()
    assert a.session.reason.startswith("the other side said goodbye: limit exceeded: more than 1")
    assert b.session.state is State.UP
