# SPDX-License-Identifier: Apache-2.0
"""No peer gets more of an endpoint than is its share, whatever it says and leaves unread."""

import time

import msgpack
import pytest
import zstandard

from nova_edge_bus import errors
from nova_edge_bus.protocol import accepted
from nova_edge_bus.protocol import allowance
from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import compression
from nova_edge_bus.protocol import identity
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import session
from nova_edge_bus.protocol import shapes
from nova_edge_bus.protocol.states import State
from tests.unit.protocol import fleet
from tests.unit.protocol import pairs

CODEC = codec.Codec()
ADDRESS = "/openstack/compute/edge-1"


def visitor(host: str = "edge-1", role: str = "compute") -> identity.Visitor:
    who = identity.Identity(host, identity.Role(role))
    return identity.Visitor(who, "fingerprint", "192.0.2.1", b"k" * 32)


def compute(world: fleet.Fleet, name: str, host: str = "edge-1") -> fleet.Peer:
    return world.join(name, visitor=visitor(host), host=host, service="nova-compute")


def centre(world: fleet.Fleet, name: str, **fields: object) -> fleet.Peer:
    who = visitor("centre-1", "centre")
    return world.join(name, visitor=who, host="centre-1", service="nova-conductor", **fields)


def zstd(items: object) -> bytes:
    return b"\x01" + zstandard.ZstdCompressor().compress(msgpack.packb(items))


# What one packet may be.


def test_whatever_is_queued_can_be_read() -> None:
    """Ranges are small and are lists, of which a packet has no more than a reader takes."""
    dialled, _ = pairs.joined()
    ranges = [[2 * number, 2 * number] for number in range(1024)]
    for _ in range(3):
        dialled.forward(messages.Listen(1, [], [], ""))
        dialled.forward(messages.Lookup([]))
    dialled._send_window.grant(1000, 1 << 30)
    for _ in range(40):
        dialled.queue(messages.Accept(b"p" * 8, b"o" * 8, ranges))
    packets = dialled.outgoing()
    assert sum(len(CODEC.decode(packet)) for packet in packets) == 46


def test_many_small_things_are_no_body() -> None:
    """Three bytes on the wire are sixty in memory: refused before anything is made of them."""
    items = [[99, *["ab"] * 4000]] * 1200
    items.append([99, *[bytes(60_000)]])
    plain = b"\x00" + msgpack.packb(items)
    assert len(plain) < compression.MAX_PACKET
    with pytest.raises(errors.ProtocolError, match="has 4001 fields"):
        CODEC.decode(plain)
    nested = b"\x00" + msgpack.packb([[99, ["ab"] * 4000]] * 1200)
    with pytest.raises(errors.ProtocolError, match="beside the bodies"):
        CODEC.decode(nested)
    short = b"\x00" + msgpack.packb([[99]] * 3_000_000)
    with pytest.raises(errors.ProtocolError, match="beside the bodies"):
        CODEC.decode(short)


def test_a_large_body_among_small_messages_is_read() -> None:
    large = pairs.reply(1, 3 << 20)
    small = [messages.Pong(number) for number in range(4000)]
    assert CODEC.decode(CODEC.encode([*small, large])) == [*small, large]


@pytest.mark.parametrize(
    "message",
    [
        messages.Lookup(["a" * (shapes.MAX_TEXT + 1)]),
        messages.Lookup(["a" * shapes.MAX_TEXT] * 257),
        messages.Goodbye("a" * (shapes.MAX_TEXT + 1)),
    ],
)
def test_longer_texts_than_a_writer_writes_are_not_read(message: messages.Message) -> None:
    with pytest.raises(errors.ProtocolError, match="text"):
        CODEC.decode(CODEC.encode([message]))


# What one session may say.


def test_a_window_is_no_wider_than_is_buffered_for_it() -> None:
    """Else all that others send to somebody who does not read would wait in this process."""
    world = fleet.Fleet(pending_bytes=1 << 16)
    reader = world.join("reader", window_messages=1 << 40, window_bytes=1 << 62)
    reader.reading = False
    sender = world.join("sender", window_messages=1024, window_bytes=1 << 30)
    for number in range(1, 200):
        sender.session.queue(fleet.deliver(reader.id, number, 1 << 20))
        world.settle()
    written = sum(map(len, (CODEC.encode(CODEC.decode(one)) for one in reader.arriving)))
    assert len(reader.arriving) <= session.MAX_WINDOW_BYTES // (1 << 20)
    assert written <= session.MAX_WINDOW_BYTES + (1 << 20)
    assert {refusal.code for refusal in sender.of(messages.Refuse)} == {messages.Refusal.BUSY}


def flood(world: fleet.Fleet, peer: fleet.Peer, packet: bytes, most: int) -> int:
    """Say it until the session ends; how often that was."""
    for count in range(most):
        world.router.receive(peer.key, packet, world.now, peer.visitor)
        if not world.router.knows(peer.key):
            return count
    raise AssertionError(f"it goes on after {most}")


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(zstd([[5, 1]] * 4096), id="pings"),
        pytest.param(zstd([[99] + ["ab"] * 4095] * 80), id="what nobody knows"),
        pytest.param(zstd([[6, 1] + ["ab"] * 4000] * 80), id="fields that nobody knows"),
        pytest.param(zstd([[19, ["v/e/t"] * 4096]] * 9), id="one address again and again"),
        pytest.param(zstd([[18, 1]] * 4096), id="listeners that are not there"),
    ],
)
def test_who_says_much_that_needs_no_credit_is_sent_away(packet: bytes) -> None:
    assert len(packet) < 400
    world = fleet.Fleet()
    thief = compute(world, "thief")
    began = time.process_time()
    assert flood(world, thief, packet, 20) < 5
    print(f"cost {time.process_time() - began:.3f} s")
    assert "without credit" in world.closed[-1][1]
    assert world.refused[-1] == ("key fingerprint (compute:edge-1)", world.closed[-1][1])


def test_who_says_little_at_a_time_goes_on_for_ever() -> None:
    world = fleet.Fleet()
    peer = compute(world, "peer")
    for _ in range(300):
        world.now += 1.0
        batch = [messages.Ping(1)] * 100 + [messages.Lookup([ADDRESS])] * 100
        world.router.receive(peer.key, CODEC.encode(batch), world.now, peer.visitor)
        world.settle()
    assert peer.session.state is State.UP


def test_what_has_credit_costs_none_of_the_allowance() -> None:
    world = fleet.Fleet(window_messages=1000)
    one, other = compute(world, "one"), centre(world, "other", window_messages=1000)
    for number in range(1, 20_000):
        deliver = fleet.deliver(other.id, number, 300, group="g" * 40, address="a" * 40)
        one.session.queue(deliver)
        if number % 500 == 0:
            world.settle()
    world.settle()
    assert one.session.state is State.UP
    assert len(other.of(messages.Deliver)) == 19_999


def test_a_conductor_looks_up_every_compute_at_once_and_a_compute_does_not() -> None:
    world = fleet.Fleet()
    names = [f"/openstack/compute/edge-{number:05}.example.org" for number in range(40_000)]
    lookups = [messages.Lookup(names[at : at + 256]) for at in range(0, len(names), 256)]
    conductor, thief = centre(world, "worker"), compute(world, "thief")
    for lookup in lookups:
        conductor.session.queue(lookup)
    world.settle(2000)
    assert conductor.routes().keys() == set(names)
    for lookup in lookups:
        thief.session.queue(lookup)
    world.settle(2000)
    assert thief.session.closed
    assert "more than 1048576 bytes of addresses" in thief.session.reason


def test_what_others_are_told_on_its_account_counts() -> None:
    world = fleet.Fleet()
    thief = compute(world, "thief")
    for number in range(100):
        watcher = world.join(f"w{number}")
        watcher.session.queue(messages.Lookup([ADDRESS]))
    world.settle()
    listen = messages.Listen(1, [ADDRESS], [], "")
    packet = CODEC.encode([listen, messages.Unlisten(1)])
    assert flood(world, thief, packet, 100) > 10
    assert "more work" in world.closed[-1][1]


def test_a_packet_before_the_hello_is_a_hello_or_not_looked_into() -> None:
    world = fleet.Fleet()
    world.router.receive(b"key", zstd([[99] + ["ab"] * 4095] * 80), 0.0)
    (_, answer, _), *_ = world.router.outgoing()
    assert CODEC.decode(answer) == [messages.Reset()]
    hello = pairs.HELLO._replace(host="h" * 255, service="s" * 255)
    assert compression.unpacked_size(CODEC.encode([hello])) < accepted.MAX_GREETING / 4


# What one session may leave unread.


def test_who_does_not_read_is_told_no_more_until_he_does() -> None:
    world = fleet.Fleet(pushes_per_second=1e9)
    pool = "p" * 2000
    for number in range(32):
        taker = world.join(f"t{number}")
        taker.session.queue(messages.Listen(1, [f"v/e/{n}" for n in range(40)], [], pool))
    world.settle()
    reader = world.join("reader")
    reader.reading = False
    reader.session.queue(messages.Lookup([f"v/e/{number}" for number in range(40)]))
    world.settle()
    told = len(reader.arriving)
    one = 32 * (2000 + 64)
    sizes = [compression.unpacked_size(packet) for packet in reader.arriving]
    assert sum(sizes) < allowance.MAX_UNREAD + 2 * one
    for _ in range(20):
        reader.session.queue(messages.Lookup([f"v/e/{number}" for number in range(40)]))
        world.settle()
    assert len(reader.arriving) <= told + 1
    assert world.router.next_deadline() != 0.0
    reader.reading = True
    world.settle()
    assert len(reader.routes()) == 40


def test_who_asks_for_much_lets_others_have_their_turn() -> None:
    world = fleet.Fleet()
    greedy, modest = world.join("greedy"), world.join("modest")
    greedy.session.queue(messages.Lookup([f"v/e/{number}" for number in range(4000)]))
    modest.session.queue(messages.Lookup(["v/e/t"]))
    world.turn()
    assert modest.of(messages.Routes)
    assert len(greedy.of(messages.Routes)) < 4000


def test_those_who_read_have_room_when_those_who_do_not_have_used_it_up() -> None:
    world = fleet.Fleet(
        pending_bytes=40_000, pending_bytes_total=80_000, max_sessions=10, window_bytes=1 << 20
    )
    sender = world.join("sender")
    lazy = [world.join(f"lazy-{number}", window_bytes=10) for number in range(3)]
    honest = world.join("honest", window_bytes=10)
    for number in range(20):
        for peer in lazy:
            peer.reading = False
            sender.session.queue(fleet.deliver(peer.id, number + 1, 5000))
        world.settle()
    assert world.router.stats.pending_bytes >= 80_000
    sender.session.queue(fleet.deliver(lazy[0].id, 99, 5000))
    sender.session.queue(fleet.deliver(honest.id, 100, 5000))
    world.settle()
    assert [given.number for given in honest.of(messages.Deliver)] == [100]
    assert [99] in [refusal.numbers for refusal in sender.of(messages.Refuse)]


# What those who hold one key may have together.


def test_a_key_has_so_many_sessions_and_no_more() -> None:
    world = fleet.Fleet()
    most = allowance.OF_A_COMPUTE.sessions
    peers = [compute(world, f"{number}") for number in range(most + 1)]
    assert [peer.session.state for peer in peers[:-1]] == [State.UP] * most
    assert peers[-1].session.rejection == messages.Rejection.FULL
    assert compute(world, "x", host="edge-2").session.state is State.UP
    assert "as many sessions as it may, 32" in world.refused[-1][1]
    peers[0].session.close("enough")
    world.settle()
    assert compute(world, "y").session.state is State.UP


def test_a_key_begins_so_many_sessions_in_a_time() -> None:
    world = fleet.Fleet()
    most = allowance.OF_A_COMPUTE.greetings
    for number in range(most):
        peer = compute(world, f"{number}")
        assert peer.session.state is State.UP
        peer.session.close("enough")
        world.settle()
    refused = [compute(world, f"r{number}") for number in range(most + 5)]
    told = [peer.session.rejection == messages.Rejection.FULL for peer in refused]
    assert told.count(True) == most + 1
    assert not any(told[most + 1 :])
    assert compute(world, "other", host="edge-2").session.state is State.UP
    world.now += 3 * most
    assert compute(world, "later").session.state is State.UP


def test_a_compute_is_in_no_pool() -> None:
    """Its name would be told to all who look the compute up."""
    world = fleet.Fleet()
    peer = compute(world, "peer")
    peer.session.queue(messages.Listen(1, [ADDRESS], [], "p"))
    world.settle()
    assert "may not listen in a pool" in peer.session.reason
