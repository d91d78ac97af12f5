# SPDX-License-Identifier: Apache-2.0
"""The SQL of the outbox; which index each statement uses is tested."""

import sqlalchemy
from sqlalchemy import bindparam
from sqlalchemy import func
from sqlalchemy import select

from nova_edge_bus.journal import database
from nova_edge_bus.journal import schema
from nova_edge_bus.protocol import messages

_table = schema.outbox
_c = _table.c
COLUMNS = tuple(_c.keys())
INSERT = database.compiled(
    _table.insert().values({name: bindparam(name) for name in COLUMNS}), *COLUMNS
)
_each = func.json_each(bindparam("seqs")).table_valued("value")
FIND = select(_c.seq, _c.kind, _c.size, _c.expires_at).where(
    _c.seq.in_(select(_each.c.value)), _c.state == int(schema.State.PENDING)
)
DELETE = database.compiled(_table.delete().where(_c.seq == bindparam("key")), "key")
_change = _table.update().where(_c.seq == bindparam("key"))
SETTLE = database.compiled(
    _change.values(state=bindparam("to"), changed_at=bindparam("at")), "to", "at", "key"
)
EXPLAIN = database.compiled(
    schema.reasons.insert().values(seq=bindparam("key"), reason=bindparam("why")), "key", "why"
)
DROP_BODY = database.compiled(_change.values(body=bindparam("empty")), "empty", "key")
HEAD = select(_c.kind, _c.group, _c.method).where(
    _c.seq == bindparam("key"), _c.state == int(schema.State.PENDING)
)
AMEND = database.compiled(
    _change.values(body=bindparam("to"), size=bindparam("bytes"), checksum=bindparam("sum")),
    "bytes",
    "sum",
    "to",
    "key",
)
PIN = database.compiled(
    _change.where(_c.state == bindparam("now")).values(consumer=bindparam("to")),
    "to",
    "key",
    "now",
)
PENDING = (
    select(_table)
    .where(
        _c.stream.in_(bindparam("streams", expanding=True)),
        _c.seq > bindparam("after"),
        schema.PENDING,
    )
    .order_by(_c.seq)
    .limit(bindparam("most"))
)
RECORD_GROUPS = (
    select(_c.stream, _c.seq, _c.group)
    .where(schema.PENDING, _c.kind == int(messages.Kind.RECORD))
    .order_by(_c.seq)
)
RECORDS = (
    select(_c.seq, _c.state, _c.body)
    .where(
        _c.seq > bindparam("after"),
        _c.kind == int(messages.Kind.RECORD),
        _c.state.in_((int(schema.State.PENDING), *schema.TAKEN)),
    )
    .order_by(_c.seq)
    .limit(bindparam("most"))
)
RECORDS_DOWN = (
    select(_table)
    .where(
        _c.seq < bindparam("before"),
        _c.seq >= bindparam("first"),
        _c.kind == int(messages.Kind.RECORD),
        _c.state.in_((int(schema.State.PENDING), *schema.TAKEN, int(schema.State.LOST))),
    )
    .order_by(_c.seq.desc())
    .limit(bindparam("most"))
)
RECORDED = (
    select(_c.seq)
    .where(
        _c.seq >= bindparam("first"),
        _c.state == int(schema.State.RECORDED),
        _c.stream.in_(bindparam("streams", expanding=True)),
    )
    .order_by(_c.seq)
    .limit(bindparam("most"))
)
NEWEST_RECORDED = (
    select(_c.seq)
    .where(
        _c.state == int(schema.State.RECORDED),
        _c.stream.in_(bindparam("streams", expanding=True)),
    )
    .order_by(_c.seq.desc())
    .limit(bindparam("most"))
)
LAST_BEFORE = (
    select(_c.seq)
    .where(_c.seq < bindparam("first"), _c.state != int(schema.State.DEAD))
    .order_by(_c.seq.desc())
    .limit(1)
)
RETIRABLE = select(_c.seq).where(
    _c.seq.in_(select(_each.c.value)), _c.state.in_((*schema.TAKEN, int(schema.State.LOST)))
)
TAKEN_RECORDS = select(_c.seq, _c.changed_at).where(
    _c.seq.in_(select(_each.c.value)),
    _c.kind == int(messages.Kind.RECORD),
    _c.state.in_(schema.TAKEN),
)
LOST = select(_c.seq).where(schema.SETTLED, _c.state == int(schema.State.LOST))
STREAMS = (
    select(_c.stream, func.count(), func.min(_c.seq), func.max(_c.seq), func.sum(_c.size))
    .where(schema.PENDING)
    .group_by(_c.stream)
)
EXPIRING = (
    select(_c.seq, _c.stream)
    .where(schema.EXPIRING, _c.expires_at <= bindparam("now"))
    .order_by(_c.expires_at)
    .limit(bindparam("most"))
)
# The parameter, and not the literal of the partial index, keeps this on the table's own key.
NEXT_PENDING = (
    select(_c.seq)
    .where(_c.seq >= bindparam("at_least"), _c.state == int(schema.State.PENDING))
    .order_by(_c.seq)
    .limit(1)
)
# As an expression, the minimum is looked for among the pending, and not from the table's start.
FIRST_PENDING = select(func.min(_c.seq + 0)).where(schema.PENDING)
NOTIFICATION_BYTES = select(func.coalesce(func.sum(_c.size), 0)).where(
    schema.EXPIRING, _c.kind == int(messages.Kind.COMMAND)
)
LAST_SEQ = sqlalchemy.text("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")
SKIP = sqlalchemy.text("UPDATE sqlite_sequence SET seq = :to WHERE name = 'outbox'")
# SQLite makes the row with a table's first row.
SKIP_UNUSED = sqlalchemy.text(
    "INSERT INTO sqlite_sequence (name, seq) SELECT 'outbox', :to "
    "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'outbox')"
)
REBIND = (
    _table.update()
    .where(_c.stream == bindparam("from"), schema.PENDING)
    .values(stream=bindparam("target"))
)
COUNT = select(func.count()).select_from(_table)
ALL_STREAMS = select(schema.streams)
