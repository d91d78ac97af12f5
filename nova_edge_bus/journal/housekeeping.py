# SPDX-License-Identifier: Apache-2.0
"""Gives space back: in bounded pieces, because the journal does nothing else meanwhile."""

from nova_edge_bus.journal import database
from nova_edge_bus.journal import inbox
from nova_edge_bus.journal import quota
from nova_edge_bus.journal import settled

PURGE_ROWS = 500
"""Entries purged in one piece."""
VACUUM_PAGES = 256
"""Pages given back to the file system in one piece, some milliseconds' worth."""
SLACK_PAGES = 64
"""Free pages that stay in the file, so that steady traffic does not shrink and grow it."""


class Housekeeping:
    """The housekeeping of one journal."""

    def __init__(
        self,
        db: database.Database,
        limits: quota.Quota,
        kept: settled.Settled,
        received: inbox.Inbox,
    ) -> None:
        self._db = db
        self._quota = limits
        self._settled = kept
        self._inbox = received

    def tidy(self, until: float) -> bool:
        """Purge and vacuum one piece, in a transaction, and tell whether more is left.

        :param until: wall clock, seconds: entries settled by then are past their retention, and
            so are commands received by then which a crash has cut short
        """
        ended = self._inbox.end_interrupted(until, PURGE_ROWS)
        purged = self._settled.purge_oldest(until, PURGE_ROWS)
        while purged < PURGE_ROWS and self._settled.retained_bytes() > self._quota.retained_limit:
            purged += self._settled.purge_oldest()
        return self._vacuum() >= VACUUM_PAGES or max(purged, ended) >= PURGE_ROWS

    def _vacuum(self) -> int:
        excess = int(self._db.pragma("freelist_count")) - SLACK_PAGES
        pages = min(max(excess, 0), VACUUM_PAGES)
        for _ in range(pages):
            # The statement frees one page a step, and the driver takes a single step.
            self._db.pragma("incremental_vacuum(1)")
        return pages

    def checkpoint(self) -> None:
        """Checkpoint what no reader is in the way of; cut a WAL that has outgrown its share."""
        self._quota.checkpointed()
        busy, in_wal, done = self._db.pragma_rows("wal_checkpoint(PASSIVE)")[0]
        if not busy and in_wal == done and self._quota.wal_size() > self._quota.wal_bytes:
            self._db.empty_wal()
