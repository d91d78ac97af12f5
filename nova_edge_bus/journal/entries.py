# SPDX-License-Identifier: Apache-2.0
"""What goes into the journal and what comes out: plain values, no behaviour."""

import dataclasses
import enum
import typing


class Outcome(enum.StrEnum):
    """How an outbox entry ends; an entry without one is pending."""

    APPLIED = "applied"
    """A record was answered by its receiver; kept with its body for the retention time."""
    RECORDED = "recorded"
    """The same, and the receiver's database has it on record, for as long as it keeps its rows."""
    ACCEPTED = "accepted"
    """A command is durable in the receiver's inbox; its row is deleted, a counter remains."""
    EXPIRED = "expired"
    """Its time to live passed first; kept without its body for the retention time."""
    MERGED = "merged"
    """A later entry, which the reason names, stands for it; kept like an expired one."""
    DEAD = "dead"
    """It can never be applied, for the reason given; kept until an operator discards it."""
    DISCARDED = "discarded"
    """An operator has given a dead letter up; kept like an expired one."""


@dataclasses.dataclass(slots=True)
class NewEntry:
    """An entry before the outbox has numbered it.

    :param link: the endpoints it goes to, in canonical text
    :param kind: ``Kind.RECORD`` or ``Kind.COMMAND``
    :param consumer: the inbox (8 bytes) that the entry is pinned to, if any
    :param created_at: wall clock, seconds
    :param expires_at: wall clock, seconds; a command that has one is a notification to the quota
    """

    link: str
    address: str
    kind: int
    group: str
    method: str
    body: bytes
    consumer: bytes | None
    created_at: float
    expires_at: float | None


@dataclasses.dataclass(slots=True)
class Entry(NewEntry):
    """A pending entry with its number."""

    seq: int


@dataclasses.dataclass(slots=True)
class StoredEntry(Entry):
    """An entry as an operator sees it: ``outcome`` is None while it is pending.

    ``size`` is the body's size when it was appended; the body itself may have been dropped since.
    ``changed_at`` is when it was appended or settled: wall clock, whole seconds.
    """

    size: int
    outcome: Outcome | None
    reason: str | None
    changed_at: int


class Settlement(typing.NamedTuple):
    """How one entry ended; any tuple of this shape does."""

    seq: int
    outcome: str
    reason: str | None


class Stream(typing.NamedTuple):
    """The pending entries of one outbox to one address over one link; sizes in bytes."""

    link: str
    address: str
    entries: int
    first_seq: int
    last_seq: int
    size: int


class InboxState(enum.IntEnum):
    """How far a received command has come.

    The numbers begin at 2 because SQLite stores 0 and 1 in no bytes at all: a row whose state
    changes between numbers of one byte keeps its size and is rewritten in place.
    """

    ACCEPTED = 2
    """Durable here, not yet handed to a listener."""
    DISPATCHED = 3
    """Handed to a listener, whose end is not known; never handed out again."""
    DONE = 4
    """Through; only its number is kept, so that a second copy is recognised."""
    DAMAGED = 5
    """Its body no longer matches its checksum, so it cannot be dispatched."""


@dataclasses.dataclass(slots=True)
class Received:
    """A command that came from another journal.

    :param origin: the sender's outbox id
    :param epoch: the epoch that the sender shipped it under
    :param received_at: wall clock, seconds
    :param identity: whom the endpoint took the sender for, empty where nothing is authenticated
    """

    origin: bytes
    seq: int
    epoch: int
    address: str
    group: str
    body: bytes
    received_at: float
    identity: str = ""


class Usage(typing.NamedTuple):
    """How full a journal is, in bytes.

    ``used`` is live data and the WAL file, ``free`` what appends may still take before the quota
    refuses them, ``on_disk`` what the files occupy.
    """

    used: int
    free: int
    on_disk: int
    max_bytes: int
