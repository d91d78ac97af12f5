# SPDX-License-Identifier: Apache-2.0
"""The endpoint's side of a session."""

import collections.abc

from nova_edge_bus.protocol import allowance
from nova_edge_bus.protocol import codec as codecs
from nova_edge_bus.protocol import compression
from nova_edge_bus.protocol import history
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import session
from nova_edge_bus.protocol import states

State = states.State
Event = states.Event

MAX_GREETING = 4096
"""Bytes of the packet with the HELLO at most, unpacked."""


class AcceptSession(session.Session):
    """The endpoint's side; the first packet decides whether it comes up at all.

    :param welcome: what to answer to HELLO; its version is the newest spoken here
    :param admit: looks at a HELLO and gives the rejection, if it is not to be admitted
    :param bounds: what the peer may do
    """

    _transitions = states.ACCEPT_TRANSITIONS
    _owners = session.TO_ENDPOINT

    def __init__(
        self,
        welcome: messages.Welcome,
        admit: collections.abc.Callable[[messages.Hello], messages.Reject | None],
        *,
        now: float,
        codec: codecs.Codec,
        bounds: allowance.Bounds = allowance.OF_A_CENTRE,
    ) -> None:
        super().__init__(codec, (welcome.window_messages, welcome.window_bytes), now)
        self._allowance = allowance.Allowance(bounds.burst, bounds.rate, now)
        self.hello: messages.Hello | None = None
        self._welcome = welcome
        self._admit = admit

    def _timing(self) -> tuple[float, float]:
        interval = 1.5 * self._welcome.heartbeat / 1000
        return interval, max(interval, 5.0)

    def receive(self, packet: bytes | memoryview, now: float) -> list[messages.Message]:
        """As any session does; what is too large for a HELLO is not looked into."""
        if self.state is State.GREETING:
            if compression.refers_to_history(packet):
                self._move(Event.RESET, "reset: a packet of another session", messages.Reset())
                return []
            if compression.unpacked_size(packet) > MAX_GREETING:
                self._move(Event.RESET, "reset: a large packet before HELLO", messages.Reset())
                return []
        return super().receive(packet, now)

    def charge(self, amount: int) -> None:
        """Count work that the peer makes as if it had said so many bytes without credit."""
        if self._allowance is not None and not self._allowance.spend(amount, self.heard):
            self.expel("limit exceeded: it makes more work than may be made without credit")

    def _handle(self, message: messages.Message) -> None:
        if self.state is State.GREETING and isinstance(message, messages.Hello):
            self._greeted(message)
        else:
            super()._handle(message)

    def _greeted(self, hello: messages.Hello) -> None:
        if len(hello.peer) != session.ID_BYTES or len(hello.outbox) not in (0, session.ID_BYTES):
            self._violated(f"ids of a HELLO have {session.ID_BYTES} bytes")
            return
        rejection = self._judge(hello)
        if rejection is not None:
            self.rejection = rejection.code
            self._move(Event.REJECT, f"rejected: {rejection.text}", rejection)
            return
        self.hello = hello
        self._compress = hello.compress
        self._grant(hello.window_messages, hello.window_bytes)
        kept = min(hello.history, history.SIZE) if hello.compress else 0
        self._heard = history.of(kept)
        version = min(hello.newest_version, self._welcome.version)
        self._control.append(self._welcome._replace(version=version, history=kept))
        self._move(Event.HELLO)

    def _encode(self, batch: list[messages.Message]) -> bytes:
        packet = super()._encode(batch)
        # The peer begins to remember when it has read the packet with the Welcome.
        if isinstance(batch[0], messages.Welcome):
            self._said = history.of(batch[0].history)
        return packet

    def _judge(self, hello: messages.Hello) -> messages.Reject | None:
        newest = self._welcome.version
        if min(hello.newest_version, newest) >= max(hello.oldest_version, session.OLDEST_VERSION):
            return self._admit(hello)
        return messages.Reject(
            messages.Rejection.VERSION,
            f"endpoint speaks versions {session.OLDEST_VERSION} to {newest}, "
            f"peer {hello.oldest_version} to {hello.newest_version}",
        )

    def _unexpected(self, message: messages.Message) -> None:
        if self.state is State.GREETING:
            text = f"reset: {type(message).__name__} before HELLO"
            self._move(Event.RESET, text, messages.Reset())
        else:
            super()._unexpected(message)
