# SPDX-License-Identifier: Apache-2.0
"""Whether a journal, which may be a live process's, holds anything unfinished."""

import os
from typing import Any

from sqlalchemy import select

from nova_edge_bus.journal import database
from nova_edge_bus.journal import dead
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import migrations
from nova_edge_bus.journal import schema
from nova_edge_bus.journal import statements

_ANY_PENDING = select(schema.outbox.c.seq).where(schema.PENDING).limit(1)
_ANY_ACCEPTED = (
    select(schema.inbox.c.number)
    .where(schema.UNDONE, schema.inbox.c.state == int(entries.InboxState.ACCEPTED))
    .limit(1)
)
_ANY_WORK = (_ANY_PENDING, dead.ASKED.limit(1), statements.LOST.limit(1), _ANY_ACCEPTED)


def has_work(path: str | os.PathLike[str]) -> bool:
    """Tell whether a journal, which may be a live process's, holds anything unfinished.

    That is an entry that is not settled, a dead letter that is to be requeued, or a received
    command that was not dispatched.

    A journal of an older version, which only its owner migrates, is taken to have some.

    :raises JournalTooNew: when a newer version of this package wrote it
    :raises JournalError: when there is no journal
    """
    return _has_any(path, *_ANY_WORK)


def has_pending(path: str | os.PathLike[str]) -> bool:
    """Tell the same of entries that are not settled alone."""
    return _has_any(path, _ANY_PENDING)


def _has_any(path: str | os.PathLike[str], *queries: Any) -> bool:
    db = database.Database(os.fspath(path), read_only=True)
    try:
        with db.translated():
            version = int(db.pragma("user_version"))
            if version > schema.VERSION:
                raise migrations.too_new(db.path, version)
            if version < schema.VERSION:
                return version > 0
            return any(db.run(query).first() is not None for query in queries)
    finally:
        db.close()
