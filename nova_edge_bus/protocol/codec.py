# SPDX-License-Identifier: Apache-2.0
"""Packets: the one unit that a socket carries, as bytes to messages and back.

A packet is one byte that names its encoding and then the msgpack array of its messages, which
stands there as it is (0), as one zstd frame (1), or as one that was made with the dictionary of
this version (2). Packets are short and much alike, so a dictionary shipped with both sides does
what a context kept for each session would, and costs an endpoint no memory per session.
"""

import collections.abc
import enum
import functools
import importlib.resources

import msgpack
import zstandard

from nova_edge_bus import errors
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import shapes
from nova_edge_bus.protocol import sizes

MAX_PACKET = 16 * 1024 * 1024
"""Bytes of a packet at most, both as it travels and as it is when unpacked."""

_WRITTEN_WHOLE = messages.CODES.keys() - messages.APPENDED.keys() - {messages.Routes}
_SMALLEST_COMPRESSED = 200
_LEVEL = 3
_LEVEL_SHORT = 9
_SHORT = 16 * 1024
"""Bytes of an unpacked packet below which a higher level is worth its time. Such are what a linked
host says all day, a few a second; the packets of a drain are longer, and many."""
FREE_EXPANSION = 1024 * 1024
"""Bytes that any compressed packet may expand to."""

MAX_RATIO = 256
"""Times its own size that a compressed packet may expand to beyond that."""

LARGE = 1024 * 1024
"""Bytes of an unpacked packet from which on it is looked through before objects are made of it."""

MAX_BESIDE_BODIES = 4 * 1024 * 1024
"""Bytes that an unpacked packet may have beside the bodies of its messages."""


class Encoding(enum.IntEnum):
    """The first byte of a packet."""

    PLAIN = 0
    ZSTD = 1
    ZSTD_DICTIONARY_1 = 2


@functools.cache
def _dictionary(level: int = _LEVEL) -> zstandard.ZstdCompressionDict:
    data = importlib.resources.files(__package__).joinpath("v1.zdict").read_bytes()
    dictionary = zstandard.ZstdCompressionDict(data)
    dictionary.precompute_compress(level=level)
    return dictionary


def _compressor(level: int) -> zstandard.ZstdCompressor:
    # The encoding byte names the dictionary, so its id need not stand in the frame.
    return zstandard.ZstdCompressor(level=level, dict_data=_dictionary(level), write_dict_id=False)


class Codec:
    """Encodes and decodes packets; keeps no state between them.

    Not to be shared by threads: the compression contexts inside cannot be.

    :param compress: whether :meth:`encode` may compress at all
    """

    def __init__(self, *, compress: bool = True) -> None:
        self.compress = compress
        # Nothing is taken out of it but whole packets, which may have a megabyte.
        self._packer = msgpack.Packer(unicode_errors="replace", autoreset=False)
        self._compressor = _compressor(_LEVEL)
        self._compressor_short = _compressor(_LEVEL_SHORT)
        self._decompressors: dict[int, zstandard.ZstdDecompressor] = {
            Encoding.ZSTD: zstandard.ZstdDecompressor(),
            Encoding.ZSTD_DICTIONARY_1: zstandard.ZstdDecompressor(dict_data=_dictionary()),
        }
        self._lists = 0
        self.unpacked = 0
        """Bytes of the packet that was decoded last, unpacked."""

    def encode(
        self, batch: collections.abc.Sequence[messages.Message], *, compress: bool = True
    ) -> bytes:
        """Put messages into one packet, compressed where that makes it smaller.

        :raises MessageTooLarge: when the packet would exceed :data:`MAX_PACKET`
        """
        packer = self._packer
        packer.reset()
        # To msgpack too, the number of the plain encoding is one byte of that value.
        packer.pack(int(Encoding.PLAIN))
        packer.pack([_array(message) for message in batch])
        with packer.getbuffer() as written:
            size = len(written) - 1
            if size >= MAX_PACKET:
                raise errors.MessageTooLarge(
                    f"packet of {len(batch)} messages has {size} bytes, "
                    f"at most {MAX_PACKET} are sent"
                )
            if compress and self.compress and size >= _SMALLEST_COMPRESSED:
                compressor = self._compressor_short if size < _SHORT else self._compressor
                packed = compressor.compress(written[1:])
                if len(packed) < size - size // 16 and size <= _largest_expansion(len(packed)):
                    return b"\x02" + packed
            return bytes(written)

    def decode(self, packet: bytes | memoryview) -> list[messages.Message]:
        """Take a packet apart; messages with codes unknown here are left out.

        :raises ProtocolError: when it is anything but a packet within the limits
        """
        if not 2 <= len(packet) <= MAX_PACKET:
            raise errors.ProtocolError(f"packet has {len(packet)} bytes")
        payload: bytes | memoryview = memoryview(packet)[1:]
        if packet[0] != Encoding.PLAIN:
            payload = self._decompress(packet[0], payload)
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

    def _decompress(self, encoding: int, payload: bytes | memoryview) -> bytes:
        decompressor = self._decompressors.get(encoding)
        if decompressor is None:
            raise errors.ProtocolError(f"packet has unknown encoding {encoding}")
        try:
            size = zstandard.frame_content_size(payload)
            if not 0 <= size <= min(MAX_PACKET, _largest_expansion(len(payload))):
                raise errors.ProtocolError(
                    f"packet of {len(payload)} compressed bytes claims {size} unpacked bytes"
                )
            unpacked: bytes = decompressor.decompress(payload, allow_extra_data=False)
        except zstandard.ZstdError as exc:
            raise errors.ProtocolError(f"packet cannot be decompressed: {exc}") from None
        return unpacked

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


def unpacked_size(packet: bytes | memoryview) -> int:
    """Bytes that a packet has when unpacked, as it says; 0 when that cannot be told."""
    if len(packet) < 2 or packet[0] == Encoding.PLAIN:
        return len(packet)
    try:
        return int(zstandard.frame_content_size(memoryview(packet)[1:]))
    except zstandard.ZstdError:
        return 0


def _largest_expansion(compressed: int) -> int:
    return max(FREE_EXPANSION, MAX_RATIO * compressed)
