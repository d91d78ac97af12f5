# SPDX-License-Identifier: Apache-2.0
"""Packets: the one unit that a socket carries, as bytes to messages and back.

A packet is one byte that names its encoding and then the msgpack array of its messages, as it is
or compressed, see :mod:`~nova_edge_bus.protocol.compression`.
"""

import collections.abc

import msgpack

from nova_edge_bus import errors
from nova_edge_bus.protocol import compression
from nova_edge_bus.protocol import history
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import shapes
from nova_edge_bus.protocol import sizes

_WRITTEN_WHOLE = messages.CODES.keys() - messages.APPENDED.keys() - {messages.Routes}

LARGE = 1024 * 1024
"""Bytes of an unpacked packet from which on it is looked through before objects are made of it."""

MAX_BESIDE_BODIES = 4 * 1024 * 1024
"""Bytes that an unpacked packet may have beside the bodies of its messages."""


class Codec:
    """Encodes and decodes packets; keeps nothing between them but what its callers keep.

    Not to be shared by threads: the compression contexts inside cannot be.

    :param compress: whether :meth:`encode` may compress at all
    """

    def __init__(self, *, compress: bool = True) -> None:
        self.compress = compress
        # Nothing is taken out of it but whole packets, which may have a megabyte.
        self._packer = msgpack.Packer(unicode_errors="replace", autoreset=False)
        self._compressor = compression.Compressor()
        self._lists = 0
        self.unpacked = 0
        """Bytes of the packet that was decoded last, unpacked."""

    def encode(
        self,
        batch: collections.abc.Sequence[messages.Message],
        *,
        compress: bool = True,
        said: history.History | None = None,
    ) -> bytes:
        """Put messages into one packet, compressed where that makes it smaller.

        :param said: what has gone the same way before, where the reader keeps it; grows by this
        :raises MessageTooLarge: when the packet would exceed :data:`compression.MAX_PACKET`
        """
        packer = self._packer
        packer.reset()
        # To msgpack too, the number of the plain encoding is one byte of that value.
        packer.pack(int(compression.Encoding.PLAIN))
        packer.pack([_array(message) for message in batch])
        with packer.getbuffer() as written:
            size = len(written) - 1
            if size >= compression.MAX_PACKET:
                raise errors.MessageTooLarge(
                    f"packet of {len(batch)} messages has {size} bytes, "
                    f"at most {compression.MAX_PACKET} are sent"
                )
            packet = None
            if compress and self.compress:
                packet = self._compressor.compress(written[1:], said)
            if said is not None:
                said.remember(written[1:])
            return packet or bytes(written)

    def decode(
        self, packet: bytes | memoryview, heard: history.History | None = None
    ) -> list[messages.Message]:
        """Take a packet apart; messages with codes unknown here are left out.

        :param heard: what has come the same way before, where both sides keep it; grows by this
        :raises ProtocolError: when it is anything but a packet within the limits
        """
        if not 2 <= len(packet) <= compression.MAX_PACKET:
            raise errors.ProtocolError(f"packet has {len(packet)} bytes")
        payload = self._compressor.decompress(memoryview(packet), heard)
        if heard is not None:
            heard.remember(payload)
        self.unpacked = len(payload)
        if self.unpacked > LARGE:
            sizes.check_beside_bodies(payload, MAX_BESIDE_BODIES)
        items = self._unpack(payload)
        if type(items) is not list:
            raise errors.ProtocolError("packet is not an array of messages")
        batch: list[messages.Message] = []
        by_code = shapes.BY_CODE
        for item in items:
            if type(item) is not list or not item:
                raise errors.ProtocolError("packet holds something that is not a message")
            code = item[0]
            shape = by_code.get(code) if type(code) is int else None
            if shape is not None:
                batch.append(shape.read(item))
            elif type(code) is not int:
                raise errors.ProtocolError("message does not begin with its code")
        return batch

    def _unpack(self, payload: bytes | memoryview) -> object:
        self._lists = 0
        try:
            return msgpack.unpackb(
                payload,
                list_hook=self._count_list,
                max_str_len=shapes.MAX_TEXT_BYTES,
                max_bin_len=shapes.MAX_BODY,
                max_array_len=shapes.MAX_LIST,
                max_map_len=0,
                max_ext_len=0,
            )
        except (ValueError, TypeError, msgpack.UnpackException) as exc:
            raise errors.ProtocolError(f"packet cannot be unpacked: {exc}") from None

    def _count_list(self, value: list[object]) -> list[object]:
        # An empty list is one byte on the wire and 56 in memory.
        self._lists += 1
        if self._lists > shapes.MAX_LISTS:
            raise ValueError(f"more than {shapes.MAX_LISTS} arrays")
        return value


def _array(message: messages.Message) -> tuple[object, ...]:
    cls = type(message)
    if cls in _WRITTEN_WHOLE:
        return (messages.CODES[cls], *message)
    return (messages.CODES[cls], *shapes.written(message))
