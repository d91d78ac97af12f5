# SPDX-License-Identifier: Apache-2.0
"""What a session may say without credit, and what may be said to one that does not read.

Credit bounds what is passed on. This bounds the rest: what one side says to the other itself, and
the work that reading it makes.
"""

import dataclasses

from nova_edge_bus.protocol import identity

PER_MESSAGE = 256
"""Bytes that a message without credit counts for beside its own: what reading it costs."""

BYTES_PER_WEIGHT = 4
"""Bytes of a packet that each byte of a credited message's weight makes up for."""

PROBE_BYTES = 64 * 1024
"""Bytes of messages without credit after which the other side is asked how far it has read."""

MAX_UNREAD = 512 * 1024
"""Bytes of such messages beyond which the next ones wait until it has read."""


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """What those who hold one key may do at an endpoint; sizes in bytes, rates a second.

    ``burst`` is said without credit at once, and ``rate`` as time goes by. A key may begin
    ``greetings`` sessions at once, ``greeting_rate`` as time goes by, and have ``sessions`` at a
    time; ``directory`` is what one session may have entered there and want to know from it.
    """

    burst: int
    rate: float
    sessions: int
    greetings: int
    greeting_rate: float
    directory: int


OF_A_COMPUTE = Bounds(1 << 20, 64 * 1024, 32, 64, 1.0, 1 << 20)
"""It speaks to a few, and there are thousands of them whose keys can be stolen."""

OF_A_CENTRE = Bounds(8 << 20, 256 * 1024, 1024, 2048, 64.0, 16 << 20)
"""Of all others: a conductor looks up each compute, and a host has many workers."""


def bounds_of(who: identity.Identity | None) -> Bounds:
    """The bounds of an identity; None where nothing is authenticated."""
    if who is not None and who.role is identity.Role.COMPUTE:
        return OF_A_COMPUTE
    return OF_A_CENTRE


class Allowance:
    """Fills up with time, and is spent.

    :param burst: what it holds, and holds at first
    :param rate: how much comes back in a second
    """

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = burst
        self._at = now

    def left(self, now: float) -> float:
        """What may be spent now; less than nothing when too much was."""
        if now > self._at:
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
            self._at = now
        return self._left

    def spend(self, amount: float, now: float) -> bool:
        """Take some; false when there was not so much."""
        left = self.left(now)
        self._left = left - amount
        return amount <= left


class Unread:
    """How much of what needs no credit has been written and may not have been read.

    Messages arrive in their order, so who answers a PING has read what came before it.
    """

    __slots__ = ("_asked", "_read", "_token", "_written")

    def __init__(self) -> None:
        self._written = 0
        self._read = 0
        self._asked = 0
        self._token: int | None = None

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be said that can wait."""
        return self._written - self._read >= MAX_UNREAD

    def wrote(self, size: int) -> None:
        """Count what has been written."""
        self._written += size

    @property
    def is_due(self) -> bool:
        """Whether it is time to ask how far the other side has come."""
        return self._token is None and self._written - self._read >= PROBE_BYTES

    def ask(self, token: int) -> None:
        """A PING with this token is written now."""
        self._token = token
        self._asked = self._written

    def answered(self, token: int) -> None:
        """A PONG has come, perhaps to that PING."""
        if token == self._token:
            self._token = None
            self._read = self._asked
