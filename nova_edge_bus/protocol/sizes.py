# SPDX-License-Identifier: Apache-2.0
"""How much of a large packet is not bodies of messages, found out before anything is made of it.

A short text takes three bytes on the wire and twenty times that in memory, a body hardly more than
it has. So a packet may be large for its bodies alone.
"""

import msgpack

from nova_edge_bus import errors

_MOST_FIELDS = 64
"""Fields of a message in a packet that is looked through."""
_PER_FIELD = 16
"""Bytes that each counts for at least, so that few are looked at."""
_BODY = (0xC4, 0xC5, 0xC6)
"""How msgpack begins binary data."""


def check_beside_bodies(payload: bytes | memoryview, most: int) -> None:
    """Look through an array of messages, without making objects of them.

    :raises ProtocolError: when it has more than *most* bytes that are not fields of binary data,
        or is not such an array
    """
    unpacker = msgpack.Unpacker(max_buffer_size=len(payload))
    unpacker.feed(payload)
    beside = 0
    try:
        for _ in range(unpacker.read_array_header()):
            beside += _beside(unpacker, payload)
            if beside > most:
                raise errors.ProtocolError(
                    f"packet has more than {most} bytes beside the bodies of its messages"
                )
    except (ValueError, msgpack.UnpackException) as exc:
        raise errors.ProtocolError(f"packet cannot be unpacked: {exc}") from None


def _beside(unpacker: msgpack.Unpacker, payload: bytes | memoryview) -> int:
    """Pass over one message; what of it is not binary data."""
    begin = unpacker.tell()
    fields = unpacker.read_array_header()
    if fields > _MOST_FIELDS:
        raise errors.ProtocolError(f"message of a large packet has {fields} fields")
    bodies = 0
    for _ in range(fields):
        at = unpacker.tell()
        unpacker.skip()
        if payload[at] in _BODY:
            bodies += unpacker.tell() - at
    size: int = unpacker.tell() - begin - bodies
    return max(size, _PER_FIELD * (int(fields) + 1))
