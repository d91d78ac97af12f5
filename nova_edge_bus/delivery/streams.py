# SPDX-License-Identifier: Apache-2.0
"""What a sender holds: items, and the streams that they travel in."""

import collections
import dataclasses
import enum

from nova_edge_bus.protocol import messages

POOL_MARK = "#"
"""Separates the pool in a stream key; percent-encoded addresses cannot contain it."""


def stream_key(address: str, pool: str | None = None) -> str:
    """The key of the stream to *address*, or to one listener *pool* of it.

    A notification whose listener pools are not known yet has no pool at all; ``""`` is the
    default pool.
    """
    return address if pool is None else f"{address}{POOL_MARK}{pool}"


def split_key(key: str) -> tuple[str, str | None]:
    """The address and the pool of a stream key."""
    address, mark, pool = key.partition(POOL_MARK)
    return address, pool if mark else None


class State(enum.Enum):
    """Where an item stands on its way."""

    PARKED = "parked"
    """An earlier record of its group is not settled, and it may not overtake that."""
    WAITING = "waiting"
    """Ready to be shipped as soon as there is a consumer, a link and credit."""
    PINNING = "pinning"
    """Its consumer is being written into the journal."""
    IN_FLIGHT = "in flight"
    """Shipped, and neither acknowledged nor refused."""
    SETTLED = "settled"
    """Done with; whoever still refers to it can forget it."""


@dataclasses.dataclass(slots=True, eq=False)
class Item:
    """One unsettled call or entry.

    ``number`` is the seq of an entry or the number of a call. ``expires`` is monotonic seconds.
    ``follows`` is the entry before it in its stream and group, ``held_by`` the record that keeps
    it parked (0: none). ``bound`` tells that the directory counts it as in flight for its group.
    ``in_doubt`` tells that an earlier life of this outbox may have shipped it. ``repeatable``
    calls may be made again on another consumer when the first one is lost.
    """

    kind: messages.Kind
    number: int
    key: str
    group: str
    body: bytes
    pin: bytes | None = None
    bound: bool = False
    in_doubt: bool = False
    repeatable: bool = False
    mandatory: bool = False
    expires: float | None = None
    monitor: float = 0.0
    follows: int = 0
    held_by: int = 0
    state: State = State.WAITING
    consumer: messages.Consumer | None = None
    endpoint: object = None
    shipped_at: float = 0.0
    heard_at: float = 0.0
    lost_at: float | None = None
    attempts: int = 0

    @property
    def is_call(self) -> bool:
        """Whether the item is an unjournaled call."""
        return self.kind == messages.Kind.REQUEST


@dataclasses.dataclass(slots=True, eq=False)
class Stream:
    """Items of one numbering to one address, those in memory in the order of their numbers.

    ``more_on_disk`` tells that the journal holds unsettled entries above ``cursor``, the highest
    seq taken into memory. ``settling`` are the seqs whose outcome is not on disk yet.
    """

    key: str
    items: collections.OrderedDict[int, Item] = dataclasses.field(
        default_factory=collections.OrderedDict
    )
    waiting: collections.deque[Item] = dataclasses.field(default_factory=collections.deque)
    settling: set[int] = dataclasses.field(default_factory=set)
    lowest_settling: int = 0
    pinning: int = 0
    cursor: int = 0
    size: int = 0
    more_on_disk: bool = False
    loading: bool = False

    @property
    def address(self) -> str:
        """The address without the pool."""
        return split_key(self.key)[0]

    @property
    def pool(self) -> str:
        """The listener pool; the default one where none is named."""
        return split_key(self.key)[1] or ""

    @property
    def floor(self) -> int:
        """The lowest number that is not settled for good: none below it is ever shipped again.

        A crash can undo an outcome that is not on disk, and the entry is then shipped again.
        """
        floor = next(iter(self.items)) if self.items else self.cursor + 1
        return min(floor, self.lowest_settling) if self.settling else floor

    def line_up(self) -> None:
        """Put the waiting items in line by their numbers."""
        self.waiting = collections.deque(
            item for item in self.items.values() if item.state is State.WAITING
        )

    def begin_settling(self, number: int) -> None:
        """The outcome of *number* is on its way to the disk."""
        if not self.settling or number < self.lowest_settling:
            self.lowest_settling = number
        self.settling.add(number)

    def end_settling(self, numbers: set[int]) -> None:
        """The outcomes of *numbers* are on disk."""
        self.settling -= numbers
        if self.settling:
            self.lowest_settling = min(self.settling)

    def add(self, item: Item) -> None:
        """Hold *item*; its number is above all that are held."""
        self.items[item.number] = item
        self.size += len(item.body)
        self.cursor = max(self.cursor, item.number)

    def remove(self, item: Item) -> None:
        """*item* is settled."""
        if self.items.pop(item.number, None) is not None:
            self.size -= len(item.body)
