# SPDX-License-Identifier: Apache-2.0
"""The commands received from other journals: accepted once, dispatched once, then remembered.

A sender deletes a command as soon as it is accepted, so from then on it is here or nowhere. What
is done leaves its number behind until the sender says, with its floor, that it will not send it
again. Every method runs inside a transaction of its journal and takes effect with its commit.
"""

import json
import zlib
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.dialects import sqlite

from nova_edge_bus.journal import counters
from nova_edge_bus.journal import database
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import quota
from nova_edge_bus.journal import schema

_State = entries.InboxState
_table = schema.inbox
_c = _table.c
_INSERTED = (
    "origin",
    "seq",
    "epoch",
    "address",
    "group",
    "received_at",
    "checksum",
    "state",
    "body",
    "identity",
)
_INSERT = database.compiled(
    _table.insert().values({name: bindparam(name) for name in _INSERTED}), *_INSERTED
)
_BETWEEN = select(_c.seq).where(
    _c.origin == bindparam("origin"),
    _c.seq >= bindparam("first"),
    _c.seq <= bindparam("last"),
)
_KNOWN = select(_c.seq, _c.state).where(_c.origin == bindparam("origin"))
_ROW = _table.update().where(_c.origin == bindparam("from"), _c.seq == bindparam("key"))
_MARK = database.compiled(
    _ROW.where(_c.state == bindparam("now")).values(state=bindparam("to")),
    "to",
    "from",
    "key",
    "now",
)
_FINISH = database.compiled(
    _ROW.values(state=bindparam("to"), body=bindparam("empty")), "to", "empty", "from", "key"
)
_IN_STATE = (
    select(_table)
    .where(schema.UNDONE, _c.state == bindparam("now"))
    .order_by(_c.number)
    .limit(bindparam("most"))
)
_INTERRUPTED = (schema.UNDONE, _c.state == int(_State.DISPATCHED))
_LONG_INTERRUPTED = (
    select(_c.origin, _c.seq)
    .where(*_INTERRUPTED, _c.received_at <= bindparam("until"))
    .order_by(_c.number)
    .limit(bindparam("most"))
)
_FORGET = _table.delete().where(
    _c.origin == bindparam("origin"),
    _c.seq < bindparam("floor"),
    _c.address == bindparam("address"),
    _c.state == int(_State.DONE),
)
_DELETE = _table.delete().where(
    _c.origin == bindparam("origin"),
    _c.seq == bindparam("seq"),
    _c.state == int(_State.ACCEPTED),
)
_each = func.json_each(bindparam("seqs")).table_valued("value")
_ADDRESSES = (
    select(_c.address)
    .where(_c.origin == bindparam("origin"), _c.seq.in_(select(_each.c.value)))
    .distinct()
)
_EPOCH = select(schema.origins.c.epoch).where(schema.origins.c.origin == bindparam("origin"))
_new_origin = sqlite.insert(schema.origins)
_SET_EPOCH = _new_origin.on_conflict_do_update(
    index_elements=[schema.origins.c.origin], set_={"epoch": _new_origin.excluded.epoch}
)
_FLOOR = select(schema.floors.c.floor).where(
    schema.floors.c.origin == bindparam("origin"), schema.floors.c.address == bindparam("address")
)
_new_floor = sqlite.insert(schema.floors)
_SET_FLOOR = _new_floor.on_conflict_do_update(
    index_elements=[schema.floors.c.origin, schema.floors.c.address],
    set_={"floor": _new_floor.excluded.floor},
)


def checksum(received: entries.Received) -> int:
    """Return the checksum of a command; SQLite has none of its own."""
    head = f"{received.seq} {received.address} {received.group}"
    if received.identity:
        # Rows from before there were identities keep the checksums that they have.
        head += f" {received.identity}"
    return zlib.crc32(received.body, zlib.crc32(head.encode()))


def _cost(received: entries.Received) -> int:
    named = (received.address, received.group, received.identity)
    texts = sum(len(text.encode()) for text in named)
    return quota.cost(len(received.body), texts)


class Inbox:
    """The inbox of an open journal."""

    def __init__(
        self, db: database.Database, limits: quota.Quota, counts: counters.Counters
    ) -> None:
        self._db = db
        self._quota = limits
        self._counts = counts

    def newest_epoch(self, origin: bytes, epoch: int) -> int:
        """Return the newest epoch seen of an origin, and remember *epoch* when it is that.

        Of an older one nothing may be accepted: the sender's journal has been opened again since.
        """
        known = int(self._db.run(_EPOCH, {"origin": origin}).scalar() or 0)
        if epoch > known:
            self._db.run(_SET_EPOCH, {"origin": origin, "epoch": epoch})
        return max(epoch, known)

    def accept_many(self, received: Sequence[entries.Received]) -> list[bool]:
        """Take commands over from their senders; False for each that is known already.

        After the commit the sender may be told so of all of them, known ones included. Whether
        the epoch is current is for :meth:`newest_epoch` to say, before that and in the same
        transaction.

        :raises JournalFull: when the quota has no room for all that are new; none is taken then
        """
        known = self._already_known(received)
        taken: list[bool] = []
        rows: list[tuple[Any, ...]] = []
        costs = size = 0
        for one in received:
            key = (one.origin, one.seq)
            taken.append(key not in known)
            if key in known:
                continue
            known.add(key)
            costs += _cost(one)
            size += len(one.body)
            rows.append(
                (
                    one.origin,
                    one.seq,
                    one.epoch,
                    one.address,
                    one.group,
                    one.received_at,
                    checksum(one),
                    int(_State.ACCEPTED),
                    one.body,
                    one.identity,
                )
            )
        if rows and self._quota.room(self._quota.inbox_limit, costs) < 0:
            raise self._quota.full("accept", size)
        self._db.run_many(_INSERT, rows)
        if rows:
            self._counts.add("received", len(rows))
        return taken

    def _already_known(self, received: Sequence[entries.Received]) -> set[tuple[bytes, int]]:
        floors: dict[tuple[bytes, str], int] = {}
        seqs: dict[bytes, list[int]] = {}
        known: set[tuple[bytes, int]] = set()
        for one in received:
            stream = (one.origin, one.address)
            if stream not in floors:
                floors[stream] = self.floor(*stream)
            if one.seq < floors[stream]:
                known.add((one.origin, one.seq))
            else:
                seqs.setdefault(one.origin, []).append(one.seq)
        for origin, numbers in seqs.items():
            span = {"origin": origin, "first": min(numbers), "last": max(numbers)}
            known.update((origin, seq) for (seq,) in self._db.run(_BETWEEN, span))
        return known

    def withdraw(self, origin: bytes, seq: int) -> bool:
        """Undo the acceptance of a command that was not dispatched; tell whether it was there.

        The sender must not have been told of the acceptance: it then ships the command elsewhere.
        """
        deleted = self._db.run(_DELETE, {"origin": origin, "seq": seq}).rowcount > 0
        self._counts.add("withdrawn", int(deleted))
        return deleted

    def mark_dispatched_many(self, keys: Iterable[tuple[bytes, int]]) -> None:
        """Note, before it happens, that commands go to listeners: they never go again."""
        self._mark(keys, _State.ACCEPTED, _State.DISPATCHED)

    def mark_done_many(self, keys: Iterable[tuple[bytes, int]]) -> None:
        """Note that commands are through, by origin and seq; only their numbers are kept."""
        seqs: dict[bytes, list[int]] = {}
        for origin, seq in keys:
            seqs.setdefault(origin, []).append(seq)
        for origin, done in seqs.items():
            self._db.run_many(_FINISH, [(int(_State.DONE), b"", origin, seq) for seq in done])
            values = {"origin": origin, "seqs": json.dumps(done)}
            for address in self._db.run(_ADDRESSES, values).scalars().all():
                self._forget(origin, address, self.floor(origin, address))

    def undone(self, limit: int = 1000) -> list[entries.Received]:
        """Return the commands that are accepted and not dispatched, in order of acceptance.

        A command whose bytes no longer match their checksum is marked damaged and left out.
        """
        sound: list[entries.Received] = []
        damaged: list[tuple[bytes, int]] = []
        for row in self._in_state(_State.ACCEPTED, limit):
            one = received_of(row)
            if checksum(one) == row.checksum:
                sound.append(one)
            else:
                damaged.append((one.origin, one.seq))
        if damaged:
            self._mark(damaged, _State.ACCEPTED, _State.DAMAGED)
            self._counts.add("damaged", len(damaged))
        return sound

    def interrupted(self, limit: int = 1000) -> list[entries.Received]:
        """Return the commands that are dispatched and not done.

        Right after an open these are what a crash cut short: whether they took effect is not
        known here, and they are not dispatched again.
        """
        return [received_of(row) for row in self._in_state(_State.DISPATCHED, limit)]

    def count_interrupted(self) -> int:
        """Return how many commands are dispatched and not done."""
        return int(self._db.run(select(func.count()).where(*_INTERRUPTED)).scalar_one())

    def end_interrupted(self, until: float, limit: int) -> int:
        """Keep only the numbers of commands that were cut short, and return of how many.

        One that has been at work for so long loses nothing by it: it is not dispatched again.

        :param until: wall clock, seconds, by which they were received
        """
        found = self._db.run(_LONG_INTERRUPTED, {"until": until, "most": limit}).all()
        self.mark_done_many((row.origin, row.seq) for row in found)
        return len(found)

    def _in_state(self, state: entries.InboxState, limit: int) -> list[Any]:
        return list(self._db.run(_IN_STATE, {"now": int(state), "most": limit}).all())

    def _mark(
        self,
        keys: Iterable[tuple[bytes, int]],
        before: entries.InboxState,
        after: entries.InboxState,
    ) -> None:
        rows = [(int(after), origin, seq, int(before)) for origin, seq in keys]
        self._db.run_many(_MARK, rows)

    def known(self, origin: bytes) -> dict[int, entries.InboxState]:
        """Return the seqs of an origin that are here, with their states.

        Those that were done and lie below the floor of their stream are here no more.
        """
        rows = self._db.run(_KNOWN, {"origin": origin})
        return {seq: _State(state) for seq, state in rows}

    def forget_below(self, origin: bytes, address: str, floor: int) -> None:
        """Take everything below the floor of an origin's stream for known, without its numbers.

        Other streams of the origin, to other addresses, have floors of their own. A floor below
        the recorded one changes nothing. What is not done yet stays.
        """
        if floor > self.floor(origin, address):
            self._db.run(_SET_FLOOR, {"origin": origin, "address": address, "floor": floor})
            self._forget(origin, address, floor)

    def floor(self, origin: bytes, address: str) -> int:
        """Return the recorded floor of an origin's stream to an address, 0 for a new one."""
        values = {"origin": origin, "address": address}
        return int(self._db.run(_FLOOR, values).scalar() or 0)

    def _forget(self, origin: bytes, address: str, floor: int) -> None:
        self._db.run(_FORGET, {"origin": origin, "address": address, "floor": floor})


def received_of(row: Any) -> entries.Received:
    """The command in a row of the table."""
    return entries.Received(
        row.origin,
        row.seq,
        row.epoch,
        row.address,
        row.group,
        row.body,
        row.received_at,
        row.identity,
    )
