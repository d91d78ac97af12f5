# SPDX-License-Identifier: Apache-2.0
"""One entry of a journal as the commands show it, as JSON and in columns."""

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from nova_edge_bus.cli import journals
from nova_edge_bus.cli import output
from nova_edge_bus.cli import secrets
from nova_edge_bus.journal import reading
from nova_edge_bus.journal import reasons
from nova_edge_bus.protocol import messages

HEADINGS = ("journal", "seq", "made", "status", "method", "group", "destination", "size")
_LABEL = 14


def head(journal: journals.Journal, entry: reading.Head) -> dict[str, Any]:
    """An entry without its body, with the keys that the documentation promises."""
    return {
        "journal": journal.path,
        "seq": entry.seq,
        "status": entry.status,
        "kind": kind(entry.kind),
        "method": entry.method,
        "group": entry.group or None,
        "destination": entry.address,
        "endpoints": entry.link.split(","),
        "consumer": None if entry.consumer is None else entry.consumer.hex(),
        "made_at": output.moment(entry.created_at),
        "expires_at": output.moment(entry.expires_at),
        "changed_at": output.moment(entry.changed_at),
        "size": entry.size,
        "reason": reason(entry),
    }


def reason(entry: reading.Head) -> str | None:
    """Why an entry ended so, without what was found and without secrets."""
    return None if entry.reason is None else secrets.text(reasons.read(entry.reason)[0])


def cells(journal: journals.Journal, entry: reading.Head) -> tuple[str, ...]:
    """The same in the columns of :data:`HEADINGS`."""
    return (
        journal.name.removesuffix(".db"),
        str(entry.seq),
        output.moment(entry.created_at) or "",
        entry.status,
        entry.method or "-",
        entry.group or "-",
        entry.address,
        str(entry.size),
    )


def kind(number: int) -> str:
    """What the documentation calls a kind."""
    try:
        return messages.Kind(number).name.lower()
    except ValueError:
        return str(number)


def whole(
    journal: journals.Journal, reader: reading.Reader, entry: reading.Head
) -> dict[str, Any]:
    """An entry with its body: parsed, and without secrets.

    ``context``, ``message`` and ``note`` are None when the body was dropped or is not understood.
    """
    body = reader.body(entry.seq) or b""
    context, message, note = parts(body)
    return {
        **head(journal, entry),
        "body_bytes": len(body),
        "intact": entry.checksum_fits(body) if body else None,
        "context": context,
        "message": message,
        "note": note,
    }


def parts(body: bytes) -> tuple[Any, Any, Any]:
    """The context, the message and the note of a body, scrubbed; None for what is not there."""
    try:
        parsed = json.loads(body)
    except ValueError:
        return None, None, None
    if not isinstance(parsed, list) or len(parsed) not in (2, 3):
        return None, None, None
    context, message, *rest = secrets.scrub(parsed)
    return context, message, rest[0] if rest else None


def lines(entry: dict[str, Any]) -> Iterator[str]:
    """What :func:`whole` gave, for a reader."""
    for key, value in entry.items():
        if key not in ("context", "message", "note") and value is not None:
            yield output.clean(f"{key.replace('_', ' '):<{_LABEL}}{_plain(value)}")
    for key in ("context", "message", "note"):
        if entry[key] is not None:
            yield f"{key}:"
            yield from textwrap.indent(json.dumps(entry[key], indent=2), "  ").splitlines()
    if entry["message"] is None:
        yield (
            "message:      dropped" if not entry["body_bytes"] else "message:      not understood"
        )


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return json.dumps(value)
    return ", ".join(value) if isinstance(value, list) else str(value)
