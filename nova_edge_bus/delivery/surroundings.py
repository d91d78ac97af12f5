# SPDX-License-Identifier: Apache-2.0
"""What a sender is bounded by, and what it asks of its surroundings."""

import dataclasses
import typing

from nova_edge_bus.delivery import streams
from nova_edge_bus.protocol import messages


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds and times of a sender; times in seconds.

    ``ack_timeout``: ship again what was neither acknowledged nor reported as held for so long.
    ``consumer_grace``: how long an item that a lost consumer may have had waits for it to come
    back, before another consumer gets it.
    """

    window_messages: int = 256
    window_bytes: int = 8 << 20
    ack_timeout: float = 5.0
    consumer_grace: float = 10.0


class Port(typing.Protocol):
    """What a sender asks of its surroundings; none of these may block."""

    def can_transmit(self, endpoint: object) -> bool:
        """Tell whether the link to *endpoint* is up and has credit."""

    def transmit(self, endpoint: object, message: messages.Deliver | messages.Want) -> None:
        """Write *message* to *endpoint*."""

    def lookup(self, address: str) -> None:
        """Ask the endpoints who takes *address*."""

    def settle(self, seq: int, outcome: str) -> None:
        """Write an outcome into the journal some time soon, then call :meth:`Sender.settled`."""

    def pin(self, pins: list[tuple[int, bytes]]) -> None:
        """Write ``(seq, inbox)`` into the journal, then call :meth:`Sender.pinned`."""

    def load(self, key: str, after: int) -> None:
        """Read the next unsettled entries of a stream, then call :meth:`Sender.loaded`."""

    def expand(self, item: streams.Item, pools: set[str]) -> None:
        """Replace a notification by one copy for each pool, then :meth:`Sender.expanded`."""

    def answer(self, item: streams.Item, status: int, body: bytes) -> None:
        """A call or a record has its reply."""

    def at_work(self, item: streams.Item, *, monitor: bool) -> None:
        """The receiver says that it still works on *item*.

        :param monitor: whether it says so for the caller of a monitored call
        """

    def unanswered(self, address: str) -> None:
        """What was shipped to *address* was neither acknowledged nor reported as held in time.

        Or a question there was not answered.
        """

    def heard(self, address: str) -> None:
        """A consumer of *address* has answered a question."""

    def undeliverable(self, item: streams.Item) -> None:
        """Nobody takes a call that was sent as mandatory."""

    def fenced(self) -> None:
        """The outbox has been opened elsewhere since: nothing more may be shipped from it."""
