# SPDX-License-Identifier: Apache-2.0
"""The records of an outbox, looked through again when their receiver has lost some of them."""

import json
from collections.abc import Collection
from collections.abc import Mapping
from typing import Any
from typing import Protocol

from nova_edge_bus.journal import counters
from nova_edge_bus.journal import database
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import schema
from nova_edge_bus.journal import statements
from nova_edge_bus.journal import streams

_ALL = -1
"""SQLite's "no limit"."""


class _Outbox(Protocol):
    first_seq: int
    bindings: streams.Streams

    def entry_of(self, row: Any) -> entries.Entry: ...


class History:
    """The pending and the applied records of one outbox."""

    def __init__(self, db: database.Database, counts: counters.Counters, outbox: _Outbox) -> None:
        self._db = db
        self._counts = counts
        self._outbox = outbox
        self._is_anything_lost = True

    def down(self, before: int | None, first: int, limit: int | None) -> list[entries.Entry]:
        """Return the records below *before* and not below *first*, the newest first."""
        values = {
            "before": schema.MAX_SEQ if before is None else before,
            "first": first,
            "most": _ALL if limit is None else limit,
        }
        rows = self._db.run(statements.RECORDS_DOWN, values).all()
        return [self._outbox.entry_of(row) for row in rows]

    def recorded(self, link: str, address: str, first: int, limit: int) -> list[int]:
        """Return the seqs of what a receiver's database has on record, from *first* on."""
        streams = self._outbox.bindings.to(address, link)
        values = {"streams": streams, "first": first, "most": limit}
        return [row.seq for row in self._db.run(statements.RECORDED, values)]

    def newest_recorded(self, link: str, address: str, limit: int) -> list[int]:
        """Return the newest of those, in seq order."""
        values = {"streams": self._outbox.bindings.to(address, link), "most": limit}
        return sorted(row.seq for row in self._db.run(statements.NEWEST_RECORDED, values))

    def last_of_earlier_lives(self) -> int | None:
        """Return the newest seq from before the journal was opened, if there still is any."""
        return self._db.run(statements.LAST_BEFORE, {"first": self._outbox.first_seq}).scalar()

    def look(self) -> None:
        """Notice whether another connection has said that something is lost."""
        self._is_anything_lost = self._db.run(statements.LOST.limit(1)).first() is not None

    def mark_lost(self, seqs: Collection[int]) -> list[int]:
        """Say of applied records that the receiver has lost them; return which there are.

        The journal's owner brings forward what they did.
        """
        given = {"seqs": json.dumps(list(seqs))}
        found = self._db.run(statements.TAKEN_RECORDS, given).all()
        state = int(schema.State.LOST)
        self._db.run_many(statements.SETTLE, [(state, at, seq) for seq, at in found])
        self._is_anything_lost = self._is_anything_lost or bool(found)
        return [seq for seq, _ in found]

    def lost(self) -> list[int]:
        """Return the records that somebody has said to be lost."""
        if not self._is_anything_lost:
            return []
        found = [row.seq for row in self._db.run(statements.LOST)]
        self._is_anything_lost = bool(found)
        return found

    def retire(self, seqs: Collection[int], now: float) -> None:
        """Settle applied records as merged, because others stand for them now.

        :raises ValueError: when one of them is not applied
        """
        given = {"seqs": json.dumps(list(seqs))}
        found = {row.seq for row in self._db.run(statements.RETIRABLE, given)}
        if found != set(seqs):
            raise ValueError(f"records {sorted(set(seqs) - found)[:10]} are not applied")
        state = int(schema.State.MERGED)
        self._db.run_many(statements.DROP_BODY, [(b"", seq) for seq in found])
        self._db.run_many(statements.SETTLE, [(state, int(now), seq) for seq in found])
        self._counts.add("forwarded", len(found))

    def explain(self, reasons: Mapping[int, str]) -> None:
        """Say of settled entries that have no reason yet why they ended so."""
        self._db.run_many(statements.EXPLAIN, list(reasons.items()))
