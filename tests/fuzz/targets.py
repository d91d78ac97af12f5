# SPDX-License-Identifier: Apache-2.0
"""What is fed: what reads packets, and what must hold at any time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import zmq

from nova_edge_bus import errors
from nova_edge_bus.delivery import directory as directory_module
from nova_edge_bus.delivery import origins
from nova_edge_bus.delivery import receiver as receiver_module
from nova_edge_bus.delivery import sender as sender_module
from nova_edge_bus.delivery import streams
from nova_edge_bus.endpoint import server
from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import compression
from nova_edge_bus.protocol import history
from nova_edge_bus.protocol import identity
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import router as router_module
from nova_edge_bus.protocol import session
from nova_edge_bus.protocol import settings as limits
from nova_edge_bus.transport import loop as loops
from tests.fuzz import inputs


def _sorted(classes: frozenset[Any]) -> tuple[Any, ...]:
    # The order of a set of classes is another one in each process.
    return tuple(sorted(classes, key=lambda cls: messages.CODES[cls]))


_CODEC = codec.Codec()
_FROM_ENDPOINT = _sorted(session.TO_PEER | messages.CREDITED | {messages.Ping, messages.Pong})
_FROM_PEER = _sorted(session.TO_ENDPOINT | messages.CREDITED | {messages.Ping, messages.Pong})
_SERVICES = ("nova-conductor", "nova-compute")


class CodecTarget:
    """Whatever is read can be written and read again."""

    def __init__(self, source: inputs.Inputs) -> None:
        self._source = source

    def feed(self) -> None:
        """Read one packet."""
        packet = self._source.packet()
        heard = history.of(self._source.random.choice((0, 100, history.SIZE)))
        if heard is not None:
            heard.remember(packet)
        try:
            batch = _CODEC.decode(self._source.referring(packet, heard), heard)
        except errors.ProtocolError:
            return
        again = _CODEC.decode(_CODEC.encode(batch))
        assert again == batch or any("\ufffd" in repr(one) for one in again)


class PeerTarget:
    """A peer whose endpoint, and who stands behind it, says anything."""

    def __init__(self, source: inputs.Inputs) -> None:
        self._source = source
        self._now = 0.0
        self._directory = directory_module.Directory()
        self._directory.expect("endpoint", True)
        self._port = _Surroundings(source)
        self._receiver = receiver_module.Receiver(
            self._port, holding_interval=1.0, backlog_slots=source.random.choice((0, 2))
        )
        self._port.receiver = self._receiver
        self._sender = sender_module.Sender(self._directory, self._port, outbox=None)
        self._receiver.listen(1, inputs.ADDRESSES[:2], inputs.ADDRESSES[:1])
        self._calls = 0
        self._dial()

    def _dial(self) -> None:
        self._session = session.DialSession(
            self._source.hello(0), link_timeout=3.0, now=self._now, codec=_CODEC
        )
        if self._source.random.random() < 0.9:
            kept = self._source.random.choice((0, 100, history.SIZE))
            kept = min(kept, self._session.hello.history)
            welcome = messages.Welcome(1, b"endpoint", 1000, 8, 4096, 0, kept)
            self._session.receive(_CODEC.encode([welcome]), self._now)

    def feed(self) -> None:
        """Read one packet, and do what comes of it."""
        random = self._source.random
        self._now += random.choice((0.0, 0.01, 0.3, 5.0, 200.0))
        if random.random() < 0.3:
            self._call()
        packet = self._source.packet(_FROM_ENDPOINT)
        packet = self._source.referring(packet, self._session._heard)
        for message in self._session.receive(packet, self._now):
            self._take(message)
            self._session.consumed(message)
        self._sender.ship(self._now)
        self._receiver.flush(self._now)
        if random.random() < 0.3:
            self._sender.tick(self._now)
            self._receiver.tick(self._now)
        self._port.work()
        self._session.tick(self._now)
        for message in self._port.take():
            self._session.queue(message)
        for packet in self._session.outgoing():
            assert len(packet) <= compression.MAX_PACKET
        if self._session.closed:
            self._directory.forget_endpoint("endpoint")
            self._sender.endpoint_down("endpoint")
            self._dial()

    def _call(self) -> None:
        self._calls += 1
        self._sender.call(
            streams.Item(
                kind=messages.Kind.REQUEST,
                number=self._calls,
                key=self._source.random.choice(inputs.ADDRESSES[:3]),
                group="",
                body=b"{}",
                expires=self._now + 10,
            )
        )

    def _take(self, message: Any) -> None:
        match message:
            case messages.Routes():
                self._directory.update("endpoint", message.address, message.consumers)
                self._sender.routes_changed(message.address)
            case messages.Deliver():
                self._receiver.deliver(message, "endpoint", self._now)
            case messages.Fanout():
                self._receiver.fanout(message, "endpoint")
            case messages.Want():
                self._receiver.want(message, "endpoint", self._now)
            case messages.Accept():
                self._sender.accepted(message.numbers, message.sender)
            case messages.Reply():
                self._sender.replied(*message[2:])
            case messages.Holding():
                kind, numbers, monitor, peer = message[2:]
                self._sender.holding(kind, numbers, self._now, monitor=monitor, peer=peer)
            case messages.Refuse():
                self._sender.refused(message.kind, message.numbers, message.code, message.sender)
            case messages.Grant():
                self._sender.granted(message, self._now)


class _Surroundings:
    """The ports of a sender and a receiver: a disk and listeners that take their time."""

    def __init__(self, source: inputs.Inputs) -> None:
        self._random = source.random
        self._sent: list[messages.Message] = []
        self._jobs: list[Callable[[], None]] = []
        self._inbox: set[tuple[bytes, int]] = set()
        self.receiver: Any = None

    def take(self) -> list[messages.Message]:
        """What was transmitted."""
        sent, self._sent = self._sent, []
        return sent

    def work(self) -> None:
        """Do some of what was begun."""
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            if self._random.random() < 0.5:
                job()
            else:
                self._jobs.append(job)
        del self._jobs[:-64]

    def transmit(self, via: object, message: messages.Message) -> None:
        self._sent.append(message)

    def accept(self, item: origins.Inbound) -> None:
        key = (item.origin, item.number)
        fresh = key not in self._inbox
        self._inbox.add(key)
        self._jobs.append(lambda: self.receiver.accepted(item, fresh=fresh))

    def withdraw(self, item: origins.Inbound) -> None:
        self._jobs.append(lambda: self.receiver.withdrawn(item))

    def dispatch(self, item: origins.Inbound) -> None:
        if item.kind in (messages.Kind.REQUEST, messages.Kind.RECORD):
            self._jobs.append(lambda: self.receiver.finished(item, 0, b"reply"))

    def is_crowded(self, *_: object) -> bool:
        return self._random.random() < 0.1

    def has_room(self, endpoint: object) -> bool:
        return self._random.random() < 0.9

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: None


class RouterTarget:
    """An endpoint, and connections over which anything comes."""

    def __init__(self, source: inputs.Inputs) -> None:
        self._source = source
        self._now = 0.0
        self._router = router_module.Router(
            b"endpoint",
            limits.Settings(
                max_sessions=5,
                window_messages=8,
                window_bytes=16_384,
                pending_messages=8,
                pending_bytes=8192,
                pending_bytes_total=32_768,
                max_listeners=4,
                max_addresses=8,
                max_interests=8,
            ),
        )
        keyed = source.random.random() < 0.5
        self._visitors: list[identity.Visitor | None] = [
            _visitor(number) if keyed else None for number in range(6)
        ]

    def feed(self) -> None:
        """Read one packet from one of the connections, and write."""
        random, router = self._source.random, self._router
        number = random.randrange(6)
        key = f"key-{number}".encode()
        if router.knows(key) or random.random() < 0.2:
            peer = router._peers.get(key)
            packet = self._source.packet(_FROM_PEER)
            packet = self._source.referring(packet, peer.session._heard if peer else None)
        else:
            hello = self._source.hello(number)._replace(service=_SERVICES[number % 2])
            packet = _CODEC.encode([hello])
        self._now += random.choice((0.0, 0.0, 0.03, 2.0))
        router.receive(key, packet, self._now, self._visitors[number])
        router.tick(self._now)
        for to, written, batch in router.outgoing():
            assert len(written) <= compression.MAX_PACKET
            if random.random() < 0.02:
                router.unreachable(to, batch)
        if random.random() < 0.01:
            router.dismiss(key, "revoked")
        self._check()

    def _check(self) -> None:
        peers = list(self._router._peers.values())
        assert len(peers) <= 5
        backlogs = [peer.session.backlog for peer in peers]
        assert self._router.stats.pending_bytes == sum(size for _, size in backlogs)
        for count, size in backlogs:
            assert count <= 200, count
            assert size <= 500_000, size


def _visitor(number: int) -> identity.Visitor:
    role = identity.Role.COMPUTE if number % 2 else identity.Role.CENTRE
    return identity.Visitor(
        identity.Identity(inputs.HOSTS[number], role), "key", "127.0.0.1", bytes([number]) * 32
    )


class _Loop(loops.Loop):
    """One that does not go on after an error."""

    def _guard(self, call: Callable[..., None], *args: object) -> None:
        call(*args)


class EndpointTarget:
    """An endpoint's socket, and peers that are no peers."""

    def __init__(self, source: inputs.Inputs) -> None:
        self._source = source
        self._context: zmq.Context[Any] = zmq.Context()
        self._loop = _Loop()
        self.server = server.EndpointServer(self._context, self._loop, ["tcp://127.0.0.1:0"])
        (self.address,) = self.server.start()
        self._dealers = [self._dial() for _ in range(3)]

    def _dial(self) -> zmq.Socket[bytes]:
        dealer = self._context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.connect(self.address)
        return dealer

    def feed(self) -> None:
        """Send one packet, perhaps in several frames, over one of the connections."""
        random = self._source.random
        number = random.randrange(3)
        packet = (
            self._source.packet(_FROM_PEER)
            if random.random() < 0.8
            else _CODEC.encode([self._source.hello(random.randrange(6))])
        )
        frames = [packet] if random.random() < 0.97 else [b"", packet, packet]
        with contextlib.suppress(zmq.Again):
            self._dealers[number].send_multipart(frames, zmq.DONTWAIT)
        with contextlib.suppress(zmq.Again):
            while random.random() < 0.9:
                self._dealers[number].recv(zmq.DONTWAIT)
        self._loop.turn(0.0)
        if random.random() < 0.02:
            self._dealers[number].close(0)
            self._dealers[number] = self._dial()

    def close(self) -> None:
        """Give the sockets back."""
        self.server.stop()
        self._loop.close()
        self._context.destroy(linger=0)


TARGETS: dict[str, Callable[[inputs.Inputs], Any]] = {
    "codec": CodecTarget,
    "peer": PeerTarget,
    "router": RouterTarget,
    "endpoint": EndpointTarget,
}
