# SPDX-License-Identifier: Apache-2.0
"""The endpoint over real sockets, on its own loop and on a host's."""

import pathlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from nova_edge_bus.endpoint import listening
from nova_edge_bus.endpoint import server
from nova_edge_bus.keys import files
from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import settings as limits
from nova_edge_bus.protocol.states import State
from nova_edge_bus.transport import loop as loops
from tests.unit.endpoint import peers
from tests.unit.protocol import fleet


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    made: zmq.Context[Any] = zmq.Context()
    yield made
    made.destroy(linger=0)


def join(context: zmq.Context[Any], address: str, count: int) -> list[peers.Peer]:
    joined = [peers.Peer(context, address, f"edge-{number}") for number in range(count)]
    peers.run(joined, lambda: all(peer.session.state is State.UP for peer in joined))
    return joined


def test_a_call_and_its_reply(context: zmq.Context[Any]) -> None:
    with peers.endpoint(context) as (_, address):
        a, b = both = join(context, address, 2)
        b.session.queue(messages.Listen(4, ["v/e/t"], [], ""))
        a.session.queue(messages.Lookup(["v/e/t"]))
        peers.run(
            both, lambda: any(push.consumers for push in a.inbox if hasattr(push, "consumers"))
        )
        consumer = a.inbox[-1].consumers[0]
        assert (consumer.peer, consumer.listener) == (b.id, 4)
        body = bytes(range(256)) * 48
        a.session.queue(fleet.deliver(consumer.peer, 7, listener=4, body=body))
        peers.run(both, lambda: len(b.inbox) == 2)
        given = b.inbox[-1]
        assert given.body == body
        b.session.queue(messages.Reply(given.reply_to, given.outbox, 2, 7, 0, b"done"))
        peers.run(both, lambda: isinstance(a.inbox[-1], messages.Reply))
        assert a.inbox[-1].body == b"done"


def test_a_delivery_to_a_peer_that_hung_up_is_refused(context: zmq.Context[Any]) -> None:
    with peers.endpoint(context) as (served, address):
        a, b = join(context, address, 2)
        b.close()
        deadline = time.monotonic() + peers.PATIENCE
        while served.router.stats.sessions == 2:
            assert time.monotonic() < deadline
            a.session.queue(fleet.deliver(b.id))
            time.sleep(0.01)
            a.write()
            a.read()
        peers.run([a], lambda: bool(a.inbox))
        assert a.inbox[0].code == messages.Refusal.NO_ROUTE


def test_a_peer_that_stops_reading_what_needs_no_credit_is_let_go(
    context: zmq.Context[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_SEND_QUEUE", 2)
    with peers.endpoint(context) as (served, address):
        (peer,) = join(context, address, 1)
        peer.session.queue(messages.Lookup(["a" * 4000] * 250))
        packet = codec.Codec(compress=False).encode([messages.Lookup(["a" * 4000] * 250)])
        for _ in range(100):
            if served.router.stats.sessions == 0:
                break
            peer.socket.send(packet)
            time.sleep(0.02)
        assert served.router.stats.sessions == 0


def test_the_end_is_told(context: zmq.Context[Any]) -> None:
    with peers.endpoint(context) as (served, address):
        joined = join(context, address, 3)
        assert served.router.stats.sessions == 3
    peers.run(joined, lambda: all(peer.session.closed for peer in joined))
    for peer in joined:
        assert peer.session.reason == "the other side said goodbye: endpoint stops"
    served.stop()


def test_a_restarted_endpoint_resets_the_sessions_it_does_not_know(
    context: zmq.Context[Any],
) -> None:
    """The socket connects again by itself; the session on it is over."""
    other: zmq.Context[Any] = zmq.Context()
    with peers.endpoint(other) as (served, address):
        (peer,) = join(context, address, 1)
        # As after kill -9: nothing is said.
        served.router.close = lambda text: None  # type: ignore[method-assign]
    other.destroy(linger=0)
    loop = loops.Loop()
    again = server.EndpointServer(context, loop, [address])
    again.start()
    with peers.running(loop):
        peers.run(
            [peer],
            lambda: (peer.session.queue(messages.Lookup(["v/e/t"])), peer.session.closed)[1],
        )
    again.stop()
    loop.close()
    assert peer.session.reason.startswith("reset")


def test_frames_of_another_shape_are_ignored(context: zmq.Context[Any]) -> None:
    with peers.endpoint(context) as (_, address):
        raw = context.socket(zmq.DEALER)
        raw.connect(address)
        raw.send_multipart([b"", b"", b""])
        raw.send(b"")
        (peer,) = join(context, address, 1)
        assert peer.session.state is State.UP
        raw.close(0)


def test_a_frame_too_many_is_no_packet_of_somebody_else(context: zmq.Context[Any]) -> None:
    encode = codec.Codec().encode
    hello = messages.Hello(1, 1, b"an other", b"", 1, b"", "host", "service", 64, 65_536)
    with peers.endpoint(context) as (served, address):
        (peer,) = join(context, address, 1)
        (key,) = served.router._peers
        raw = context.socket(zmq.DEALER)
        raw.connect(address)
        raw.send_multipart([b"", key, encode([messages.Goodbye("forged")])])
        raw.send(encode([hello]))
        # It is welcome, and so what it sent before has been read.
        assert raw.poll(round(1000 * peers.PATIENCE))
        assert served.router.knows(key)
        assert peer.session.state is State.UP
        raw.close(0)


def test_a_second_endpoint_takes_over_when_the_first_ends(context: zmq.Context[Any]) -> None:
    loop = loops.Loop()
    with peers.running(loop):
        with peers.endpoint(context) as (_, address):
            standby = server.EndpointServer(context, loop, [address])
            for _ in range(3):
                with pytest.raises(listening.AddressInUse, match="in use"):
                    peers.on_loop(loop, standby.start)
        deadline = time.monotonic() + peers.PATIENCE
        while True:
            try:
                assert peers.on_loop(loop, standby.start) == [address]
                break
            except listening.AddressInUse:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        assert join(context, address, 1)
        peers.on_loop(loop, standby.stop)
    loop.close()


def test_several_addresses(context: zmq.Context[Any]) -> None:
    loop = loops.Loop()
    served = server.EndpointServer(context, loop, [peers.LOOPBACK, "tcp://localhost:0"])
    addresses = served.start()
    assert len(set(addresses)) == 2
    with peers.running(loop):
        for address in addresses:
            join(context, address, 1)
    served.stop()
    loop.close()


def test_a_failed_start_leaves_nothing_bound(context: zmq.Context[Any]) -> None:
    loop = loops.Loop()
    with peers.endpoint(context) as (_, address):
        failing = server.EndpointServer(context, loop, [peers.LOOPBACK, address])
        with pytest.raises(listening.AddressInUse):
            failing.start()
        assert failing.sockets() == []
    loop.close()


def test_an_address_of_another_host_is_told_apart(context: zmq.Context[Any]) -> None:
    loop = loops.Loop()
    away = server.EndpointServer(context, loop, ["tcp://192.0.2.1:5570"], allow_insecure=True)
    with pytest.raises(listening.EndpointError, match="no such address") as caught:
        away.start()
    assert not isinstance(caught.value, listening.AddressInUse)
    loop.close()


@pytest.mark.parametrize(
    "address", ["tcp://0.0.0.0:0", "tcp://*:0", "tcp://[::]:0", "tcp://10.1.2.3:5570"]
)
def test_what_the_network_reaches_needs_leave(context: zmq.Context[Any], address: str) -> None:
    loop = loops.Loop()
    with pytest.raises(listening.EndpointError, match="there is no key endpoint"):
        server.EndpointServer(context, loop, [address])
    server.EndpointServer(context, loop, [address], allow_insecure=True)
    loop.close()


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:5570", "tcp://127.9.9.9:1", "tcp://[::1]:0", "tcp://localhost:0"]
)
def test_loopback_needs_none(address: str) -> None:
    listening.check_safe(address, secret="endpoint.key", allow_insecure=False)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:5570",
        "ipc:///tmp/x",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:http",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:",
        "tcp://::1:0",
        "tcp://[127.0.0.1]:0",
        "tcp://eth0:0",
        "tcp://:5570",
        "",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(listening.EndpointError, match="cannot listen"):
        listening.check_safe(address, secret="endpoint.key", allow_insecure=True)


def test_the_limits_reach_the_router(context: zmq.Context[Any]) -> None:
    with peers.endpoint(context, settings=limits.Settings(max_sessions=1)) as (_, address):
        join(context, address, 1)
        late = peers.Peer(context, address)
        peers.run([late], lambda: late.session.closed)
        assert late.session.rejection == messages.Rejection.FULL


def test_what_takes_long_to_read_is_passed_on_before_more_is_read(
    context: zmq.Context[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = loops.Loop()
    served = server.EndpointServer(context, loop, [peers.LOOPBACK])
    (address,) = served.start()
    try:
        dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.connect(address)
        read: list[bytes] = []
        monkeypatch.setattr(
            served.router,
            "receive",
            lambda key, packet, now: read.append(packet) or time.sleep(2 * server._TURN_SECONDS),
        )
        for _ in range(20):
            dealer.send(b"x")
        while len(read) < 20:
            before = len(read)
            loop.turn(0.1)
            assert len(read) <= before + 1
        dealer.close(0)
    finally:
        served.stop()
        loop.close()


def test_a_connection_that_says_nothing_is_closed(
    context: zmq.Context[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_HANDSHAKE_LIMIT", 200)
    with peers.endpoint(context) as (_, address):
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        with socket.create_connection((host, int(port)), peers.PATIENCE) as silent:
            while silent.recv(4096):
                pass


def test_with_keys_fewer_sessions_a_second_are_planned_for(
    context: zmq.Context[Any], tmp_path: pathlib.Path
) -> None:
    files.write_pair(tmp_path, "endpoint", files.generate())
    loop = loops.Loop()
    with_keys, without = (
        server.EndpointServer(context, loop, [peers.LOOPBACK], curve_dir=directory)
        for directory in (tmp_path, None)
    )
    assert with_keys.router.settings.greetings_per_second == 800
    assert without.router.settings.greetings_per_second == 2000
    loop.close()
