# SPDX-License-Identifier: Apache-2.0
"""What is left of entries that have ended: kept for a while, and listed."""

import json
from typing import Any
from typing import Protocol

from sqlalchemy import bindparam
from sqlalchemy import func
from sqlalchemy import select

from nova_edge_bus.journal import counters
from nova_edge_bus.journal import database
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import schema

PURGE_BATCH = 100

_table = schema.outbox
_c = _table.c
_STAY = (int(schema.State.DEAD), int(schema.State.ASKED), int(schema.State.LOST))
"""The states that do not end by themselves."""
_each = func.json_each(bindparam("seqs")).table_valued("value")
_given = _c.seq.in_(select(_each.c.value))
_OLDEST = (
    select(_c.seq, _c.state)
    .where(schema.SETTLED, _c.changed_at <= bindparam("until"), _c.state.not_in(_STAY))
    .order_by(_c.changed_at)
    .limit(bindparam("most"))
)
_RETAINED_BYTES = select(func.coalesce(func.sum(_c.size), 0)).where(
    schema.SETTLED, _c.state.in_(schema.TAKEN)
)
_DELETE = _table.delete().where(_given)
_r = schema.reasons.c
_DELETE_REASONS = schema.reasons.delete().where(_r.seq.in_(select(_each.c.value)))
_explained = select(_table, _r.reason).outerjoin(schema.reasons, _r.seq == _c.seq)
_LISTING = (
    _explained.where(_c.state.in_(bindparam("now", expanding=True)), _c.seq > bindparam("after"))
    .order_by(_c.seq)
    .limit(bindparam("most"))
)
_ONE = _explained.where(_c.seq == bindparam("seq"))

_OUTCOMES = {
    schema.State.APPLIED: entries.Outcome.APPLIED,
    schema.State.RECORDED: entries.Outcome.APPLIED,
    schema.State.EXPIRED: entries.Outcome.EXPIRED,
    schema.State.MERGED: entries.Outcome.MERGED,
    schema.State.DEAD: entries.Outcome.DEAD,
    schema.State.ASKED: entries.Outcome.DEAD,
    schema.State.LOST: entries.Outcome.APPLIED,
    schema.State.DISCARDED: entries.Outcome.DISCARDED,
}


class _Outbox(Protocol):
    def entry_of(self, row: Any) -> entries.Entry: ...


class Settled:
    """The settled entries of one outbox."""

    def __init__(self, db: database.Database, counts: counters.Counters, outbox: _Outbox) -> None:
        self._db = db
        self._counts = counts
        self._outbox = outbox

    def listing(
        self, outcome: entries.Outcome | None, after_seq: int = 0, limit: int = 100
    ) -> list[entries.StoredEntry]:
        """Return entries that ended so (None: that are pending), in seq order."""
        states = [int(each) for each in schema.State if _OUTCOMES.get(each) is outcome]
        rows = self._db.run(_LISTING, {"now": states, "after": after_seq, "most": limit}).all()
        return [self._stored(row) for row in rows]

    def get(self, seq: int) -> entries.StoredEntry | None:
        """Return one entry, pending or settled, or None when its row is gone."""
        row = self._db.run(_ONE, {"seq": seq}).first()
        return None if row is None else self._stored(row)

    def _stored(self, row: Any) -> entries.StoredEntry:
        entry = self._outbox.entry_of(row)
        return entries.StoredEntry(
            entry.link,
            entry.address,
            entry.kind,
            entry.group,
            entry.method,
            entry.body,
            entry.consumer,
            entry.created_at,
            entry.expires_at,
            entry.seq,
            row.size,
            _OUTCOMES.get(schema.State(row.state)),
            row.reason,
            row.changed_at,
        )

    def _delete(self, seqs: list[int]) -> None:
        self._db.run(_DELETE, {"seqs": json.dumps(seqs)})
        self._db.run(_DELETE_REASONS, {"seqs": json.dumps(seqs)})

    def retained_bytes(self) -> int:
        """Return the bytes of bodies that are kept after they were applied."""
        return int(self._db.run(_RETAINED_BYTES).scalar_one())

    def purge_oldest(self, until: float = float("inf"), limit: int = PURGE_BATCH) -> int:
        """Delete the entries that were settled first, dead ones excepted.

        :param until: wall clock, seconds: only those settled by then
        :returns: how many were deleted
        """
        seqs = [row.seq for row in self._db.run(_OLDEST, {"until": until, "most": limit})]
        if seqs:
            self._delete(seqs)
            self._counts.add("purged", len(seqs))
        return len(seqs)
