# SPDX-License-Identifier: Apache-2.0
"""How many bytes a journal may take, and for what.

``max_bytes`` is split so that the work that empties a journal always has room::

    |<------------------------------ max_bytes ------------------------------>|
    |<------------- appends ------------->|<- reserve ->|<------- WAL ------->|

Commands that are received, and the reasons of outcomes, may take half of the reserve. The rest is
for what settling itself needs, which is little, for it happens in place.
Live pages are counted, not the file's size: freed pages are used again first.

A file system that has less room than that is split in the same way, for the same reason: a
checkpoint that found no room to write to would keep the WAL from ever being used again.
"""

from nova_edge_bus import errors
from nova_edge_bus.journal import database

MIN_BYTES = 1 << 20
_RESERVE_PAGES = 32
_WAL_PAGES = 2000
"""8 MiB between checkpoints: one append of 12 KiB in some 250 meets one, which spares its p99."""
_COMMIT_PAGES = 4
"""What a commit writes beside its rows: the header, the sequence, an index, a page map."""
_LOOKS = 32
"""How often at least, per quota's worth of appends, the file is looked at."""
_FRAME_HEADER = 24
_DISK_MARGIN = 128 * 1024
"""Bytes of a file system that are left for its own books and the file of shared memory."""
_DISK_STEPS = 32
"""By what part of itself the room on a file system changes until it is split anew."""
_OVERFLOW_BYTES = database.PAGE_SIZE - 4
_ROW_BYTES = 160
"""What a row's numbers, record header, cell pointers and index entries take at most."""


class Quota:
    """The limits of one journal, and its present use.

    :param max_bytes: for the database and its WAL together
    :raises ValueError: when max_bytes is below 1 MiB
    """

    def __init__(self, db: database.Database, max_bytes: int) -> None:
        if max_bytes < MIN_BYTES:
            raise ValueError(f"a journal needs at least {MIN_BYTES} bytes, not {max_bytes}")
        self._db = db
        self.max_bytes = max_bytes
        self._credit = 0
        self._wal_written = 0
        self._split(max_bytes)

    def _split(self, most: int) -> None:
        """Divide so many bytes, which are the quota or what the file system has."""
        self._most = most
        page = database.PAGE_SIZE
        self.wal_pages = min(max(most // 16 // page, 16), _WAL_PAGES)
        # Checkpoints are due at one times wal_pages by estimate, SQLite's own come at twice, and
        # as that happens after a commit, its pages are in the file as well.
        self.wal_bytes = 3 * self.wal_pages * (page + _FRAME_HEADER)
        self.ceiling = most - self.wal_bytes
        reserve = max(most // 16, _RESERVE_PAGES * page)
        self.append_limit = self.ceiling - reserve
        self.inbox_limit = self.ceiling - reserve // 2
        self.notification_limit = most // 4
        self.reason_limit = self.ceiling - reserve // 2
        self.retained_limit = self.append_limit // 2
        self._credit = 0

    def fit(self) -> None:
        """Look whether the file system has as much room as the quota; to be called often.

        What others write there is not known before, and can take the room away all the same.
        """
        path = self._db.path
        there = database.files_size(path) + database.free_bytes(path) - _DISK_MARGIN
        most = min(self.max_bytes, max(there, MIN_BYTES))
        is_like_before = abs(most - self._most) <= self._most // _DISK_STEPS
        if most != self._most and (most == self.max_bytes or not is_like_before):
            self._split(most)
            self.apply()

    def apply(self) -> None:
        """Set SQLite's own limits, the last line if an estimate here should prove too low."""
        self._db.pragma(f"max_page_count = {self.ceiling // database.PAGE_SIZE}")
        self._db.pragma(f"wal_autocheckpoint = {2 * self.wal_pages}")
        self._db.pragma(f"journal_size_limit = {self.wal_bytes}")

    def live(self) -> int:
        """Return the bytes of live pages, with what the WAL takes beyond its share.

        A very large transaction, or a long read by another process, makes it outgrow that; the
        next checkpoint, which is then due, cuts it.
        """
        pages = int(self._db.pragma("page_count")) - int(self._db.pragma("freelist_count"))
        excess = max(0, self.wal_size() - self.wal_bytes)
        self._wal_written += excess
        return pages * database.PAGE_SIZE + excess

    def room(self, limit: int, cost: int) -> int:
        """Return the bytes that remain below *limit* after *cost*; negative when they lack.

        Costs are upper bounds, so while they fit into what the last look at the file left below
        the lowest limit, there is no need for another look. A cost that is undone afterwards only
        brings it forward.
        """
        self._wal_written += cost
        if cost <= self._credit:
            self._credit -= cost
            return self._credit
        taken = self.live() + cost
        # Not all that adds pages passes here, so the credit of one look is bounded.
        self._credit = max(0, min(self.append_limit - taken, self._most // _LOOKS))
        return limit - taken

    def committed(self) -> None:
        """Note a commit, for :attr:`checkpoint_due`."""
        self._wal_written += _COMMIT_PAGES * database.PAGE_SIZE

    def checkpointed(self) -> None:
        """Note a checkpoint, for :attr:`checkpoint_due`."""
        self._wal_written = 0

    @property
    def checkpoint_due(self) -> bool:
        """Whether the WAL has taken its share since the last checkpoint, by estimate."""
        return self._wal_written >= self.wal_pages * database.PAGE_SIZE

    def wal_size(self) -> int:
        """Return the size of the WAL file in bytes."""
        return database.file_size(self._db.path + "-wal")

    def full(self, action: str, size: int) -> errors.JournalFull:
        """Return the error for *size* bytes that the quota, or the disk, has no room for."""
        if self._most < self.max_bytes:
            path = self._db.path
            return errors.JournalFull(
                f"cannot {action} {size} bytes to journal {path}: {database.grown(path)}, "
                "held back to settle what is in it; make room there"
            )
        live = database.mebibytes(self.live())
        back = database.mebibytes(self.max_bytes - self.append_limit)
        return errors.JournalFull(
            f"cannot {action} {size} bytes to journal {self._db.path}: quota "
            f"{database.mebibytes(self.max_bytes)} is full, {live} are live and {back} held back; "
            "raise [edge_bus] journal_max_bytes or see 'nova-edge-bus status'"
        )

    def notifications_full(self, size: int, held: int) -> errors.JournalFull:
        """Return the error for a notification of *size* bytes when *held* are waiting."""
        return errors.JournalFull(
            f"cannot append a notification of {size} bytes to journal {self._db.path}: "
            f"{database.mebibytes(held)} of notifications wait and may take no more than "
            f"{database.mebibytes(self.notification_limit)}, a quarter of the quota; "
            "raise [edge_bus] journal_max_bytes or shorten their time to live"
        )


def cost(*sizes: int) -> int:
    """Return the most bytes of pages that a row with columns of these sizes can add."""
    payload = _ROW_BYTES + sum(sizes)
    pages = 1 + -(-payload // _OVERFLOW_BYTES)
    # One page in about 800 maps the others for the incremental vacuum.
    return (pages + pages // 800) * database.PAGE_SIZE
