# SPDX-License-Identifier: Apache-2.0
"""What a receiver remembers of each sender: what is under way, and what has been done."""

import dataclasses
import enum

from nova_edge_bus.protocol import messages


class Stage(enum.Enum):
    """How far an inbound delivery has come."""

    ACCEPTING = "accepting"
    """A command is being written into the inbox."""
    PARKED = "parked"
    """Its predecessor has not been done yet."""
    DISPATCHED = "dispatched"
    """A listener has it."""
    DONE = "done"
    """Applied; the reply is kept for a sender that did not get it."""


@dataclasses.dataclass(slots=True, eq=False)
class Inbound:
    """One delivery on its way to a listener; a fanout has no ``kind``.

    ``address`` is the sender's stream key: streams of one address, for different listener pools,
    have floors of their own. ``deadline`` is monotonic seconds, ``monitor`` seconds.
    """

    kind: messages.Kind | None
    number: int
    origin: bytes
    reply_to: bytes
    via: object
    address: str
    body: bytes
    epoch: int = 0
    listener: int = 0
    group: str = ""
    after: int = 0
    deadline: float | None = None
    monitor: float = 0.0
    arrived: float = 0.0
    stage: Stage = Stage.PARKED
    reported: float = 0.0
    reply: tuple[int, bytes] | None = None


class Origin:
    """One numbering of one sender: its calls, or its entries to one address."""

    __slots__ = ("_followers", "done", "floor", "heard_at", "items")

    def __init__(self) -> None:
        self.floor = 0
        self.items: dict[int, Inbound] = {}
        self.done: set[int] = set()
        self.heard_at = 0.0
        self._followers: dict[int, list[Inbound]] = {}

    def raise_floor(self, floor: int) -> list[Inbound]:
        """Forget what lies below *floor*; return what only waited for something there."""
        if floor <= self.floor:
            return []
        self.floor = floor
        self.done = {number for number in self.done if number >= floor}
        for number in [number for number in self.items if number < floor]:
            if self.items[number].stage is Stage.DONE:
                del self.items[number]
        freed: list[Inbound] = []
        for number in [number for number in self._followers if number < floor]:
            freed += self._followers.pop(number)
        return freed

    def must_wait(self, item: Inbound) -> bool:
        """Whether the predecessor of *item* has yet to be done; then *item* is kept for it."""
        if not item.after or item.after < self.floor or item.after in self.done:
            return False
        self._followers.setdefault(item.after, []).append(item)
        return True

    def finish(self, number: int) -> list[Inbound]:
        """*number* is done as far as its successors care; return them."""
        self.done.add(number)
        return self._followers.pop(number, [])

    def parked(self) -> int:
        """How many deliveries wait for a predecessor."""
        return sum(len(followers) for followers in self._followers.values())
