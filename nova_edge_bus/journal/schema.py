# SPDX-License-Identifier: Apache-2.0
"""The journal's tables. doc/source/journal.rst says what each column is for."""

import enum

import sqlalchemy
from sqlalchemy import Column
from sqlalchemy import Float
from sqlalchemy import Index
from sqlalchemy import Integer
from sqlalchemy import LargeBinary
from sqlalchemy import MetaData
from sqlalchemy import Table
from sqlalchemy import Text

VERSION = 4
APPLICATION_ID = 0x4E454A31
"""Marks the file as a journal of this package ("NEJ1") for ``file(1)`` and for ourselves."""


class State(enum.IntEnum):
    """An outbox row's state, as stored.

    From 2 on, because SQLite stores 0 and 1 in no bytes at all: numbers of one byte keep the row
    at its size, and a row that keeps its size is settled in place, without rewriting its body.
    """

    PENDING = 2
    APPLIED = 3
    EXPIRED = 4
    MERGED = 5
    DEAD = 6
    RECORDED = 7
    DISCARDED = 8
    ASKED = 9
    LOST = 10


MAX_SEQ = (1 << 63) - 1

UNPINNED = bytes(8)
"""Stands for "no consumer": pinning then keeps the row's size, so it happens in place too."""

COUNTERS = (
    "applied",
    "accepted",
    "expired",
    "merged",
    "dead",
    "discarded",
    "requeued",
    "purged",
    "received",
    "withdrawn",
    "damaged",
    "forwarded",
)

metadata = MetaData()

identity = Table(
    "journal",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("outbox_id", LargeBinary, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Integer, nullable=False),
)

streams = Table(
    "streams",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("link", Text, nullable=False),
    Column("address", Text, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("stream", Integer, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("group", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("consumer", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("size", Integer, nullable=False),
    Column("checksum", Integer, nullable=False),
    Column("state", Integer, nullable=False),
    # Whole seconds: a float that happens to be whole would be stored in fewer bytes.
    Column("changed_at", Integer, nullable=False),
    # Last, so that reading the columns before it does not walk the body's overflow pages.
    Column("body", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)

reasons = Table(
    "reasons",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("reason", Text, nullable=False),
)

inbox = Table(
    "inbox",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("origin", LargeBinary, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("address", Text, nullable=False),
    Column("group", Text, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("checksum", Integer, nullable=False),
    Column("state", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    # Where a migrated journal has it as well.
    Column("identity", Text, nullable=False, server_default=""),
    sqlite_autoincrement=True,
)

origins = Table(
    "origins",
    metadata,
    Column("origin", LargeBinary, primary_key=True),
    Column("epoch", Integer, nullable=False),
)

floors = Table(
    "floors",
    metadata,
    Column("origin", LargeBinary, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("floor", Integer, nullable=False),
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("key", Text, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# SQLite uses a partial index only for a query that repeats its condition word for word, with the
# number in the text and not as a parameter; hence constants that both sides take.
PENDING = sqlalchemy.text("state = 2")
SETTLED = sqlalchemy.text("state > 2")
EXPIRING = sqlalchemy.text("state = 2 AND expires_at IS NOT NULL")
UNDONE = sqlalchemy.text("state < 4")
TAKEN = (int(State.APPLIED), int(State.RECORDED))
"""The states of what has been applied."""

# The state is in each index, though always the same, so that the index alone can answer: SQLite
# looks at it again even where the index's condition implies it.
Index(
    "outbox_pending",
    outbox.c.stream,
    outbox.c.seq,
    outbox.c.size,
    outbox.c.state,
    sqlite_where=PENDING,
)
Index(
    "outbox_settled",
    outbox.c.changed_at,
    outbox.c.state,
    outbox.c.size,
    sqlite_where=SETTLED,
)
Index(
    "outbox_expiring",
    outbox.c.expires_at,
    outbox.c.kind,
    outbox.c.stream,
    outbox.c.size,
    outbox.c.state,
    sqlite_where=EXPIRING,
)
Index("streams_by_name", streams.c.link, streams.c.address, unique=True)
Index("inbox_by_origin", inbox.c.origin, inbox.c.seq, unique=True)
Index("inbox_undone", inbox.c.state, inbox.c.number, sqlite_where=UNDONE)
