# SPDX-License-Identifier: Apache-2.0
"""Notes on entries that are going to be applied later than they were meant to be.

The one who applies such an entry has to know what its writer knew: see ``Request.note``. An entry
that is answered here has its note from the beginning. Others get it when it turns out that nobody
waits for them any more: because a cut came while they were under way, or their process ended.
"""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from nova_edge_bus.autonomy import bodies
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal as journal_module
from nova_edge_bus.protocol import messages

Known = Callable[[Mapping[str, Any], int], Mapping[str, Any]]
"""Tells what the entry with this message and seq found; see ``Snapshot.before``."""


def nothing_known(message: Mapping[str, Any], seq: int) -> Mapping[str, Any]:
    """A :data:`Known` for where there is no snapshot."""
    return {}


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


def write_on_left_over(
    journal: journal_module.Journal, entry: entries.Entry, known: Known
) -> None:
    """Note on a pending write of an earlier life where its instance was then.

    A save of an instance tells that itself. What is written beside an instance, such as a fault
    or the cache of its network, does not: there it is what this host knew.

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
    note = {} if host is None else {"instance_host": host}
    if not _is_of_instance(request.message):
        before = known(request.message, entry.seq)
        note = {name: before[name] for name in ("instance_host",) if name in before}
    if note:
        entry.body = _add(journal, entry.seq, entry.body, note) or entry.body


def _is_of_instance(message: Mapping[str, Any]) -> bool:
    target = (message.get("args") or {}).get("objinst") or {}
    return target.get("nova_object.name") == "Instance"


def host_of(message: Mapping[str, Any]) -> str | None:
    """The host that an instance was on when it was saved, if the message tells."""
    if not _is_of_instance(message):
        return None
    target = message["args"]["objinst"]
    if "host" in (target.get("nova_object.changes") or ()):
        return None
    host = (target.get("nova_object.data") or {}).get("host")
    return str(host) if host else None
