# SPDX-License-Identifier: Apache-2.0
"""Packets from pure noise to well-formed messages in an order that makes no sense."""

from __future__ import annotations

import json
import pathlib
import random
import typing
from collections.abc import Callable
from typing import Any

import msgpack
import zstandard

from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import compression
from nova_edge_bus.protocol import history
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import shapes

_GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
_PLAIN = codec.Codec(compress=False)
_COMPRESSING = codec.Codec()
_COMPRESSOR = compression.Compressor()
_ZSTD = zstandard.ZstdCompressor(level=1)

PEERS = tuple(f"p-{number:06}".encode() for number in range(6))
OUTBOXES = tuple(f"o-{number:06}".encode() for number in range(6))
HOSTS = tuple(f"edge-{number}" for number in range(6))
ADDRESSES = (
    "/openstack/conductor",
    "/openstack/compute",
    "/openstack/compute/edge-1",
    "/openstack/compute-alt/edge-1",
    "/openstack/conductor/edge-2#pool",
    "nonsense",
    "",
)
_NUMBERS = (0, 1, 2, 3, 7, 255, 256, 4096, 65535, 2**31, 2**32, 2**53, shapes.MAX_INT)
_TEXTS = (*ADDRESSES, *HOSTS, "nova-compute", "instance-1", "compute:edge-1", "\x00", "ü" * 9)
_ODD = (None, True, -1, 1.5, 2**64 - 1, -(2**63), b"", "", [], [[]], [[[]]], "ab", b"\xff" * 33)


def golden() -> list[bytes]:
    """The packets of all golden vectors."""
    return [
        bytes.fromhex(vector["packet"])
        for path in sorted(_GOLDEN.glob("v1*.json"))
        for vector in json.loads(path.read_text())["vectors"]
    ]


class Inputs:
    """Gives packets; the same *seed*, the same packets."""

    def __init__(self, seed: object) -> None:
        self.random = random.Random(repr(seed))
        self._golden = _VECTORS
        self._makers: list[Callable[[], bytes]] = [
            self.noise,
            self.mutated,
            self.mutated,
            self.odd,
            self.compressed_noise,
            *([self.well_formed] * 7),
        ]

    def packet(self, allowed: tuple[Any, ...] = ()) -> bytes:
        """A packet of any kind; most often of messages that are *allowed* just now."""
        if allowed and self.random.random() < 0.93:
            return self.well_formed(*allowed)
        return self.random.choice(self._makers)()

    def noise(self) -> bytes:
        """Bytes that mean nothing, though they may begin as a packet does."""
        begin = self.random.choice((b"", b"\x00", b"\x00\x91", b"\x01", b"\x02", b"\x00\xdc"))
        return begin + self.random.randbytes(self.random.randrange(60))

    def compressed_noise(self) -> bytes:
        """A zstd frame of something, perhaps damaged."""
        inside = self.random.choice((self.noise, self.mutated, self.odd))()[1:]
        packed = bytearray(_ZSTD.compress(inside * self.random.choice((1, 1, 1, 500))))
        if self.random.random() < 0.4:
            packed[self.random.randrange(len(packed))] = self.random.randrange(256)
        return self.random.choice((b"\x01", b"\x02", b"\x03")) + packed

    def referring(self, packet: bytes, heard: history.History | None) -> bytes:
        """Now and then *packet* as one that refers to what its reader has heard, or did not."""
        if packet[:1] != b"\x00" or self.random.random() < 0.7:
            return packet
        said = history.History(history.SIZE)
        if heard is not None:
            said.remember(heard.text)
        if self.random.random() < 0.1:
            said.remember(self.noise())
        packed = bytearray(_COMPRESSOR.compress(memoryview(packet)[1:], said) or packet)
        if self.random.random() < 0.2:
            self._damage(packed)
        return bytes(packed)

    def mutated(self) -> bytes:
        """A packet that was right once."""
        damaged = bytearray(self.random.choice(self._golden))
        for _ in range(self.random.choice((0, 1, 1, 1, 2, 5))):
            self._damage(damaged)
        return bytes(damaged)

    def _damage(self, damaged: bytearray) -> None:
        at = self.random.randrange(len(damaged) + 1)
        match self.random.randrange(5):
            case 0:
                damaged[at : at + 1] = bytes([self.random.randrange(256)])
            case 1:
                del damaged[max(1, at) :]
            case 2:
                damaged[at:at] = self.random.randbytes(self.random.randrange(9))
            case 3:
                del damaged[at : at + self.random.randrange(9)]
            case _:
                # Its first byte says how it is packed; what follows may come from elsewhere.
                damaged[max(1, at) :] = self.random.choice(self._golden)[max(1, at) :]
        if not damaged:
            damaged[:] = b"\x00"

    def odd(self) -> bytes:
        """Known codes with fields of any kind and number."""
        items = [
            [
                self.random.choice((*messages.CLASSES, 0, 99, -1)),
                *(self._odd_field() for _ in range(self.random.randrange(18))),
            ]
            for _ in range(self.random.randrange(5))
        ]
        return b"\x00" + bytes(msgpack.packb(items))

    def _odd_field(self) -> Any:
        pick = self.random.random()
        if pick < 0.3:
            return self.random.choice(_ODD)
        if pick < 0.5:
            return self.number()
        if pick < 0.7:
            return self.text()
        return self.identifier() if pick < 0.9 else [self.number(), self.number()]

    def well_formed(self, *classes: Any) -> bytes:
        """Messages that anybody could say, who need not be in a position to."""
        batch = [self.message(*classes) for _ in range(self.random.choice((1, 1, 1, 2, 3, 20)))]
        return self.random.choice((_PLAIN, _COMPRESSING)).encode(batch)

    def message(self, *classes: Any) -> messages.Message:
        """A message of one of *classes*, or of any."""
        cls = self.random.choice(classes or _CLASSES)
        values = [self._field(name, hint) for name, hint in _HINTS[cls].items()]
        made: messages.Message = cls(*values)
        return made

    def hello(self, number: int) -> messages.Hello:
        """A HELLO that an endpoint without keys admits."""
        return messages.Hello(
            1, 1, PEERS[number], OUTBOXES[number], self.random.randrange(1, 4), b"nonce",
            HOSTS[number], "nova-compute", self.random.choice((0, 1, 8, 512, 2**40)),
            self.random.choice((0, 1, 4096, 1 << 20, 2**62)), self.random.random() < 0.5,
            self.random.choice((0, 1, 300, history.SIZE, 2**62)),
        )  # fmt: skip

    def _field(self, name: str, hint: Any) -> Any:
        some = range(self.random.choice((0, 1, 1, 2, 5)))
        match hint:
            case _ if hint is int:
                return self.number()
            case _ if hint is str:
                return self.text()
            case _ if hint is bool:
                return self.random.random() < 0.5
            case _ if hint is bytes:
                if name == "body":
                    return self.random.randbytes(3) * self.random.choice((0, 1, 20, 2000))
                return self.identifier()
            case _ if hint == bytes | None:
                return self.random.choice((None, self.identifier()))
            case _ if hint == list[str]:
                return [self.text() for _ in some]
            case _ if hint == list[int]:
                return [self.number() for _ in some]
            case _ if hint == list[list[int]]:
                return [sorted((self.number(), self.number())) for _ in some]
            case _:
                return [self.message_part() for _ in some]

    def message_part(self) -> messages.Consumer:
        """A consumer."""
        return messages.Consumer(
            self.identifier(), self.number(), self.identifier(), self.text(), False
        )

    def number(self) -> int:
        """A number at, or near, where something may change."""
        if self.random.random() < 0.6:
            return self.random.randrange(1, 6)
        return self.random.choice(_NUMBERS)

    def text(self) -> str:
        """A text, often an address that somebody takes."""
        if self.random.random() < 0.6:
            return self.random.choice(ADDRESSES[:3])
        return self.random.choice(_TEXTS)

    def identifier(self) -> bytes:
        """An id, often one that somebody has."""
        return self.random.choice((*PEERS, *PEERS, *OUTBOXES, b"", b"short", bytes(32)))


_VECTORS = golden()
_CLASSES = tuple(messages.CODES)
_HINTS = {cls: typing.get_type_hints(cls) for cls in _CLASSES}
