# SPDX-License-Identifier: Apache-2.0
"""Entries, and a conductor that applies them as the driver has it done."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import sqlalchemy
from nova import exception
from sqlalchemy import exc

from nova_edge_bus import errors
from nova_edge_bus.cell import fencing
from nova_edge_bus.cell import once
from nova_edge_bus.cell import refusals
from nova_edge_bus.cell import replies
from nova_edge_bus.cell import table
from tests.unit.snapshot import centre as centres

Json = dict[str, Any]


@dataclasses.dataclass
class Entry:
    """A write as it was journaled."""

    outbox: bytes
    seq: int
    context: Json
    message: Json


def written(write: Callable[[], Any]) -> list[Entry]:
    """Catch what nova's objects send while *write* runs; nothing is applied."""
    caught: list[Entry] = []
    outbox = os.urandom(8)

    def catch(context: Json, message: Json) -> Any:
        caught.append(Entry(outbox, len(caught) + 1, context, message))
        return replies.reply_to(message)

    with centres.over(catch):
        write()
    return caught


def fence(entry: Entry, note: Json | None) -> fencing.Fence | None:
    """The condition under which an entry may land."""
    return fencing.fence_of(entry.message, note)


def apply(centre: centres.Centre, entry: Entry, note: Json | None = None) -> Any:
    """Apply an entry once more, and return the reply.

    :param note: what the edge knew when it answered the entry itself
    :raises NovaException: what nova raises, unless the entry has had its effect before
    """
    applying = once.begin(entry.outbox, entry.seq, fence(entry, note))
    try:
        reply = centre(entry.context, entry.message)
    except (exception.NovaException, errors.Fenced, exc.SQLAlchemyError) as error:
        once.end()
        verdict = refusals.judge(applying, entry.message, error, answered=note is not None)
        if verdict.is_applied:
            return replies.reply_to(entry.message)
        if verdict.text:
            error.args = (f"{error} {verdict.text}",)
        raise
    finally:
        once.end()
    if applying.was_refused:
        raise refusals.Refused
    return reply


def parts(centre: centres.Centre, entry: Entry) -> list[int]:
    """The commits of an entry that are known to have been made."""
    query = (
        sqlalchemy.select(table.inbox.c.part)
        .where(table.inbox.c.outbox == entry.outbox.hex(), table.inbox.c.seq == entry.seq)
        .order_by(table.inbox.c.part)
    )
    engine = sqlalchemy.create_engine(centre.url)
    with engine.connect() as connection:
        found = list(connection.scalars(query))
    engine.dispose()
    return found
