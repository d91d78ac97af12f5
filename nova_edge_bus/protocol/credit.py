# SPDX-License-Identifier: Apache-2.0
"""Credit: how much one side of a session may have on its way to the other.

Each side announces a window of messages and of bytes. A credited message may be written while
*less* than the window is outstanding, in messages and in bytes, so that a message larger than
the whole window still passes, alone. What the receiver's owner has taken comes back as CREDIT,
cumulative, so that a lost or late one costs nothing but time.
"""

from nova_edge_bus.protocol import messages

OVERHEAD = 64
"""Bytes that every message counts for beside its texts, lists and body."""

PER_NUMBER = 8
PER_CONSUMER = 64


def weight(message: messages.Message) -> int:
    """Bytes that a message counts for in windows and buffers; both sides count the same.

    A text counts for its characters, so the bytes of a message are at most four times this.
    """
    if isinstance(message, messages.Deliver):
        return OVERHEAD + len(message.body) + len(message.group) + len(message.address)
    if isinstance(message, messages.Reply):
        return OVERHEAD + len(message.body)
    return OVERHEAD + _rest(message)


def _rest(message: messages.Message) -> int:
    match message:
        case messages.Fanout():
            return len(message.body) + len(message.address)
        case messages.Accept() | messages.Holding():
            return PER_NUMBER * len(message.numbers)
        case messages.Refuse():
            return PER_NUMBER * len(message.numbers) + len(message.text)
        case messages.Want() | messages.Grant():
            return len(message.address)
        case messages.Routes():
            pools = sum(len(consumer.pool) for consumer in message.consumers)
            return len(message.address) + PER_CONSUMER * len(message.consumers) + pools
        case messages.Lookup() | messages.Forget():
            return sum(map(len, message.addresses))
        case messages.Listen():
            return sum(map(len, message.addresses)) + sum(map(len, message.fanouts))
    return 0


class SendWindow:
    """What may still be written: begins shut, opens with the other side's window."""

    __slots__ = ("_bytes", "_bytes_limit", "_messages", "_messages_limit", "_window")

    def __init__(self) -> None:
        self._messages = 0
        self._bytes = 0
        self._messages_limit = 0
        self._bytes_limit = 0
        self._window = (0, 0)

    @property
    def open(self) -> bool:
        """Whether one more message may be written, whatever its weight."""
        return self._messages < self._messages_limit and self._bytes < self._bytes_limit

    @property
    def left(self) -> int:
        """How many messages may still be written, as long as they are small."""
        return max(0, self._messages_limit - self._messages) if self.open else 0

    def grant(self, window_messages: int, window_bytes: int) -> None:
        """Open with the window that the other side announced."""
        self._window = (window_messages, window_bytes)
        self._messages_limit = window_messages
        self._bytes_limit = window_bytes

    def spend(self, size: int) -> None:
        """Count one message of that weight as written."""
        self._messages += 1
        self._bytes += size

    def returned(self, credit: messages.Credit) -> bool:
        """Take a CREDIT in; false when it claims more than was ever written."""
        if credit.messages > self._messages or credit.size > self._bytes:
            return False
        window_messages, window_bytes = self._window
        self._messages_limit = max(self._messages_limit, credit.messages + window_messages)
        self._bytes_limit = max(self._bytes_limit, credit.size + window_bytes)
        return True


class ReceiveWindow:
    """What the other side may still send, and what is due to be returned to it."""

    __slots__ = (
        "_arrived_bytes",
        "_arrived_messages",
        "_reported_bytes",
        "_reported_messages",
        "_taken_bytes",
        "_taken_messages",
        "_window_bytes",
        "_window_messages",
    )

    def __init__(self, window_messages: int, window_bytes: int) -> None:
        self._window_messages = window_messages
        self._window_bytes = window_bytes
        self._arrived_messages = 0
        self._arrived_bytes = 0
        self._taken_messages = 0
        self._taken_bytes = 0
        self._reported_messages = 0
        self._reported_bytes = 0

    def arrived(self, size: int) -> bool:
        """Count a message in; false when the other side had no credit for it."""
        within = (
            self._arrived_messages - self._reported_messages < self._window_messages
            and self._arrived_bytes - self._reported_bytes < self._window_bytes
        )
        self._arrived_messages += 1
        self._arrived_bytes += size
        return within

    @property
    def arrivals(self) -> tuple[int, int]:
        """Messages and bytes that have come in so far."""
        return self._arrived_messages, self._arrived_bytes

    def taken(self, size: int) -> None:
        """Count a message as taken by the session's owner."""
        self._taken_messages += 1
        self._taken_bytes += size

    def all_taken(self) -> None:
        """Count all that has arrived as taken."""
        self._taken_messages = self._arrived_messages
        self._taken_bytes = self._arrived_bytes

    @property
    def due(self) -> bool:
        """Whether a quarter of the window has been taken since the last report."""
        return (
            4 * (self._taken_messages - self._reported_messages) >= self._window_messages
            or 4 * (self._taken_bytes - self._reported_bytes) >= self._window_bytes
        )

    def report(self) -> messages.Credit:
        """The CREDIT to send now."""
        self._reported_messages = self._taken_messages
        self._reported_bytes = self._taken_bytes
        return messages.Credit(self._taken_messages, self._taken_bytes)
