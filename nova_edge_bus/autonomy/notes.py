# SPDX-License-Identifier: Apache-2.0
"""Notes on entries that are going to be applied later than they were meant to be.

The one who applies such an entry has to know what its writer knew: see ``Request.note``. An entry
that is answered here has its note from the beginning. Others get it when it turns out that nobody
waits for them any more: because a cut came while they were under way, or their process ended.
"""

from collections.abc import Mapping
from typing import Any

from nova_edge_bus.autonomy import bodies
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal as journal_module
from nova_edge_bus.protocol import messages


def write(journal: journal_module.Journal, seq: int, note: Mapping[str, Any]) -> bytes | None:
    """Add a note to a pending record that has none; return its new body, if there is one."""
    for found, is_pending, body in journal.outbox.records(seq - 1, 1):
        if found == seq and is_pending and bodies.request(body).note is None:
            return _add(journal, seq, body, note)
    return None


def _add(
    journal: journal_module.Journal, seq: int, body: bytes, note: Mapping[str, Any]
) -> bytes | None:
    noted = bodies.noted(body, dict(note))
    return noted if journal.outbox.amend(seq, noted) else None


def write_on_left_over(journal: journal_module.Journal, entry: entries.Entry) -> None:
    """Note on a pending save of an earlier life where its instance was then.

    :param entry: as it was read in the same transaction; it has the new body then
    """
    if entry.kind != messages.Kind.RECORD or bodies.is_noted(entry.body):
        return
    try:
        request = bodies.request(entry.body)
    except ValueError:
        # Not nova's; whoever applies it will say so.
        return
    host = host_of(request.message)
    if host is not None:
        entry.body = _add(journal, entry.seq, entry.body, {"instance_host": host}) or entry.body


def host_of(message: Mapping[str, Any]) -> str | None:
    """The host that an instance was on when it was saved, if the message tells."""
    target = (message.get("args") or {}).get("objinst") or {}
    if target.get("nova_object.name") != "Instance":
        return None
    if "host" in (target.get("nova_object.changes") or ()):
        return None
    host = (target.get("nova_object.data") or {}).get("host")
    return str(host) if host else None
