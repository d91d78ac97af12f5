# SPDX-License-Identifier: Apache-2.0
"""The payload of a packet made smaller, with what both sides know already.

That is the dictionary of this version, which holds the words of nova's RPC, and, where the two
sides of a session have agreed to keep it, the end of what the session has said before.
"""

import enum
import functools
import importlib.resources

import zstandard

from nova_edge_bus import errors
from nova_edge_bus.protocol import history

MAX_PACKET = 16 * 1024 * 1024
"""Bytes of a packet at most, both as it travels and as it is when unpacked."""

FREE_EXPANSION = 1024 * 1024
"""Bytes that any compressed packet may expand to."""

MAX_RATIO = 256
"""Times its own size that a compressed packet may expand to beyond that."""

TABLES = 150
"""Bytes of the dictionary before its text: its marks, and the tables of its entropy coders."""

TEXT_WITH_HISTORY = 16 * 1024
"""Bytes of the dictionary's text, from its end, that stand before a history.

All of it would take twice the time, for it is indexed for each packet, and does not make packets
smaller.
"""

_SMALLEST = 200
_SMALLEST_WITH_HISTORY = 100
_LEVEL = 3
_LEVEL_SHORT = 9
_SHORT = 16 * 1024
"""Bytes of an unpacked payload below which a higher level is worth its time. Such are what a
linked host says all day, a few a second; the packets of a drain are longer, and many."""


class Encoding(enum.IntEnum):
    """The first byte of a packet."""

    PLAIN = 0
    ZSTD = 1
    ZSTD_DICTIONARY_1 = 2
    ZSTD_HISTORY_1 = 3


class Compressor:
    """Compresses payloads and takes them apart again; not to be shared by threads."""

    def __init__(self) -> None:
        self._long = _compressor(_LEVEL)
        self._short = _compressor(_LEVEL_SHORT)
        self._plain_reader = zstandard.ZstdDecompressor()
        self._reader = zstandard.ZstdDecompressor(dict_data=_dictionary())

    def compress(self, payload: memoryview, said: history.History | None) -> bytes | None:
        """The packet of a payload, or nothing where it would not become smaller.

        :param said: what has gone the same way before, where the reader has kept it
        """
        size = len(payload)
        if said is not None and _SMALLEST_WITH_HISTORY <= size < _SHORT:
            packet = b"\x03" + _compressor_after(said.text).compress(payload)
        elif size >= _SMALLEST:
            packet = b"\x02" + (self._short if size < _SHORT else self._long).compress(payload)
        else:
            return None
        if len(packet) < size - size // 16 and size <= _largest_expansion(len(packet)):
            return packet
        return None

    def decompress(self, packet: memoryview, heard: history.History | None) -> bytes | memoryview:
        """The payload of a packet.

        :param heard: what has come the same way before, where the sides have agreed to keep it
        :raises ProtocolError: when it is none, or larger than it may be
        """
        encoding, payload = packet[0], packet[1:]
        if encoding == Encoding.PLAIN:
            return payload
        reader = self._reader_of(encoding, heard)
        try:
            size = zstandard.frame_content_size(payload)
            if not 0 <= size <= min(MAX_PACKET, _largest_expansion(len(payload))):
                raise errors.ProtocolError(
                    f"packet of {len(payload)} compressed bytes claims {size} unpacked bytes"
                )
            unpacked: bytes = reader.decompress(payload, allow_extra_data=False)
        except zstandard.ZstdError as exc:
            raise errors.ProtocolError(f"packet cannot be decompressed: {exc}") from None
        return unpacked

    def _reader_of(
        self, encoding: int, heard: history.History | None
    ) -> zstandard.ZstdDecompressor:
        if encoding == Encoding.ZSTD:
            return self._plain_reader
        if encoding == Encoding.ZSTD_DICTIONARY_1:
            return self._reader
        if encoding != Encoding.ZSTD_HISTORY_1:
            raise errors.ProtocolError(f"packet has unknown encoding {encoding}")
        if heard is None:
            raise errors.ProtocolError("packet refers to a history that was not agreed on")
        return zstandard.ZstdDecompressor(dict_data=_dictionary_and(heard.text))


def unpacked_size(packet: bytes | memoryview) -> int:
    """Bytes that a packet has when unpacked, as it says; 0 when that cannot be told."""
    if len(packet) < 2 or packet[0] == Encoding.PLAIN:
        return len(packet)
    try:
        return int(zstandard.frame_content_size(memoryview(packet)[1:]))
    except zstandard.ZstdError:
        return 0


def refers_to_history(packet: bytes | memoryview) -> bool:
    """Whether only who has read what came before can read *packet*."""
    return len(packet) > 0 and packet[0] == Encoding.ZSTD_HISTORY_1


def _largest_expansion(compressed: int) -> int:
    return max(FREE_EXPANSION, MAX_RATIO * compressed)


@functools.cache
def _dictionary_bytes() -> bytes:
    return importlib.resources.files(__package__).joinpath("v1.zdict").read_bytes()


@functools.cache
def _dictionary(level: int = _LEVEL) -> zstandard.ZstdCompressionDict:
    dictionary = zstandard.ZstdCompressionDict(_dictionary_bytes())
    dictionary.precompute_compress(level=level)
    return dictionary


@functools.cache
def _short_dictionary_bytes() -> bytes:
    whole = _dictionary_bytes()
    return whole[:TABLES] + whole[-TEXT_WITH_HISTORY:]


def _dictionary_and(said: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(
        _short_dictionary_bytes() + said, dict_type=zstandard.DICT_TYPE_FULLDICT
    )


# The encoding byte names the dictionary, so its id need not stand in the frame.
def _compressor(level: int) -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=level, dict_data=_dictionary(level), write_dict_id=False)


def _compressor_after(said: bytes) -> zstandard.ZstdCompressor:
    # With a checksum: histories that differ would else be read as messages that nobody has sent.
    return zstandard.ZstdCompressor(
        level=_LEVEL_SHORT,
        dict_data=_dictionary_and(said),
        write_dict_id=False,
        write_checksum=True,
    )
