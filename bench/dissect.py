# SPDX-License-Identifier: Apache-2.0
"""What the bytes on a link are made of: the streams of both buses taken apart by kind of message.

What is not understood counts as ``unknown``, so nothing that is whole is left out.
"""

import collections
import collections.abc
import dataclasses
import json
import re
import struct
import typing

from nova_edge_bus import errors
from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import history
from nova_edge_bus.protocol import messages

_ZMTP_GREETING = 64
_ZMTP_LONG, _ZMTP_COMMAND = 2, 4
_AMQP_GREETING = b"AMQP\x00\x00\x09\x01"
_AMQP_END = 0xCE
_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_PUBLISH, _DELIVER = (60, 40), (60, 60)
_AMQP_METHODS = {(60, 80): "ack", (60, 120): "nack"}
_AMQP_CLASSES = {10: "connection", 20: "channel", 40: "exchange", 50: "queue", 60: "basic"}
_INSIDE_TEXT = re.compile(rb'\\?"(method|objmethod|objname|nova_object\.name)\\?": \\?"([^"\\]+)')


@dataclasses.dataclass
class Part:
    """All messages of one kind: how many, and their bytes towards the centre and from it."""

    messages: float = 0.0
    up_bytes: float = 0.0
    down_bytes: float = 0.0


class Parts:
    """The kinds of messages of one bus, as its connections carry them."""

    def __init__(self, stream: "type[Zmtp | Amqp]") -> None:
        self._make = stream
        self._streams: dict[tuple[collections.abc.Hashable, bool], Zmtp | Amqp] = {}
        self.kinds: dict[str, Part] = collections.defaultdict(Part)
        self.asked: dict[object, str] = {}
        """What a reply belongs to, by what both carry."""

    def take(self, connection: collections.abc.Hashable, up: bool, chunk: bytes) -> None:
        """Count what a connection has carried in one direction."""
        key = (connection, up)
        if key not in self._streams:
            self._streams[key] = self._make(self)
        for kind, size in self._streams[key].take(chunk):
            part = self.kinds[kind]
            part.messages += 1
            if up:
                part.up_bytes += size
            else:
                part.down_bytes += size

    def clear(self) -> None:
        """Count from here on."""
        self.kinds.clear()


_Found = collections.abc.Iterator[tuple[str, float]]


class Zmtp:
    """One direction of a connection of the edge bus."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._codec = codec.Codec(compress=False)
        self._said: history.History | None = None
        self._buffer = bytearray()
        self._is_lost = False

    def take(self, chunk: bytes) -> _Found:
        """The kinds and sizes of what is complete with *chunk*."""
        if self._is_lost:
            yield "unknown", len(chunk)
            return
        self._buffer += chunk
        while (whole := self._whole()) is not None:
            head, size = whole
            frame = bytes(self._buffer[:size])
            del self._buffer[:size]
            if not head:
                yield "connection", size
            elif frame[0] & _ZMTP_COMMAND:
                yield "ZMTP command", size
            else:
                yield from self._packet(frame[head:], size)

    def _whole(self) -> tuple[int, int] | None:
        """Bytes before the content of the first frame, and of all of it; 0 for a greeting."""
        buffer = self._buffer
        if buffer[:1] == b"\xff":
            return (0, _ZMTP_GREETING) if len(buffer) >= _ZMTP_GREETING else None
        if len(buffer) < 9 and (len(buffer) < 2 or buffer[0] & _ZMTP_LONG):
            return None
        if buffer[0] & _ZMTP_LONG:
            head, size = 9, 9 + struct.unpack_from(">Q", buffer, 1)[0]
        else:
            head, size = 2, 2 + buffer[1]
        return (head, size) if len(buffer) >= size else None

    def _packet(self, packet: bytes, size: int) -> _Found:
        """Each message of a packet has its share of what the packet takes."""
        try:
            batch = self._codec.decode(packet, self._said)
        except errors.ProtocolError:
            self._is_lost = True
            yield "unknown", size
            return
        for message in batch:
            # The endpoints of a benchmark keep all that is offered: each direction says it.
            if isinstance(message, messages.Hello | messages.Welcome):
                self._said = history.of(message.history)
        plain = [len(self._codec.encode([message])) for message in batch]
        for message, own in zip(batch, plain, strict=True):
            yield self._kind(message), size * own / sum(plain)

    def _kind(self, message: messages.Message) -> str:
        name = type(message).__name__
        if isinstance(message, messages.Deliver):
            method = _method(message.body)
            self._parts.asked[message.kind, message.number] = method
            return f"{name} {method}"
        if isinstance(message, messages.Reply):
            return f"{name} {self._parts.asked.get((message.kind, message.number), '')}".strip()
        if isinstance(message, messages.Fanout):
            return f"{name} {_method(message.body)}"
        return name


class Amqp:
    """One direction of a connection of RabbitMQ."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._buffer = bytearray()
        self._is_lost = False
        self._contents: dict[int, tuple[int, int, bytes]] = {}

    def take(self, chunk: bytes) -> _Found:
        """The kinds and sizes of what is complete with *chunk*."""
        if self._is_lost:
            yield "unknown", len(chunk)
            return
        self._buffer += chunk
        if self._buffer.startswith(_AMQP_GREETING):
            del self._buffer[: len(_AMQP_GREETING)]
            yield "connection", len(_AMQP_GREETING)
        while len(self._buffer) >= 7:
            kind, channel, length = struct.unpack_from(">BHI", self._buffer)
            if len(self._buffer) < length + 8:
                return
            payload = bytes(self._buffer[7 : 7 + length])
            if self._buffer[7 + length] != _AMQP_END:
                self._is_lost = True
                yield "unknown", len(self._buffer)
                return
            del self._buffer[: length + 8]
            yield from self._frame(kind, channel, payload)

    def _frame(self, kind: int, channel: int, payload: bytes) -> _Found:
        size = len(payload) + 8
        if kind == _METHOD:
            method = struct.unpack_from(">HH", payload)
            if method in (_PUBLISH, _DELIVER):
                self._contents[channel] = (0, size, b"")
            else:
                yield _AMQP_METHODS.get(method, _AMQP_CLASSES.get(method[0], "method")), size
        elif kind == _HEARTBEAT:
            yield "heartbeat", size
        elif channel in self._contents:
            owed, so_far, body = self._contents.pop(channel)
            if kind == _HEADER:
                (owed,) = struct.unpack_from(">Q", payload, 4)
            else:
                body += payload
            if len(body) < owed:
                self._contents[channel] = (owed, so_far + size, body)
            else:
                yield self._content(body), so_far + size
        else:
            yield "unknown", size

    def _content(self, body: bytes) -> str:
        try:
            message: dict[str, typing.Any] = json.loads(json.loads(body)["oslo.message"])
        except (ValueError, KeyError, TypeError):
            return "content"
        own = message.get("_msg_id")
        if "method" in message:
            method = _method(body)
            self._parts.asked[own] = method
            return f"call {method}" if own else f"cast {method}"
        if "event_type" in message:
            return "notification"
        return f"reply {self._parts.asked.get(own, '')}".strip()


def _method(body: bytes) -> str:
    """What a message asks for, an object action by its object and method."""
    found: dict[bytes, str] = {}
    for name, value in _INSIDE_TEXT.findall(body):
        found.setdefault(name, value.decode())
    if b"objmethod" not in found:
        return found.get(b"method", "notification")
    owner = found.get(b"objname") or found.get(b"nova_object.name", "")
    return f"{owner}.{found[b'objmethod']}"
