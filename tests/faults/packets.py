# SPDX-License-Identifier: Apache-2.0
"""Two network namespaces, and a line between them that loses, delays and swallows packets.

The line is this process: each namespace has a TUN device, and what one side writes is handed to
the other, or is not. So the faults are the same on every kernel that has TUN, with netem or
without, and all chances derive from a seed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults import forker

EDGE, CENTRE = "10.213.0.1", "10.213.0.2"
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_MTU = 1500
_TCP = 6
_RST_ACK = 0x14


@dataclasses.dataclass
class Faults:
    """What the line does to packets, in force from the next packet on.

    :param loss: the share that is lost
    :param delay: seconds that each takes
    :param jitter: seconds that each may take longer; so they overtake each other
    :param swallows: the sides, 0 the edge and 1 the centre, whose packets go nowhere
    """

    loss: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    swallows: frozenset[int] = frozenset()


class Line:
    """Carries packets between two namespaces until :meth:`close`."""

    def __init__(self, names: list[str], seed: int) -> None:
        self.names = names
        self.faults = Faults()
        self.carried = 0
        self.lost = 0
        self._resets = threading.Event()
        self._chance = random.Random(seed)
        self._tuns = [_tun(names[0], EDGE, CENTRE), _tun(names[1], CENTRE, EDGE)]
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def reset(self) -> None:
        """Answer the next packet of each direction with a TCP reset to both sides."""
        self._resets.set()

    def close(self) -> None:
        """End it; nothing is carried any more."""
        os.close(self._stopped)
        self._thread.join()
        for each in (*self._tuns, self._stop):
            os.close(each)

    def _carry(self) -> None:
        number = 0
        while True:
            now = time.monotonic()
            while self._under_way and self._under_way[0][0] <= now:
                self._hand_over(*heapq.heappop(self._under_way)[2:])
            left = self._under_way[0][0] - now if self._under_way else None
            ready, _, _ = select.select([*self._tuns, self._stop], [], [], left)
            if self._stop in ready:
                return
            for side in (0, 1):
                if self._tuns[side] not in ready:
                    continue
                packet = os.read(self._tuns[side], 1 << 16)
                number += 1
                faults = self.faults
                if side in faults.swallows or self._chance.random() < faults.loss:
                    self.lost += 1
                    continue
                at = now + faults.delay + self._chance.uniform(0, faults.jitter)
                heapq.heappush(self._under_way, (at, number, 1 - side, packet))

    def _hand_over(self, side: int, packet: bytes) -> None:
        if self._resets.is_set() and packet[9] == _TCP and packet[0] >> 4 == 4:
            self._resets.clear()
            for each, reset in _resets(packet, side):
                os.write(self._tuns[each], reset)
            return
        os.write(self._tuns[side], packet)
        self.carried += 1


@contextlib.contextmanager
def line(seed: int) -> Iterator[Line]:
    """A line between two new namespaces.

    Where that is not permitted the test is skipped, and fails in CI.
    """
    names = [f"bus-{os.getpid()}-{side}" for side in ("edge", "centre")]
    made: list[str] = []
    try:
        for name in names:
            _ip("netns", "add", name)
            made.append(name)
        joined = Line(names, seed)
    except (OSError, subprocess.CalledProcessError) as error:
        for name in made:
            _ip("netns", "del", name)
        reason = f"cannot make network namespaces: {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    try:
        yield joined
    finally:
        joined.close()
        for name in names:
            _ip("netns", "del", name)


def _tun(name: str, address: str, peer: str) -> int:
    """A TUN device in a namespace; whoever has it open may be anywhere."""
    opened: list[int] = []

    def make() -> None:
        forker.enter(name)
        file = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        request = struct.pack("16sH22x", b"line", _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(file, _TUNSETIFF, request)
        opened.append(file)

    # In a thread of its own, which alone changes over.
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if not opened:
        raise OSError(f"cannot make a TUN device in {name}")
    _ip("-n", name, "addr", "add", address, "peer", peer, "dev", "line")
    _ip("-n", name, "link", "set", "line", "mtu", str(_MTU), "up")
    _ip("-n", name, "link", "set", "lo", "up")
    return opened[0]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _resets(packet: bytes, side: int) -> Iterator[tuple[int, bytes]]:
    """The reset that its receiver gets from its sender, and the other way round."""
    start = (packet[0] & 15) * 4
    source, target = packet[12:16], packet[16:20]
    ports = struct.unpack_from(">HH", packet, start)
    seq, ack = struct.unpack_from(">II", packet, start + 4)
    header = (packet[start + 12] >> 4) * 4
    length = len(packet) - start - header
    yield side, _reset(source, target, ports, seq, ack)
    yield 1 - side, _reset(target, source, ports[::-1], ack, seq + length)


def _reset(source: bytes, target: bytes, ports: tuple[int, ...], seq: int, ack: int) -> bytes:
    numbers = (seq & 0xFFFFFFFF, ack & 0xFFFFFFFF)
    tcp = struct.pack(">HHIIBBHHH", *ports, *numbers, 5 << 4, _RST_ACK, 0, 0, 0)
    pseudo = source + target + struct.pack(">BBH", 0, _TCP, len(tcp))
    tcp = tcp[:16] + struct.pack(">H", _sum(pseudo + tcp)) + tcp[18:]
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, _TCP, 0)
    head += source + target
    return head[:10] + struct.pack(">H", _sum(head)) + head[12:] + tcp


def _sum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
