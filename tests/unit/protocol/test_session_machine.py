# SPDX-License-Identifier: Apache-2.0
"""A peer and an endpoint over a wire that can break at any moment, under random schedules.

The wire keeps order and loses nothing while the connection stands, as TCP does; when it breaks,
everything on its way is lost, and either side may be the last to know.
"""

import collections
from typing import Any

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st

from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import session
from nova_edge_bus.protocol.states import State
from tests.unit.protocol import pairs

# True one time in eight: what ends a session must not keep the rest from happening.
LUCK = st.integers(0, 7).map(lambda number: number == 7)
NAMES = st.sampled_from(["peer", "endpoint"])
SIZES = st.sampled_from([0, 10, 500, 3000])


class Side:
    """One side's session, the packets on their way to it, and what its owner has done.

    ``source`` is what the session at the other end was given to send.
    """

    def __init__(self, own: session.Session) -> None:
        self.session = own
        self.arriving: collections.deque[tuple[bytes, list[messages.Message]]] = (
            collections.deque()
        )
        self.sent: list[messages.Message] = []
        self.source: list[messages.Message] = []
        self.received: list[messages.Message] = []
        self.untaken: collections.deque[messages.Message] = collections.deque()


class SessionMachine(stateful.RuleBasedStateMachine):
    """What a session promises, whatever happens to the connection beneath it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.number = 0
        self.connect(up=True)

    @stateful.rule(luck=LUCK, up=st.booleans())
    def connection_breaks(self, luck: bool, up: bool) -> None:
        """All on its way is lost, and the peer makes a new connection."""
        if luck:
            self.connect(up)

    def connect(self, up: bool) -> None:
        peer, endpoint = Side(pairs.dial(now=self.now)), Side(pairs.accept(now=self.now))
        peer.source, endpoint.source = endpoint.sent, peer.sent
        self.sides = {"peer": peer, "endpoint": endpoint}
        if up:
            self.write("peer")
            self.read("endpoint", 1)
            self.write("endpoint")
            self.read("peer", 1)

    @stateful.rule(luck=LUCK)
    def endpoint_restarts(self, luck: bool) -> None:
        """The endpoint forgets the session, the connection is made again beneath the peer."""
        if not luck:
            return
        old = self.sides["endpoint"]
        new = self.sides["endpoint"] = Side(pairs.accept(now=self.now))
        new.arriving = old.arriving
        new.source = old.source
        peer = self.sides["peer"]
        peer.arriving.clear()
        if peer.session.state is State.GREETING:
            peer.source = new.sent

    @stateful.rule(name=NAMES, size=SIZES, count=st.integers(1, 6))
    def send(self, name: str, size: int, count: int) -> None:
        side = self.sides[name]
        for _ in range(count if not side.session.closed else 0):
            self.number += 1
            side.sent.append(pairs.reply(self.number, size))
            side.session.queue(side.sent[-1])

    @stateful.rule(name=NAMES)
    def write(self, name: str) -> None:
        other = self.sides["endpoint" if name == "peer" else "peer"]
        other.arriving.extend(self.sides[name].session.outgoing_batches())

    @stateful.rule(name=NAMES, packets=st.integers(1, 3))
    def read(self, name: str, packets: int) -> None:
        side = self.sides[name]
        for _ in range(min(packets, len(side.arriving))):
            packet, _ = side.arriving.popleft()
            inbound = side.session.receive(packet, self.now)
            side.received.extend(inbound)
            side.untaken.extend(inbound)

    @stateful.rule(name=NAMES, count=st.integers(1, 5))
    def take(self, name: str, count: int) -> None:
        side = self.sides[name]
        for _ in range(min(count, len(side.untaken))):
            side.session.consumed(side.untaken.popleft())

    @stateful.rule(seconds=st.sampled_from([0.1, 1.0, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for side in self.sides.values():
            side.session.tick(self.now)

    @stateful.rule()
    def settle(self) -> None:
        """With both sides at work and the link up, everything sent arrives and is taken."""
        for _ in range(60):
            for name in ("peer", "endpoint"):
                self.write(name)
            for name in ("peer", "endpoint"):
                self.read(name, 3)
                self.take(name, 5)
        peer, endpoint = self.sides["peer"], self.sides["endpoint"]
        if peer.session.state is endpoint.session.state is State.UP:
            assert peer.received == endpoint.sent
            assert endpoint.received == peer.sent

    @stateful.invariant()
    def nothing_is_reordered_or_invented(self) -> None:
        for side in self.sides.values():
            assert side.received == side.source[: len(side.received)]

    @stateful.invariant()
    def credit_is_never_exceeded(self) -> None:
        windows = {
            "peer": (pairs.HELLO.window_messages, pairs.HELLO.window_bytes),
            "endpoint": (pairs.WELCOME.window_messages, pairs.WELCOME.window_bytes),
        }
        for name, (window_messages, window_bytes) in windows.items():
            side = self.sides[name]
            outstanding: list[Any] = list(side.untaken)
            for _, batch in side.arriving:
                outstanding += [one for one in batch if isinstance(one, messages.Reply)]
            assert len(outstanding) <= window_messages
            assert sum(64 + len(message.body) for message in outstanding[:-1]) < window_bytes

    @stateful.invariant()
    def nobody_breaks_the_protocol(self) -> None:
        for side in self.sides.values():
            assert "protocol error" not in side.session.reason

    @stateful.invariant()
    def the_backlog_is_counted_right(self) -> None:
        for name, side in self.sides.items():
            count, size = side.session.backlog
            waiting = side.sent[len(side.sent) - count :]
            assert size == sum(64 + len(message.body) for message in waiting), name


TestSessions = SessionMachine.TestCase
TestSessions.settings = hypothesis.settings(max_examples=150, stateful_step_count=40)
