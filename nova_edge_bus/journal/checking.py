# SPDX-License-Identifier: Apache-2.0
"""Checks a journal file against all that it promises, without changing anything of it."""

import re
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

from sqlalchemy import Text
from sqlalchemy import cast
from sqlalchemy import func
from sqlalchemy import literal
from sqlalchemy import select
from sqlalchemy import union_all

from nova_edge_bus.journal import entries
from nova_edge_bus.journal import inbox
from nova_edge_bus.journal import kept
from nova_edge_bus.journal import outbox
from nova_edge_bus.journal import reading
from nova_edge_bus.journal import schema
from nova_edge_bus.journal import selecting
from nova_edge_bus.journal import statements
from nova_edge_bus.journal import wal

PAGE = 200
"""Rows whose bodies are read in one transaction."""
_MOST_FINDINGS_OF_SQLITE = 100

_c = schema.outbox.c
_i = schema.inbox.c
_r = schema.reasons.c
_DEAD_STATES = (schema.State.DEAD, schema.State.ASKED)
_SETTLED_STATES = set(schema.State) - {schema.State.PENDING, *_DEAD_STATES}
_BODILESS = (schema.State.EXPIRED, schema.State.MERGED, schema.State.DISCARDED)
_SUCCESSORS = (
    select(_c.seq, _r.reason)
    .join_from(schema.outbox, schema.reasons, _r.seq == _c.seq)
    .where(_c.state == int(schema.State.MERGED))
)
_STANDS_FOR_IT = re.compile(r"entry ([0-9]+) stands for it")
# One statement, so that a live journal's numbers are all of one moment.
_COUNTED = union_all(
    select(literal("counter"), schema.counters.c.name, schema.counters.c.value),
    select(literal("state"), cast(_c.state, Text), func.count()).group_by(_c.state),
)


class Finding(NamedTuple):
    """Something that is not as it should be: which check found it, where, and what it is."""

    check: str
    place: str
    text: str


Progress = Callable[[int], None]


def findings(reader: reading.Reader, progress: Progress = lambda _: None) -> Iterator[Finding]:
    """Yield what is wrong with a journal; the cheap and the fundamental first.

    When SQLite itself finds damage, nothing else is looked at, for it would not be reliable.

    :param progress: is told, now and then, how many entries have been looked at
    :raises JournalError: when the journal cannot be read to its end
    """
    yield from _wal(reader)
    damaged = list(_integrity(reader))
    yield from damaged
    if damaged:
        return
    yield from _identity(reader)
    yield from _numbers(reader)
    yield from _counts(reader)
    yield from _entries(reader, progress)
    yield from _inbox(reader)
    yield from _snapshot(reader)


def _wal(reader: reading.Reader) -> Iterator[Finding]:
    try:
        found = wal.damage(reader.path)
        # A live process may have written while it was read; damage stays where it is.
        if found is not None and wal.damage(reader.path) == found:
            yield Finding("wal", "WAL", str(found))
    except OSError as error:
        yield Finding("wal", "WAL", f"cannot be read: {error}")


def _integrity(reader: reading.Reader) -> Iterator[Finding]:
    for (text,) in reader.pragma_rows(f"integrity_check({_MOST_FINDINGS_OF_SQLITE})"):
        if text != "ok":
            yield Finding("integrity", "database", str(text))


def _identity(reader: reading.Reader) -> Iterator[Finding]:
    rows = reader.rows(select(schema.identity))
    if len(rows) != 1:
        yield Finding("identity", "journal", f"there are {len(rows)} identities, not one")
        return
    (row,) = rows
    for name, value in (("outbox id", row.outbox_id), ("nonce", row.nonce)):
        if len(value) != 8:
            yield Finding("identity", "journal", f"the {name} has {len(value)} bytes, not 8")
    if row.epoch < 1:
        yield Finding("identity", "journal", f"the epoch is {row.epoch}")


def _numbers(reader: reading.Reader) -> Iterator[Finding]:
    """No seq is above the last that was given, and everything an entry refers to is there."""
    # In this order: in a live journal the last one may have grown meanwhile.
    highest = reader.rows(select(func.max(_c.seq)))[0][0] or 0
    last = next(iter(reader.rows(statements.LAST_SEQ)), (0,))[0]
    if highest > last:
        yield Finding("seqs", f"entry {highest}", f"is above {last}, the last that was given")
    known = select(schema.streams.c.id)
    for (seq,) in reader.rows(select(_c.seq).where(_c.stream.not_in(known))):
        yield Finding("streams", f"entry {seq}", "goes to a destination that is not there")
    states = [int(state) for state in schema.State]
    for seq, state in reader.rows(select(_c.seq, _c.state).where(_c.state.not_in(states))):
        yield Finding("states", f"entry {seq}", f"has state {state}, which there is none of")
    for (seq,) in reader.rows(select(_r.seq).where(_r.seq.not_in(select(_c.seq)))):
        yield Finding("reasons", f"entry {seq}", "has a reason and is not there")
    for seq, reason in reader.rows(_SUCCESSORS):
        found = _STANDS_FOR_IT.search(reason)
        if found is not None and not seq < int(found[1]) <= last:
            yield Finding("successors", f"entry {seq}", f"{found[0]}, which cannot be")


def _counts(reader: reading.Reader) -> Iterator[Finding]:
    """What is there, and what was counted as it ended, make up all that was ever settled."""
    found = reader.rows(_COUNTED)
    counted = {name: value for what, name, value in found if what == "counter"}
    rows = {int(state): value for what, state, value in found if what == "state"}
    missing = [name for name in schema.COUNTERS if name not in counted]
    for name in missing:
        yield Finding("counters", name, "is not there")
    if missing:
        return
    settled = sum(rows.get(int(state), 0) for state in _SETTLED_STATES)
    ended = ("applied", "expired", "merged", "discarded", "requeued")
    expected = sum(counted[name] for name in ended) - counted["purged"]
    if settled != expected:
        yield Finding(
            "counters", "settled entries", f"{settled} are there, {expected} are counted as kept"
        )
    dead = sum(rows.get(int(state), 0) for state in _DEAD_STATES)
    expected = counted["dead"] - counted["discarded"] - counted["requeued"]
    if dead != expected:
        yield Finding(
            "counters", "dead letters", f"{dead} are there, {expected} are counted as left"
        )


def _entries(reader: reading.Reader, progress: Progress) -> Iterator[Finding]:
    """Each body matches its checksum, for as long as it is kept."""
    seen = after = 0
    query = select(schema.outbox).order_by(_c.seq).limit(PAGE)
    while rows := reader.rows(query.where(_c.seq > after)):
        for row in rows:
            dropped = row.state in _BODILESS and not row.body
            if not dropped and outbox.checksum(row.seq, _entry(row)) != row.checksum:
                state = selecting.STATES.get(row.state, "of no state")
                yield Finding("checksums", f"entry {row.seq}", f"{state}, its bytes have changed")
        after = rows[-1].seq
        seen += len(rows)
        progress(seen)


def _entry(row: Any) -> entries.NewEntry:
    """As much of an entry as its checksum is made of."""
    return entries.NewEntry("", "", row.kind, row.group, row.method, row.body, None, 0.0, None)


def _inbox(reader: reading.Reader) -> Iterator[Finding]:
    after = 0
    query = select(schema.inbox).order_by(_i.number).limit(PAGE)
    while rows := reader.rows(query.where(_i.number > after)):
        for row in rows:
            received = inbox.received_of(row)
            is_done = row.state == int(entries.InboxState.DONE)
            if not is_done and inbox.checksum(received) != row.checksum:
                place = f"command {row.seq} of {row.origin.hex()}"
                yield Finding("inbox", place, "its bytes have changed")
        after = rows[-1].number


def _snapshot(reader: reading.Reader) -> Iterator[Finding]:
    for key, body in reader.rows(select(schema.snapshot)):
        if kept.checked(key, body) is None:
            yield Finding("snapshot", key, "its bytes have changed")
