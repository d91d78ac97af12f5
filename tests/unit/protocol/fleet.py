# SPDX-License-Identifier: Apache-2.0
"""A router with peers around it, joined without a socket."""

import collections
import itertools
from typing import Any

from nova_edge_bus.protocol import identity
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import router
from nova_edge_bus.protocol import session
from nova_edge_bus.protocol import settings as limits
from tests.unit.protocol import pairs


class Peer:
    """A peer's end of a connection, and what it has been given.

    :ivar visitor: whom the endpoint takes it for
    :ivar reading: whether it reads what is written to it
    :ivar taking: whether its owner takes what it has read
    :ivar frozen: whether its process stands still
    """

    def __init__(self, key: bytes, hello: messages.Hello, now: float) -> None:
        self.key = key
        self.visitor: identity.Visitor | None = None
        self.session = session.DialSession(
            hello, link_timeout=pairs.LINK_TIMEOUT, now=now, codec=pairs.CODEC
        )
        self.arriving: collections.deque[bytes] = collections.deque()
        self.inbox: list[Any] = []
        self.untaken: list[Any] = []
        self.reading = True
        self.taking = True
        self.frozen = False
        self.connected = True

    @property
    def id(self) -> bytes:
        return self.session.hello.peer

    def of(self, cls: type[Any]) -> list[Any]:
        """What it has been given of one class."""
        return [message for message in self.inbox if isinstance(message, cls)]

    def routes(self) -> dict[str, list[messages.Consumer]]:
        """The last ROUTES of each address."""
        return {push.address: push.consumers for push in self.of(messages.Routes)}


class Fleet:
    """The router, its connections by key, and the clock."""

    def __init__(self, **settings: Any) -> None:
        self.now = 0.0
        self.router = router.Router(
            b"endpoint",
            limits.Settings(**settings),
            on_opened=lambda hello: self.opened.add(hello.peer),
            on_closed=lambda hello, reason: self.closed.append((hello.peer, reason)),
            on_refused=lambda visitor, why: self.refused.append((visitor.text, why)),
            on_slow=lambda hello: self.slow.append(hello.host),
        )
        self.slow: list[str] = []
        self.refused: list[tuple[str, str]] = []
        self.opened: set[bytes] = set()
        self.closed: list[tuple[bytes, str]] = []
        self.peers: dict[bytes, Peer] = {}
        self._keys = itertools.count()

    def connect(self, name: str, **fields: Any) -> Peer:
        """A connection whose HELLO has been written and not yet been read."""
        hello = pairs.HELLO._replace(
            peer=f"p-{name:6}".encode(),
            outbox=f"o-{name:6}".encode(),
            host=name,
            window_messages=64,
            window_bytes=1 << 20,
        )._replace(**fields)
        peer = Peer(f"key-{next(self._keys)}".encode(), hello, self.now)
        self.peers[peer.key] = peer
        return peer

    def join(self, name: str, *, visitor: identity.Visitor | None = None, **fields: Any) -> Peer:
        """A peer whose session is up, if it is admitted."""
        peer = self.connect(name, **fields)
        peer.visitor = visitor
        self.settle()
        return peer

    def listen(self, name: str, *addresses: str, fanouts: tuple[str, ...] = ()) -> Peer:
        """A peer with one listener."""
        peer = self.join(name)
        peer.session.queue(messages.Listen(1, list(addresses), list(fanouts), ""))
        self.settle()
        return peer

    def disconnect(self, peer: Peer) -> None:
        """The connection is gone; the router learns it when it next writes to it."""
        peer.connected = False
        peer.arriving.clear()
        self.peers.pop(peer.key, None)

    def turn(self) -> int:
        """Every peer writes, the router passes on, every peer that reads reads all."""
        moved = 0
        awake = [peer for peer in self.peers.values() if not peer.frozen]
        for peer in awake:
            for packet in peer.session.outgoing():
                moved += 1
                self.router.receive(peer.key, packet, self.now, peer.visitor)
        self.router.tick(self.now)
        for key, packet, batch in self.router.outgoing():
            moved += 1
            receiver = self.peers.get(key)
            if receiver is None:
                self.router.unreachable(key, batch)
            else:
                receiver.arriving.append(packet)
        for peer in awake:
            while peer.reading and peer.arriving:
                moved += 1
                inbound = peer.session.receive(peer.arriving.popleft(), self.now)
                peer.inbox += inbound
                peer.untaken += inbound
            if peer.taking and peer.untaken:
                moved += 1
                for message in peer.untaken:
                    peer.session.consumed(message)
                peer.untaken.clear()
            peer.session.tick(self.now)
        return moved

    def settle(self, limit: int = 200) -> None:
        """Run until nothing moves."""
        for _ in range(limit):
            if not self.turn():
                return
        raise AssertionError(f"still moving after {limit} turns")

    def wait(self, seconds: float) -> None:
        """Let time pass in small steps, with nothing on its way before and after."""
        self.settle()
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 0.25, end)
            self.turn()
        self.settle()


def deliver(to: bytes, number: int = 1, size: int = 10, **fields: Any) -> messages.Deliver:
    """A delivery of a record."""
    message = messages.Deliver(
        to, 1, None, None, 1, messages.Kind.RECORD, number, 1, 0, "", "v/e/t", 0, 0, bytes(size)
    )
    return message._replace(**fields)
