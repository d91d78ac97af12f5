# SPDX-License-Identifier: Apache-2.0
"""Dead letters: discarded by an operator, or asked for and then appended again by the owner.

Only the owner appends, for only it knows which numbers it has said are settled. An operator's tool
therefore marks a dead letter as asked for, which is durable, and the owner takes it up: a live one
within seconds, else whoever opens the journal next. Every method runs inside a transaction of its
journal and takes effect with its commit.
"""

import json
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any
from typing import NamedTuple
from typing import Protocol

from sqlalchemy import bindparam
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.dialects import sqlite

from nova_edge_bus.journal import counters
from nova_edge_bus.journal import database
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import reasons
from nova_edge_bus.journal import schema
from nova_edge_bus.journal import statements

TAKEN_UP = 256
"""The most dead letters that are taken up in one transaction."""

_table = schema.outbox
_c = _table.c
_r = schema.reasons.c
_DEAD = int(schema.State.DEAD)
_ASKED = int(schema.State.ASKED)
_each = func.json_each(bindparam("seqs")).table_valued("value")
_explained = select(_table, _r.reason).outerjoin(schema.reasons, _r.seq == _c.seq)
_GIVEN = _explained.where(
    _c.seq.in_(select(_each.c.value)), _c.state.in_((_DEAD, _ASKED))
).order_by(_c.seq)
ASKED = select(_c.seq).where(schema.SETTLED, _c.state == _ASKED)
"""Needs no look at a body: the index of what is settled has the state."""
_TAKE_UP = (
    _explained.where(schema.SETTLED, _c.state == _ASKED).order_by(_c.seq).limit(bindparam("most"))
)
_new_reason = sqlite.insert(schema.reasons).values(seq=bindparam("key"), reason=bindparam("why"))
_EXPLAIN = database.compiled(
    _new_reason.on_conflict_do_update(
        index_elements=[_r.seq], set_={"reason": _new_reason.excluded.reason}
    ),
    "key",
    "why",
)


class TakenUp(NamedTuple):
    """A dead letter, and the entry that stands for it now."""

    was: int
    entry: entries.Entry


class _Outbox(Protocol):
    def append_many(self, new: list[entries.NewEntry]) -> list[int]: ...
    def has_room_for(self, reasons: list[tuple[int, str]]) -> bool: ...
    def entry_of(self, row: Any) -> entries.Entry: ...


class DeadLetters:
    """The dead letters of one outbox."""

    def __init__(
        self,
        db: database.Database,
        counts: counters.Counters,
        outbox: _Outbox,
        is_intact: Callable[[entries.Entry, int], bool],
        clock: Callable[[], float],
    ) -> None:
        self._db = db
        self._counts = counts
        self._outbox = outbox
        self._is_intact = is_intact
        self._clock = clock
        self._is_asked = True

    def look(self) -> None:
        """Notice whether another connection has asked for something."""
        self._is_asked = self._db.run(ASKED.limit(1)).first() is not None

    def ask_many(self, seqs: Iterable[int]) -> list[int]:
        """Ask the owner to append dead letters again; return which can be.

        One whose bytes no longer match their checksum stays a dead letter.
        """
        found = [row for row in self._given(seqs) if self._intact(row)]
        self._change({row.seq: row.changed_at for row in found}, schema.State.ASKED)
        self._is_asked = True
        return [row.seq for row in found]

    def discard_many(self, seqs: Iterable[int], why: str = "") -> list[int]:
        """Give dead letters up and return which; others are left alone.

        Their bodies are gone; that they were there, and why, is kept for the retention time.

        :param why: an operator's words
        """
        found = self._given(seqs)
        word = f"discarded: {why}" if why else "discarded"
        self._end(found, schema.State.DISCARDED, {row.seq: word for row in found})
        self._counts.add("discarded", len(found))
        return [row.seq for row in found]

    def take_up(self, limit: int = TAKEN_UP) -> list[TakenUp]:
        """Append what was asked for as new entries; only for the journal's owner.

        They get new seqs because receivers take everything below the floor for settled. The old
        ones end as merged, and their reasons name the new ones.

        :param limit: a full answer means: call again
        :raises JournalFull: when the quota has no room; nothing is taken up then
        """
        if not self._is_asked:
            return []
        rows = self._db.run(_TAKE_UP, {"most": limit}).all()
        if not rows:
            self._is_asked = False
        broken = [row for row in rows if not self._intact(row)]
        self._change({row.seq: row.changed_at for row in broken}, schema.State.DEAD)
        sound = [row for row in rows if row not in broken]
        again = [self._outbox.entry_of(row) for row in sound]
        # The bodies first, so that there is room for them where there was.
        self._db.run_many(statements.DROP_BODY, [(b"", row.seq) for row in sound])
        for entry in again:
            entry.consumer = None
        numbers = self._outbox.append_many(list[entries.NewEntry](again))
        words = {
            row.seq: f"requeued; entry {number} stands for it"
            for row, number in zip(sound, numbers, strict=True)
        }
        self._end(sound, schema.State.MERGED, words)
        self._counts.add("requeued", len(sound))
        taken = []
        for row, entry, number in zip(sound, again, numbers, strict=True):
            entry.seq = number
            taken.append(TakenUp(row.seq, entry))
        return taken

    def _given(self, seqs: Iterable[int]) -> list[Any]:
        return list(self._db.run(_GIVEN, {"seqs": json.dumps(list(seqs))}).all())

    def _intact(self, row: Any) -> bool:
        return self._is_intact(self._outbox.entry_of(row), row.checksum)

    def _end(self, rows: list[Any], state: schema.State, words: dict[int, str]) -> None:
        now = int(self._clock())
        self._db.run_many(statements.DROP_BODY, [(b"", row.seq) for row in rows])
        self._change({row.seq: now for row in rows}, state)
        told = [
            (row.seq, reasons.after(words[row.seq], row.reason)[: reasons.MAX_REASON])
            for row in rows
        ]
        if self._outbox.has_room_for(told):
            self._db.run_many(_EXPLAIN, told)

    def _change(self, moments: dict[int, int], state: schema.State) -> None:
        self._db.run_many(
            statements.SETTLE, [(int(state), at, seq) for seq, at in moments.items()]
        )
