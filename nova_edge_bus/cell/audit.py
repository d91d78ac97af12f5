# SPDX-License-Identifier: Apache-2.0
"""What a cell's database knows of entries that it was given: asked by those who keep them.

A sender that was told of an effect asks now and then whether it is still there. The question
travels as the note of a ping, which nova answers; what the database has to say takes the place of
the ping's reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy

from nova_edge_bus.cell import databases
from nova_edge_bus.cell import floors
from nova_edge_bus.cell import table

QUESTION = "audit"
"""The key of the question in a note."""
_inbox = table.inbox
_MAX_SEQ = (1 << 63) - 1


def question(
    outbox: bytes,
    address: str,
    seqs: list[int],
    *,
    settled: int,
    confirmed: int = 0,
    first: int = 0,
) -> dict[str, Any]:
    """Return the note that asks for entries of a stream.

    :param settled: no entry below it is going to be shipped again
    :param confirmed: the newest entry that an earlier answer has confirmed; nothing below it is
        going to be asked for, unless it is lost itself
    :param first: the first entry since the journal was opened; with it, ``highest`` in the answer
        is that of the entries before
    """
    asked = {"outbox": outbox.hex(), "address": address, "seqs": seqs}
    return {QUESTION: {**asked, "settled": settled, "confirmed": confirmed, "first": first}}


def answer(note: Mapping[str, Any]) -> dict[str, Any] | None:
    """Say which of the entries that a note asks for the database has had.

    :returns: ``floor``, below which it has had all, ``known``, those from there on, and
        ``highest``, the highest seq that it knows of the outbox, 0 for none; None without a
        database that has the tables
    :raises ValueError: when the note asks for something else
    """
    asked = note[QUESTION]
    outbox, seqs = asked.get("outbox"), asked.get("seqs")
    if not isinstance(outbox, str) or not all(isinstance(seq, int) for seq in seqs):
        raise ValueError("the question of an audit has an outbox and seqs")
    claim = floors.Claim(
        outbox,
        table.stream_of(str(asked.get("address"))),
        int(asked.get("settled") or 0),
        int(asked.get("confirmed") or 0),
    )
    most = int(asked.get("first") or _MAX_SEQ) - 1
    known: set[int] = set()
    floor = highest = 0
    is_there = False
    for engine in databases.engines():
        with engine.connect() as connection:
            if not databases.has_tables(connection):
                continue
            is_there = True
            known |= _known(connection, outbox, seqs)
            floor = max(floor, floors.audited(connection, claim, _highest(connection, outbox)))
            highest = max(highest, _highest(connection, outbox, most))
    if not is_there:
        return None
    if floor - 1 <= most:
        # The rows may be gone, but there were some.
        highest = max(highest, floor - 1)
    return {"floor": floor, "known": sorted(known), "highest": highest}


def _known(connection: sqlalchemy.Connection, outbox: str, seqs: list[int]) -> set[int]:
    if not seqs:
        return set()
    query = (
        sqlalchemy.select(_inbox.c.seq)
        .where(_inbox.c.outbox == outbox, _inbox.c.seq.between(min(seqs), max(seqs)))
        .distinct()
    )
    return set(connection.scalars(query)) & set(seqs)


def _highest(connection: sqlalchemy.Connection, outbox: str, most: int = _MAX_SEQ) -> int:
    query = (
        sqlalchemy.select(_inbox.c.seq)
        .where(_inbox.c.outbox == outbox, _inbox.c.seq <= most)
        .order_by(_inbox.c.seq.desc())
        .limit(1)
    )
    return int(connection.execute(query).scalar() or 0)
