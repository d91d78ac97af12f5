# SPDX-License-Identifier: Apache-2.0
"""A journal in memory: what is committed survives the process, what is queued does not."""

import collections
import dataclasses
import enum
from collections.abc import Callable
from typing import Any

from nova_edge_bus.delivery import origins
from nova_edge_bus.delivery import streams
from nova_edge_bus.protocol import messages


class InboxState(enum.Enum):
    ACCEPTED = "accepted"
    DISPATCHED = "dispatched"
    DONE = "done"


@dataclasses.dataclass
class Entry:
    """A pending entry of the outbox."""

    seq: int
    kind: messages.Kind
    key: str
    group: str
    body: bytes
    pin: bytes | None = None
    expires: float | None = None


@dataclasses.dataclass
class Received:
    """A command in the inbox."""

    origin: bytes
    seq: int
    address: str
    group: str
    body: bytes
    state: InboxState = InboxState.ACCEPTED


@dataclasses.dataclass
class _Operation:
    run: Callable[[], Any]
    then: Callable[[Any], None]


class Journal:
    """Outbox and inbox of one process through all its lives.

    Operations take effect with :meth:`commit`, and :meth:`call_back` tells of them. A crash loses
    what is not committed, and the calling back of what is.
    """

    def __init__(self, outbox_id: bytes) -> None:
        self.outbox_id = outbox_id
        self.epoch = 0
        self.next_seq = 1
        self.pending: dict[int, Entry] = {}
        self.settled: dict[int, str] = {}
        self.inbox: dict[tuple[bytes, int], Received] = {}
        self.floors: dict[tuple[bytes, str], int] = {}
        self.queue: collections.deque[_Operation] = collections.deque()
        self.lazy: list[_Operation] = []
        self.committed: collections.deque[Callable[[], None]] = collections.deque()

    def open(self) -> None:
        """Begin a new life."""
        self.epoch += 1
        self.queue.clear()
        self.lazy.clear()
        self.committed.clear()

    def submit(self, run: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self.queue.append(_Operation(run, then))

    def lazily(self, run: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self.lazy.append(_Operation(run, then))

    def flush_lazy(self) -> None:
        self.queue.extend(self.lazy)
        self.lazy.clear()

    def commit(self, count: int | None = None) -> None:
        """Make the first *count* queued operations durable."""
        for _ in range(len(self.queue) if count is None else min(count, len(self.queue))):
            operation = self.queue.popleft()
            result = operation.run()
            self.committed.append(lambda then=operation.then, result=result: then(result))

    def call_back(self) -> None:
        while self.committed:
            self.committed.popleft()()

    # The outbox

    def append(self, entry: Entry) -> int:
        entry.seq = self.next_seq
        self.next_seq += 1
        self.pending[entry.seq] = entry
        return entry.seq

    def settle(self, seq: int, outcome: str) -> None:
        if self.pending.pop(seq, None) is not None:
            self.settled[seq] = outcome

    def pin(self, pins: list[tuple[int, bytes]]) -> None:
        for seq, inbox in pins:
            if seq in self.pending:
                self.pending[seq].pin = inbox

    def page(self, key: str, after: int, limit: int) -> list[Entry]:
        found = [
            dataclasses.replace(entry)
            for entry in self.pending.values()
            if entry.key == key and entry.seq > after
        ]
        return sorted(found, key=lambda entry: entry.seq)[:limit]

    def left_over(self) -> tuple[list[tuple[int, str]], list[tuple[str, int]]]:
        """What :meth:`nova_edge_bus.delivery.sender.Sender.restore` takes."""
        rows = sorted(self.pending.values(), key=lambda entry: entry.seq)
        records = [(row.seq, row.group) for row in rows if row.kind == messages.Kind.RECORD]
        first: dict[str, int] = {}
        for row in rows:
            first.setdefault(row.key, row.seq)
        return records, list(first.items())

    def lowest_pending(self, key: str) -> int:
        """The lowest pending seq of a stream, or the next seq."""
        seqs = [entry.seq for entry in self.pending.values() if entry.key == key]
        return min(seqs, default=self.next_seq)

    # The inbox

    def accept(self, item: origins.Inbound) -> bool:
        key = (item.origin, item.number)
        known = key in self.inbox
        if known or item.number < self.floors.get((item.origin, item.address), 0):
            return False
        self.inbox[key] = Received(*key, item.address, item.group, item.body)
        return True

    def withdraw(self, item: origins.Inbound) -> None:
        row = self.inbox.pop((item.origin, item.number))
        assert row.state is InboxState.ACCEPTED

    def mark(self, item: origins.Inbound, before: InboxState, after: InboxState) -> None:
        row = self.inbox[(item.origin, item.number)]
        assert row.state is before, f"{row} was to become {after}"
        row.state = after

    def forget(self, origin: bytes, address: str, floor: int) -> None:
        self.floors[(origin, address)] = max(floor, self.floors.get((origin, address), 0))
        for key, row in list(self.inbox.items()):
            below = row.origin == origin and row.address == address and row.seq < floor
            if below and row.state is InboxState.DONE:
                del self.inbox[key]

    def undone(self) -> list[origins.Inbound]:
        """What :meth:`nova_edge_bus.delivery.receiver.Receiver.restore` takes."""
        return [
            origins.Inbound(
                kind=messages.Kind.COMMAND,
                number=row.seq,
                origin=row.origin,
                reply_to=b"",
                via=None,
                address=row.address,
                body=row.body,
                group=row.group,
            )
            for row in self.inbox.values()
            if row.state is InboxState.ACCEPTED
        ]


def as_item(entry: Entry) -> streams.Item:
    """An entry as it comes back from the journal."""
    return streams.Item(
        kind=entry.kind,
        number=entry.seq,
        key=entry.key,
        group=entry.group,
        body=entry.body,
        pin=entry.pin,
        in_doubt=True,
        expires=entry.expires,
    )
