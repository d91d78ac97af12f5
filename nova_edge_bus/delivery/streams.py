# SPDX-License-Identifier: Apache-2.0
"""What a sender holds: items, and the streams that they travel in."""

import collections
import dataclasses
import enum

from nova_edge_bus import addressing
from nova_edge_bus.protocol import messages

BACKLOG_AFTER = 1.0
"""Seconds that an entry may wait for somebody to take it before it is of a backlog."""
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

    ``number`` is the seq of an entry, or what a call's maker knows it by; ``call_number`` is what
    the sender numbers a call with on the wire. ``expires`` is monotonic seconds. ``held_by`` is
    the record that keeps it parked (0: none). ``bound`` tells that the directory counts it as in
    flight for its group. ``in_doubt`` tells that it may have been shipped before this life, or to
    another consumer before. ``repeatable`` calls may be made again on another consumer when the
    first one is lost. A record that ``goes_last`` is not applied before any older one. ``permit``
    is the peer that has granted it, from then until it is shipped.
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
    goes_last: bool = False
    expires: float | None = None
    monitor: float = 0.0
    call_number: int = 0
    held_by: int = 0
    state: State = State.WAITING
    consumer: messages.Consumer | None = None
    endpoint: object = None
    shipped_at: float = 0.0
    heard_at: float = 0.0
    attempts: int = 0
    permit: bytes | None = None
    is_call: bool = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.is_call = self.kind == messages.Kind.REQUEST

    def is_answered_by(self, peer: bytes | None) -> bool:
        """Whether an answer of this peer is one to the item; None is whom nobody can forge."""
        return peer is None or (self.consumer is not None and self.consumer.peer == peer)

    @property
    def is_notification(self) -> bool:
        """Whether it is one: nothing else that is journaled expires."""
        return self.expires is not None and not self.is_call

    @property
    def wire_number(self) -> int:
        """The number that a delivery of it carries."""
        return self.call_number or self.number

    @property
    def may_have_arrived(self) -> bool:
        """Whether a consumer may have it, for all that is known here."""
        return self.attempts > 0 or self.in_doubt


@dataclasses.dataclass(slots=True, eq=False)
class Stream:
    """Items of one numbering to one address, those in memory in the order of their numbers.

    ``more_on_disk`` tells that the journal holds unsettled entries above ``cursor``, the highest
    seq taken into memory; ``missed`` that one was left there while a page was being read, which
    therefore may lack it. ``settling`` are the seqs whose outcome is not on disk yet. ``lost``
    are the inboxes or peers that items here are for and that cannot be reached, each with the
    time since when. Entries of a stream that ``has_one_taker`` go to whichever process is the
    server that the address names. What has a seq up to ``backlog_through`` is shipped with the
    consumer's credit only; ``newest`` is the highest seq known, and ``untaken_since`` when it was
    seen first that nobody takes the address.
    """

    key: str
    calls: bool = False
    items: collections.OrderedDict[int, Item] = dataclasses.field(
        default_factory=collections.OrderedDict
    )
    waiting: collections.deque[Item] = dataclasses.field(default_factory=collections.deque)
    settling: set[int] = dataclasses.field(default_factory=set)
    lowest_settling: int = 0
    lost: dict[bytes, float] = dataclasses.field(default_factory=dict)
    pinning: int = 0
    cursor: int = 0
    size: int = 0
    more_on_disk: bool = False
    loading: bool = False
    missed: bool = False
    newest: int = 0
    untaken_since: float | None = None
    backlog_through: int = 0
    address: str = dataclasses.field(init=False)
    pool: str = dataclasses.field(init=False)
    has_one_taker: bool = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.address, pool = split_key(self.key)
        self.pool = pool or ""
        self.has_one_taker = not self.calls and addressing.is_server_directed(self.address)

    @property
    def idle(self) -> bool:
        """Whether nothing is lost when the stream is forgotten."""
        return not (self.items or self.settling or self.more_on_disk or self.loading)

    @property
    def floor(self) -> int:
        """The lowest number that is not settled for good: none below it is ever shipped again.

        A crash can undo an outcome that is not on disk, and the entry is then shipped again.
        """
        floor = next(iter(self.items)) if self.items else self.cursor + 1
        return min(floor, self.lowest_settling) if self.settling else floor

    @property
    def has_backlog(self) -> bool:
        """Whether any entry of the backlog is not settled for good."""
        return self.floor <= min(self.backlog_through, self.newest)

    def is_backlog(self, item: Item) -> bool:
        """Whether *item* was written when nobody took it, or before this life."""
        return not item.is_call and item.number <= self.backlog_through

    def note_untaken(self, now: float) -> None:
        """Nobody takes the address. For a moment that may be so because nobody has said yet."""
        if self.untaken_since is None:
            self.untaken_since = now
        elif now - self.untaken_since > BACKLOG_AFTER:
            self.note_backlog()

    def note_backlog(self) -> None:
        """All entries that there are have to wait for somebody who takes them."""
        self.backlog_through = max(self.backlog_through, self.newest)

    def line_up(self) -> None:
        """Put the waiting items in line by their numbers."""
        self.waiting = collections.deque(
            item for item in self.items.values() if item.state is State.WAITING
        )

    def tidy(self) -> None:
        """Let go of what was settled while it stood in line."""
        if len(self.waiting) > len(self.items):
            self.line_up()

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
        number = item.wire_number
        self.items[number] = item
        self.size += len(item.body)
        self.cursor = max(self.cursor, number)

    def remove(self, item: Item) -> None:
        """*item* is settled."""
        if self.items.pop(item.wire_number, None) is not None:
            self.size -= len(item.body)
