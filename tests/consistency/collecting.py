# SPDX-License-Identifier: Apache-2.0
"""Makes a history of what the processes of a run have left: logs, journals, a database."""

from __future__ import annotations

import contextlib
import math
import pathlib

from nova_edge_bus.driver import body as bodies
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal as journals
from tests.consistency.history import Ending
from tests.consistency.history import Handed
from tests.consistency.history import Kind
from tests.consistency.history import Life
from tests.consistency.history import Operation
from tests.consistency.roles import name_of
from tests.faults import history as logs

_MOST = 100_000
_MAX_BYTES = 1 << 30


def lives(log: list[logs.Event]) -> list[Life]:
    """The processes of the hosts."""
    return [
        Life(f"{each.who}.{each.mark.life}", each.who, *each.detail)
        for each in log
        if each.what == "life"
    ]


def operations(log: list[logs.Event]) -> list[Operation]:
    """What the hosts did; what failed is not known to have happened or not."""
    ends = {each.mark: each for each in log if each.what == "returned"}
    return [_operation(each, ends.get(each.mark)) for each in log if each.what == "begun"]


def _operation(begun: logs.Event, end: logs.Event | None) -> Operation:
    kind, name = Kind(begun.mark.kind), name_of(begun.mark)
    if kind is Kind.READ:
        values = dict(end.detail) if end else {}
    else:
        fields = {Kind.SAVE: begun.detail, Kind.FAULT: ["fault"], Kind.BEAT: ["beat"]}
        values = dict.fromkeys(fields.get(kind, ()), name)
    life = f"{begun.who}.{begun.mark.life}"
    returned = end.time if end else math.inf
    return Operation(kind, name, life, begun.mark.group, begun.time, returned, values)


def handed(log: list[logs.Event]) -> list[Handed]:
    """The commands that were handed out."""
    return [
        Handed(number, name_of(each.mark), each.who, each.detail)
        for number, each in enumerate(log)
    ]


def endings(path: pathlib.Path) -> list[Ending]:
    """How the entries of a journal stand; read beside its owner."""
    found = []
    with (
        contextlib.closing(
            journals.Journal.attach(path, max_bytes=_MAX_BYTES, retention=0, read_only=True)
        ) as attached,
        attached.transaction(),
    ):
        for outcome in (None, *entries.Outcome):
            if outcome is not entries.Outcome.RECORDED:
                for each in attached.outbox.settled.listing(outcome, limit=_MOST):
                    found.append(_ending(attached.outbox_id.hex(), each))
    return found


def _ending(outbox: str, entry: entries.StoredEntry) -> Ending:
    name, note = "", None
    if entry.body:
        _, message, note = bodies.unpack(entry.body)
        name = _name(message)
    outcome = str(entry.outcome) if entry.outcome else "pending"
    return Ending(outbox, entry.seq, outcome, entry.reason or "", name, note is not None)


def _name(message: dict[str, object]) -> str:
    """What the operation that a message is from is known by; "" for what no host did."""
    arguments = message.get("args") or {}
    assert isinstance(arguments, dict)
    if "mark" in arguments:
        return name_of(logs.Mark(*arguments["mark"]))
    target = arguments.get("objinst") or {}
    data = target.get("nova_object.data", {})
    changes = target.get("nova_object.changes", ())
    if target.get("nova_object.name") == "Service":
        return f"{data['host']}:{data['report_count']}"
    for column in ("display_name", "display_description", "message"):
        if column in changes:
            return str(data[column])
    return ""
