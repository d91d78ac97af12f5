# SPDX-License-Identifier: Apache-2.0
"""The entries that this journal owns: numbered once, pending until settled, then kept or deleted.

Every method runs inside a transaction of its journal and takes effect with its commit.
"""

import json
import time
import zlib
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

from nova_edge_bus.journal import counters
from nova_edge_bus.journal import database
from nova_edge_bus.journal import dead
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import history
from nova_edge_bus.journal import quota
from nova_edge_bus.journal import reasons as reasons_module
from nova_edge_bus.journal import schema
from nova_edge_bus.journal import settled
from nova_edge_bus.journal import statements
from nova_edge_bus.journal import streams
from nova_edge_bus.protocol import messages

_DAMAGED = "its bytes in the journal no longer match their checksum"
_REASON_ROW = 16
NUMBERS_SINCE = 1735689600.0
"""2025-01-01 UTC: the seqs of an opened journal begin at the milliseconds since then at least.

So does its epoch.
"""
_STATES = {
    entries.Outcome.APPLIED: schema.State.APPLIED,
    entries.Outcome.RECORDED: schema.State.RECORDED,
    entries.Outcome.EXPIRED: schema.State.EXPIRED,
    entries.Outcome.MERGED: schema.State.MERGED,
    entries.Outcome.DEAD: schema.State.DEAD,
}
_DELETES = ("accepted", "purged")
"""The counters of what deletes rows."""
_BODILESS = (entries.Outcome.EXPIRED, entries.Outcome.MERGED)


def checksum(seq: int, entry: entries.NewEntry) -> int:
    """Return the checksum of what never changes in an entry; SQLite has none of its own."""
    head = f"{seq} {entry.kind} {entry.group} {entry.method}"
    return zlib.crc32(entry.body, zlib.crc32(head.encode()))


def least_number(now: float) -> int:
    """Return what seqs and epochs that are taken now have to reach.

    It lies above those that another copy of the journal has taken before, for none of them takes
    more than one in a millisecond on average.

    :param now: wall clock, seconds
    """
    return int((now - NUMBERS_SINCE) * 1000)


def _ending(name: str) -> entries.Outcome:
    if name == entries.Outcome.DISCARDED:
        raise ValueError("only a dead letter is discarded")
    return entries.Outcome(name)


def _is_intact(entry: entries.Entry, its_checksum: int) -> bool:
    return checksum(entry.seq, entry) == its_checksum


def is_notification(kind: int, expires_at: float | None) -> bool:
    """Tell whether an entry falls under the quota of notifications."""
    return kind == messages.Kind.COMMAND and expires_at is not None


def _size(entry: entries.NewEntry) -> int:
    return len(entry.body)


def _cost(entry: entries.NewEntry) -> int:
    return quota.cost(len(entry.body), len(entry.group.encode()), len(entry.method.encode()))


class Outbox:
    """The outbox of an open journal."""

    def __init__(
        self,
        db: database.Database,
        limits: quota.Quota,
        counts: counters.Counters,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._db = db
        self._quota = limits
        self._counts = counts
        self._clock = clock
        self.first_seq = 1
        """The first seq of this life of the journal."""
        self._next_seq = 1
        self._floor = 1
        self._notification_bytes = 0
        self._damaged: list[int] = []
        self.bindings = streams.Streams(db)
        self.settled = settled.Settled(db, counts, self)
        self.dead = dead.DeadLetters(db, counts, self, _is_intact, clock)
        self.history = history.History(db, counts, self)

    @property
    def last_seq(self) -> int:
        """The highest seq that was ever given."""
        return self._next_seq - 1

    # What is kept in memory follows the transaction: the journal calls these three.

    def reload(self) -> None:
        """Read anew what is kept in memory, because another connection may have changed it."""
        self._next_seq = int(self._db.run(statements.LAST_SEQ).scalar() or 0) + 1
        self._floor = int(self._db.run(statements.FIRST_PENDING).scalar() or self._next_seq)
        self._notification_bytes = int(self._db.run(statements.NOTIFICATION_BYTES).scalar_one())
        self.bindings.reload()
        self.dead.look()
        self.history.look()

    def skip_ahead(self) -> None:
        """Number what comes next above whatever another copy of this file can have used by now.

        A journal that was put back from a copy would otherwise give its next entries the numbers
        of entries that it has forgotten, and they would be taken for those.
        """
        least = least_number(self._clock())
        if self._next_seq < least:
            self._db.run(statements.SKIP, {"to": least - 1})
            self._db.run(statements.SKIP_UNUSED, {"to": least - 1})
            self._next_seq = least
        self.first_seq = self._next_seq

    def snapshot(self) -> tuple[int, int, int, int]:
        """Return what :meth:`restore` needs to come back to this moment."""
        return self._next_seq, self._floor, self._notification_bytes, len(self.bindings)

    def restore(self, snapshot: tuple[int, int, int, int]) -> None:
        """Forget what happened in memory since the snapshot, as the database has."""
        self._next_seq, self._floor, self._notification_bytes, count = snapshot
        self.bindings.shrink(count)

    # Appending

    def room_for(self, size: int) -> bool:
        """Tell whether an entry with a body of *size* bytes fits, old settled ones making way."""
        return self._make_room(quota.cost(size), self._quota.append_limit)

    def append_many(self, new: Sequence[entries.NewEntry]) -> list[int]:
        """Append entries and return their seqs: consecutive, and never used before.

        A rolled back append gives its seqs to the next; a purged entry's seq stays used.

        :raises JournalFull: when the quota has no room for one of them; none is written then
        """
        self._admit(new)
        rows = []
        for seq, entry in enumerate(new, self._next_seq):
            rows.append(
                (
                    seq,
                    self.bindings.number(entry.link, entry.address),
                    int(entry.kind),
                    entry.group,
                    entry.method,
                    entry.consumer or schema.UNPINNED,
                    entry.created_at,
                    entry.expires_at,
                    len(entry.body),
                    checksum(seq, entry),
                    int(schema.State.PENDING),
                    # As wide as a later change, so that it happens in place.
                    int(entry.created_at),
                    entry.body,
                )
            )
        self._db.run_many(statements.INSERT, rows)
        self._next_seq += len(rows)
        return [row[0] for row in rows]

    def _admit(self, new: Sequence[entries.NewEntry]) -> None:
        costs = 0
        notifications = self._notification_bytes
        for entry in new:
            costs += _cost(entry)
            if is_notification(entry.kind, entry.expires_at):
                if notifications + _size(entry) > self._quota.notification_limit:
                    raise self._quota.notifications_full(_size(entry), notifications)
                notifications += _size(entry)
        if not self._make_room(costs, self._quota.append_limit):
            size = sum(_size(entry) for entry in new)
            raise self._quota.full("append", size)
        self._notification_bytes = notifications

    def _make_room(self, cost: int, limit: int) -> bool:
        """Tell whether *cost* fits below *limit*, if need be after purging what is settled."""
        while self._quota.room(limit, cost) < 0:
            if not self.settled.purge_oldest():
                return False
        return True

    # Settling

    def settle_many(self, settlements: Iterable[tuple[int, str, str | None]]) -> list[int]:
        """Settle pending entries; what is unknown or settled already is passed over.

        :param settlements: of :class:`~nova_edge_bus.journal.entries.Settlement`'s shape
        :returns: the seqs that this call settled
        :raises ValueError: when an outcome is unknown, or does not fit the entry's kind
        """
        wanted: dict[int, tuple[entries.Outcome, str | None]] = {}
        for seq, outcome, reason in settlements:
            wanted.setdefault(seq, (_ending(outcome), reason))
        found = self._db.run(statements.FIND, {"seqs": json.dumps(list(wanted))}).all()
        accepted = [row for row in found if wanted[row.seq][0] is entries.Outcome.ACCEPTED]
        for row in accepted:
            if row.kind != messages.Kind.COMMAND:
                raise ValueError(f"entry {row.seq} is no command and cannot end as accepted")
        self._db.run_many(statements.DELETE, [(row.seq,) for row in accepted])
        kept = [row.seq for row in found if wanted[row.seq][0] is not entries.Outcome.ACCEPTED]
        self._mark({seq: wanted[seq] for seq in kept})
        for row in found:
            outcome = wanted[row.seq][0]
            # To whoever counts, what is on record as well is applied like anything else.
            recorded = outcome is entries.Outcome.RECORDED
            self._counts.add(entries.Outcome.APPLIED if recorded else outcome)
            if is_notification(row.kind, row.expires_at):
                self._notification_bytes -= row.size
        return [row.seq for row in found]

    def _mark(self, outcomes: dict[int, tuple[entries.Outcome, str | None]]) -> None:
        now = int(self._clock())
        self._db.run_many(
            statements.DROP_BODY,
            [(b"", seq) for seq, (outcome, _) in outcomes.items() if outcome in _BODILESS],
        )
        self._db.run_many(
            statements.SETTLE,
            [(int(_STATES[outcome]), now, seq) for seq, (outcome, _) in outcomes.items()],
        )
        reasons = [
            (seq, why[: reasons_module.MAX_REASON]) for seq, (_, why) in outcomes.items() if why
        ]
        if self.has_room_for(reasons):
            # Otherwise settled without: better so than not at all.
            self._db.run_many(statements.EXPLAIN, reasons)

    def has_room_for(self, reasons: Sequence[tuple[int, str]]) -> bool:
        """Tell whether reasons fit into their share, old settled entries making way."""
        cost = quota.cost(*(len(why.encode()) + _REASON_ROW for _, why in reasons))
        return bool(reasons) and self._make_room(cost, self._quota.reason_limit)

    def amend(self, seq: int, body: bytes) -> bool:
        """Give a pending entry another body; tell whether it is pending.

        It stays the same entry: it keeps its number, by which its receiver knows it.
        """
        row = self._db.run(statements.HEAD, {"key": seq}).first()
        if row is None:
            return False
        head = entries.NewEntry("", "", row.kind, row.group, row.method, body, None, 0.0, None)
        self._db.run_many(statements.AMEND, [(len(body), checksum(seq, head), body, seq)])
        return True

    def expire(self, now: float, limit: int = 1000) -> list[tuple[int, str]]:
        """Settle as expired the pending entries whose ``expires_at`` has passed.

        :param now: wall clock, seconds
        :param limit: the most to take in one call; a full answer means: call again
        :returns: the seq and address of each
        """
        due = self._db.run(statements.EXPIRING, {"now": now, "most": limit}).all()
        self.settle_many((seq, entries.Outcome.EXPIRED, None) for seq, _ in due)
        return [(seq, self.bindings.name(stream)[1]) for seq, stream in due]

    def pin_many(self, pins: Iterable[tuple[int, bytes | None]]) -> None:
        """Pin pending entries to the inbox (8 bytes) they go to, or with None unpin them."""
        self._db.run_many(
            statements.PIN,
            [(to or schema.UNPINNED, seq, int(schema.State.PENDING)) for seq, to in pins],
        )

    # Reading

    def pending(
        self,
        address: str,
        after_seq: int,
        limit: int,
        max_bytes: int,
        link: str | None = None,
    ) -> list[entries.Entry]:
        """Return the pending entries to an address, in seq order.

        An entry whose bytes no longer match their checksum is settled as dead and left out.

        :param max_bytes: of bodies; the first entry comes even when it alone is larger
        :param link: only those of this link
        """
        wanted = self.bindings.to(address, link)
        if not wanted:
            return []
        while True:
            sound, damaged = self._page(wanted, after_seq, limit, max_bytes)
            if damaged:
                self.settle_many((seq, entries.Outcome.DEAD, _DAMAGED) for seq in damaged)
                self._damaged += damaged
                after_seq = damaged[-1]
            # An empty answer has to mean the end, and not a page of damaged entries.
            if sound or not damaged:
                return sound

    def take_damaged(self) -> list[int]:
        """Return the seqs that :meth:`pending` has left out since this was last called."""
        taken, self._damaged = self._damaged, []
        return taken

    def _page(
        self, streams: list[int], after_seq: int, limit: int, max_bytes: int
    ) -> tuple[list[entries.Entry], list[int]]:
        values = {"streams": streams, "after": after_seq, "most": limit}
        sound: list[entries.Entry] = []
        damaged: list[int] = []
        size = 0
        with self._db.run(statements.PENDING, values) as result:
            for row in result:
                size += row.size
                if sound and size > max_bytes:
                    break
                entry = self.entry_of(row)
                if checksum(entry.seq, entry) == row.checksum:
                    sound.append(entry)
                else:
                    damaged.append(entry.seq)
        return sound, damaged

    def entry_of(self, row: Any) -> entries.Entry:
        """Return a row of the table as an entry."""
        link, address = self.bindings.name(row.stream)
        consumer = None if row.consumer == schema.UNPINNED else row.consumer
        return entries.Entry(
            link,
            address,
            row.kind,
            row.group,
            row.method,
            row.body,
            consumer,
            row.created_at,
            row.expires_at,
            row.seq,
        )

    def streams(self) -> list[entries.Stream]:
        """Return what is pending, by link and address."""
        return [
            entries.Stream(*self.bindings.name(number), count, first, last, size)
            for number, count, first, last, size in self._db.run(statements.STREAMS)
        ]

    def record_groups(self) -> Iterator[tuple[str, str, int, str]]:
        """Yield link, address, seq and group of each pending record, in seq order.

        A group has one object for its name, however many records it has.
        """
        names: dict[str, str] = {}
        for stream, seq, group in self._db.run(statements.RECORD_GROUPS):
            yield (*self.bindings.name(stream), seq, names.setdefault(group, group))

    def records(self, after: int, limit: int) -> list[tuple[int, bool, bytes]]:
        """Return ``(seq, is pending, body)`` of records, pending or applied, in seq order."""
        found = self._db.run(statements.RECORDS, {"after": after, "most": limit})
        return [(seq, state == int(schema.State.PENDING), body) for seq, state, body in found]

    def pending_among(self, seqs: Iterable[int]) -> set[int]:
        """Return those of *seqs* that are pending."""
        found = self._db.run(statements.FIND, {"seqs": json.dumps(list(seqs))})
        return {row.seq for row in found}

    def floor(self) -> int:
        """Return the lowest pending seq, or the next seq when nothing is pending."""
        found = self._db.run(statements.NEXT_PENDING, {"at_least": self._floor}).scalar()
        self._floor = self._next_seq if found is None else int(found)
        return self._floor

    def counters(self) -> dict[str, int]:
        """Return how many entries were ever appended, and how they ended."""
        counts = self._counts.read()
        gone = sum(counts[name] for name in _DELETES)
        return {"appended": int(self._db.run(statements.COUNT).scalar_one()) + gone, **counts}
