# SPDX-License-Identifier: Apache-2.0
"""Endpoints with the real router in them, and connections that break as TCP's do."""

import collections
import itertools

from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import router
from nova_edge_bus.protocol import session
from nova_edge_bus.protocol import settings

CODEC = codec.Codec(compress=False)
LINK_TIMEOUT = 5.0
WINDOW = (16, 1 << 20)
_keys = itertools.count(1)


class Endpoint:
    """An endpoint through all its lives; each begins with a router that knows nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.router: router.Router | None = None
        self.connections: dict[bytes, Connection] = {}
        self.start()

    def start(self) -> None:
        self.router = router.Router(
            self.name.encode().ljust(8, b"-"),
            settings.Settings(window_messages=WINDOW[0], pending_messages=24, max_sessions=64),
        )

    def stop(self) -> None:
        self.router = None
        for connection in list(self.connections.values()):
            connection.cut()

    def turn(self, now: float) -> None:
        """Let the router see the time, and write out what it has to say."""
        if self.router is None:
            return
        self.router.tick(now)
        for key, packet, batch in list(self.router.outgoing()):
            connection = self.connections.get(key)
            if connection is None or connection.endpoint_knows:
                self.router.unreachable(key, batch)
            elif connection.is_up:
                connection.down.append(packet)


class Connection:
    """One connection of a process to an endpoint, with what is on its way in both directions.

    :ivar endpoint_knows: whether a break has been noticed at the endpoint's side
    :ivar peer_knows: whether a break has been noticed at the process's side
    """

    def __init__(self, endpoint: Endpoint, hello: messages.Hello, now: float) -> None:
        self.endpoint = endpoint
        self.key = next(_keys).to_bytes(4, "big")
        self.session = session.DialSession(hello, link_timeout=LINK_TIMEOUT, now=now, codec=CODEC)
        self.up: collections.deque[bytes] = collections.deque()
        self.down: collections.deque[bytes] = collections.deque()
        self.is_up = True
        self.endpoint_knows = False
        self.peer_knows = False
        endpoint.connections[self.key] = self

    def carry_up(self, now: float) -> None:
        """Bring one packet to the endpoint."""
        packet = self.up.popleft()
        if self.endpoint.router is not None:
            self.endpoint.router.receive(self.key, packet, now)

    def carry_down(self, now: float) -> list[messages.Message]:
        """Bring one packet to the process."""
        return self.session.receive(self.down.popleft(), now)

    def write(self) -> None:
        """Write what the session has to say."""
        packets = self.session.outgoing()
        if self.is_up:
            self.up.extend(packets)

    def cut(self, *, endpoint_knows: bool = True, peer_knows: bool = True) -> None:
        """Break and lose all that is on its way; who does not know finds out by silence."""
        self.is_up = False
        self.up.clear()
        self.down.clear()
        self.endpoint_knows = self.endpoint_knows or endpoint_knows
        self.peer_knows = self.peer_knows or peer_knows

    def abandon(self, *, endpoint_knows: bool) -> None:
        """The process is gone: what it has written may still arrive, nothing else does."""
        self.down.clear()
        self.is_up = False
        self.endpoint_knows = endpoint_knows

    @property
    def over(self) -> bool:
        """Whether nothing comes of it any more, at the process's side."""
        return self.peer_knows or self.session.closed
