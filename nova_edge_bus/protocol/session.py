# SPDX-License-Identifier: Apache-2.0
"""The two sides of a session: handshake, liveness and credit, without any I/O.

A session lives as long as the connection it was made for. Whoever owns one passes in the packets
that arrive and the time, and writes out the packets that :meth:`Session.outgoing` gives. A closed
session stays closed; its owner makes a new one, and ships again what its journal still holds.
"""

import collections
import collections.abc
import typing

from nova_edge_bus import errors
from nova_edge_bus.protocol import allowance
from nova_edge_bus.protocol import batches
from nova_edge_bus.protocol import codec as codecs
from nova_edge_bus.protocol import credit
from nova_edge_bus.protocol import history
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import shapes
from nova_edge_bus.protocol import states

State = states.State
Event = states.Event

BATCH_BYTES = batches.BATCH_BYTES
OLDEST_VERSION = 1
"""The oldest protocol version that this side still speaks."""

ID_BYTES = 8
"""Bytes of a peer id and of an outbox id."""

MAX_WINDOW = 2048
"""Messages outstanding at most, whatever window the other side announces."""

MAX_WINDOW_BYTES = 8 * 1024 * 1024
"""The same in bytes; one message may reach beyond it."""

TO_PEER: frozenset[type[messages.Message]] = frozenset({messages.Listening, messages.Routes})
"""The directory messages that an endpoint sends and a peer's owner gets."""

TO_ENDPOINT: frozenset[type[messages.Message]] = frozenset(
    {messages.Listen, messages.Unlisten, messages.Lookup, messages.Forget, messages.Report}
)
"""What a peer sends to the endpoint itself, and its owner gets."""


class Session:
    """What both sides have in common.

    :param window: messages and bytes that the other side may have on its way to this one
    :param now: seconds of a monotonic clock, as everywhere here
    """

    _transitions: typing.ClassVar[dict[tuple[State, Event], State]]
    _owners: typing.ClassVar[frozenset[type[messages.Message]]]

    def __init__(self, codec: codecs.Codec, window: tuple[int, int], now: float) -> None:
        self.state = State.GREETING
        self.reason = ""
        self.rejection: int | None = None
        self.heard = now
        self.broke_rules = False
        self.undelivered: list[messages.Message] = []
        self._codec = codec
        self._compress = codec.compress
        self._said: history.History | None = None
        self._heard: history.History | None = None
        self._pinged: float | None = None
        self._pings = 0
        self._receive_window = credit.ReceiveWindow(*window)
        self._send_window = credit.SendWindow()
        self._unread = allowance.Unread()
        self._allowance: allowance.Allowance | None = None
        self._control: list[messages.Message] = []
        self._early: list[messages.Message] = []
        self._waiting: collections.deque[tuple[int, messages.Message]] = collections.deque()
        self._waiting_bytes = 0

    @property
    def closed(self) -> bool:
        """Whether the session has ended."""
        return self.state is State.CLOSED

    @property
    def backlog(self) -> tuple[int, int]:
        """Messages and bytes that are queued and wait for credit or the next write."""
        return len(self._waiting), self._waiting_bytes

    @property
    def credit(self) -> int:
        """Messages that may be written before the other side returns credit."""
        return self._send_window.left

    def queue(self, message: messages.Message) -> None:
        """Send a message when the session is up and has credit; a closed session drops it.

        Credited messages keep their order among themselves.

        :raises MessageTooLarge: when it exceeds what the wire carries
        """
        shapes.check_size(message)
        self.forward(message)

    def forward(self, message: messages.Message) -> int:
        """As :meth:`queue`, for a message that has come off the wire and so is known to fit.

        :returns: by how many bytes the backlog has grown
        """
        if self.closed:
            return 0
        if type(message) in messages.CREDITED:
            size = credit.weight(message)
            self._waiting.append((size, message))
            self._waiting_bytes += size
            return size
        if self.state is State.UP:
            self._unread.wrote(credit.weight(message))
            self._control.append(message)
        else:
            self._early.append(message)
        return 0

    def outgoing(self) -> list[bytes]:
        """Packets to write now; once given they count as written.

        A closed session gives what it had left to say, once.
        """
        return [packet for packet, _ in self.outgoing_batches()]

    def outgoing_batches(self) -> list[tuple[bytes, list[messages.Message]]]:
        """As :meth:`outgoing`, each packet with the messages that are in it."""
        batch, self._control = self._control, []
        if self.state is State.UP and self._receive_window.due:
            batch.append(self._receive_window.report())
        if not batch and not (self._waiting and self._send_window.open):
            return []
        return [(self._encode(one), one) for one in batches.parted(self._writable(batch))]

    def _encode(self, batch: list[messages.Message]) -> bytes:
        return self._codec.encode(batch, compress=self._compress, said=self._said)

    def _writable(
        self, batch: list[messages.Message]
    ) -> collections.abc.Iterator[tuple[int, messages.Message]]:
        last_words = batch.pop() if self.state is State.CLOSED else None
        for message in batch:
            yield credit.weight(message), message
        if self._unread.is_due and self.state is State.UP:
            yield credit.OVERHEAD, self._probe()
        waiting, window = self._waiting, self._send_window
        while waiting and window.open:
            weight, message = waiting.popleft()
            self._waiting_bytes -= weight
            window.spend(weight)
            yield weight, message
        if last_words is not None:
            self._drop_waiting()
            yield credit.OVERHEAD, last_words

    def _probe(self) -> messages.Message:
        self._pings += 1
        self._unread.ask(self._pings)
        return messages.Ping(self._pings)

    @property
    def leaves_unread(self) -> bool:
        """Whether so much needed no credit, and was not read, that what can wait should."""
        return self._unread.is_full

    def receive(self, packet: bytes | memoryview, now: float) -> list[messages.Message]:
        """Take a packet in; give the messages in it that are for the session's owner.

        Anything that is not allowed closes the session, see :attr:`state` and :attr:`reason`.
        """
        if self.closed:
            return []
        self.heard = now
        self._pinged = None
        count, size = self._receive_window.arrivals
        try:
            batch = self._codec.decode(packet, self._heard)
        except errors.ProtocolError as exc:
            self._violated(str(exc))
            return []
        inbound = self._sort(batch)
        if self._allowance is not None and not self.closed:
            credited, weight = self._receive_window.arrivals
            told = len(batch) - (credited - count)
            spent = self._codec.unpacked - allowance.BYTES_PER_WEIGHT * (weight - size)
            spent = max(0, spent) + allowance.PER_MESSAGE * told
            if not self._allowance.spend(spent, now):
                self._violated("more was said than may be without credit")
        return inbound

    def _sort(self, batch: list[messages.Message]) -> list[messages.Message]:
        """Act on what is for the session, give what is for its owner."""
        inbound: list[messages.Message] = []
        for message in batch:
            if type(message) in messages.CREDITED:
                if not self._arrived(message):
                    break
                inbound.append(message)
            elif type(message) in self._owners and self.state is State.UP:
                inbound.append(message)
            else:
                self._handle(message)
                if self.closed:
                    break
        return inbound

    def _arrived(self, message: messages.Message) -> bool:
        if self.state is not State.UP:
            self._unexpected(message)
            return False
        if not self._receive_window.arrived(credit.weight(message)):
            self._violated("credit exceeded")
            return False
        return True

    def consumed(self, message: messages.Message) -> None:
        """Return credit for a message that :meth:`receive` gave and that its owner has taken."""
        if type(message) in messages.CREDITED:
            self._receive_window.taken(credit.weight(message))

    def consumed_all(self) -> None:
        """Return credit for everything that :meth:`receive` has ever given."""
        self._receive_window.all_taken()

    def close(self, text: str) -> None:
        """End the session on purpose; what has credit is still written, then GOODBYE."""
        if not self.closed:
            self._move(Event.CLOSE, text, messages.Goodbye(text))

    def lose(self, text: str) -> None:
        """End the session because its connection is gone; nothing is written any more."""
        if not self.closed:
            self._move(Event.LOSS, text)

    def expel(self, text: str) -> None:
        """End the session because the other side asked for more than it may."""
        if not self.closed:
            self.broke_rules = True
            self.close(text)

    def tick(self, now: float) -> None:
        """Notice silence: ask with PING at first, then close the session."""
        if self.closed or now < self._deadline():
            return
        if self._pinged is None and self.state is State.UP:
            self._pings += 1
            self._pinged = now
            self._control.append(messages.Ping(self._pings))
        else:
            silence = now - self.heard
            text = f"silent: nothing heard for {silence:.1f} s"
            self._move(Event.SILENCE, text, messages.Goodbye(text))

    def next_deadline(self) -> float | None:
        """When :meth:`tick` has something to do next, unless a packet comes first."""
        return None if self.closed else self._deadline()

    def _deadline(self) -> float:
        interval, patience = self._timing()
        if self._pinged is not None:
            return self._pinged + patience
        if self.state is State.GREETING:
            return self.heard + interval + patience
        return self.heard + interval

    def _timing(self) -> tuple[float, float]:
        """Seconds of silence until PING, and from there until the session is closed."""
        raise NotImplementedError

    def _grant(self, window_messages: int, window_bytes: int) -> None:
        """The other side's window, no wider than what this side would buffer for it."""
        self._send_window.grant(
            min(window_messages, MAX_WINDOW), min(window_bytes, MAX_WINDOW_BYTES)
        )

    def _move(
        self, event: Event, text: str = "", last_words: messages.Message | None = None
    ) -> None:
        self.state = self._transitions[self.state, event]
        if self.state is State.CLOSED:
            self.reason = text
            if event is not Event.CLOSE:
                self._drop_waiting()
            self._early.clear()
            self._control = [last_words] if last_words is not None else []
        else:
            self._control.extend(self._early)
            self._early.clear()

    def _drop_waiting(self) -> None:
        self.undelivered.extend(message for _, message in self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0

    def _violated(self, text: str) -> None:
        reason = f"protocol error: {text}"
        self.broke_rules = True
        self._move(Event.VIOLATION, reason, messages.Goodbye(reason))

    def _unexpected(self, message: messages.Message) -> None:
        self._violated(f"unexpected {type(message).__name__} while {self.state.value}")

    def _handle(self, message: messages.Message) -> None:
        """Take a message that is for the session itself."""
        if isinstance(message, messages.Goodbye):
            self._move(Event.GOODBYE, f"the other side said goodbye: {message.text}")
        elif self.state is not State.UP:
            self._unexpected(message)
        elif isinstance(message, messages.Ping):
            self._control.append(messages.Pong(message.token))
        elif isinstance(message, messages.Credit):
            if not self._send_window.returned(message):
                self._violated("credit returned for more than was sent")
        elif isinstance(message, messages.Pong):
            self._unread.answered(message.token)
        else:
            self._unexpected(message)


class DialSession(Session):
    """The peer's side; HELLO is the first thing that :meth:`outgoing` gives.

    :param hello: who this peer is, with its receive window; ``compress`` follows the codec
    :param link_timeout: seconds of silence that the link may have
    """

    _transitions = states.DIAL_TRANSITIONS
    _owners = TO_PEER

    def __init__(
        self, hello: messages.Hello, *, link_timeout: float, now: float, codec: codecs.Codec
    ) -> None:
        super().__init__(codec, (hello.window_messages, hello.window_bytes), now)
        shapes.check_size(hello)
        kept = history.SIZE if codec.compress else 0
        self.hello = hello._replace(compress=codec.compress, history=kept)
        self.welcome: messages.Welcome | None = None
        self.urgent = False
        self._link_timeout = link_timeout
        self._control.append(self.hello)

    def _timing(self) -> tuple[float, float]:
        interval = self._link_timeout / 3
        if self.welcome is not None and not self.urgent:
            return max(interval, self.welcome.heartbeat / 1000), 2 * interval
        return interval, 2 * interval

    def _handle(self, message: messages.Message) -> None:
        if isinstance(message, messages.Reset):
            self._move(Event.RESET, "reset: the endpoint does not know this session")
        elif self.state is State.GREETING and isinstance(message, messages.Welcome):
            self._welcomed(message)
        elif self.state is State.GREETING and isinstance(message, messages.Reject):
            self.rejection = message.code
            self._move(Event.REJECT, f"rejected: {message.text}")
        else:
            super()._handle(message)

    def _welcomed(self, welcome: messages.Welcome) -> None:
        if not self.hello.oldest_version <= welcome.version <= self.hello.newest_version:
            self._violated(f"endpoint chose version {welcome.version}, which was not offered")
            return
        if welcome.history > self.hello.history:
            self._violated(f"endpoint keeps a history of {welcome.history}, more than was offered")
            return
        self.welcome = welcome
        self._said = history.of(welcome.history)
        self._heard = history.of(welcome.history)
        self._grant(welcome.window_messages, welcome.window_bytes)
        self._move(Event.WELCOME)
