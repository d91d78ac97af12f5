# SPDX-License-Identifier: Apache-2.0
"""Reading a journal beside its owner, or one that has none: nothing of it is written or locked.

A reader sees the journal as of its last commit. Everything is read in pages, each in a transaction
of its own: a long one would keep the owner's WAL from being used again.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

from sqlalchemy import func
from sqlalchemy import select

from nova_edge_bus import errors
from nova_edge_bus.journal import database
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import migrations
from nova_edge_bus.journal import outbox
from nova_edge_bus.journal import schema
from nova_edge_bus.journal import selecting

PAGE = 500
"""Entries read in one transaction."""

_c = schema.outbox.c
_s = schema.streams.c
_HEAD = select(
    _c.seq,
    _c.state,
    _c.kind,
    _s.link,
    _s.address,
    _c.group,
    _c.method,
    _c.consumer,
    _c.created_at,
    _c.expires_at,
    _c.changed_at,
    _c.size,
    _c.checksum,
    schema.reasons.c.reason,
).select_from(
    schema.outbox.outerjoin(schema.streams, _s.id == _c.stream).outerjoin(
        schema.reasons, schema.reasons.c.seq == _c.seq
    )
)


_SETTLED = (
    select(_c.state, func.count(), func.sum(_c.size)).where(schema.SETTLED).group_by(_c.state)
)
_by_stream = (
    select(
        _c.stream,
        func.count().label("entries"),
        func.sum(_c.size).label("size"),
        func.min(_c.seq).label("first"),
        func.max(_c.seq).label("last"),
    )
    .where(schema.PENDING)
    .group_by(_c.stream)
    .subquery()
)
_PENDING = (
    select(
        _s.link,
        _s.address,
        _by_stream.c.entries,
        _by_stream.c.size,
        _by_stream.c.first,
        _by_stream.c.last,
        select(_c.created_at).where(_c.seq == _by_stream.c.first).scalar_subquery(),
    )
    .join_from(_by_stream, schema.streams, _s.id == _by_stream.c.stream)
    .order_by(_by_stream.c.first)
)
_INBOX_WAITING = (
    select(func.count())
    .select_from(schema.inbox)
    .where(schema.UNDONE, schema.inbox.c.state == int(entries.InboxState.ACCEPTED))
)


class Identity(NamedTuple):
    """Whose journal it is; see :class:`nova_edge_bus.journal.journal.Journal`."""

    outbox_id: bytes
    epoch: int
    nonce: bytes
    created_at: float


class Head(NamedTuple):
    """An entry without its body; times are wall clock seconds, ``size`` is the body's in bytes."""

    seq: int
    status: str
    kind: int
    link: str
    address: str
    group: str
    method: str
    consumer: bytes | None
    created_at: float
    expires_at: float | None
    changed_at: int
    size: int
    checksum: int
    reason: str | None

    def checksum_fits(self, body: bytes) -> bool:
        """Tell whether *body* is the one that the entry had when it was appended."""
        entry = entries.NewEntry(
            self.link,
            self.address,
            self.kind,
            self.group,
            self.method,
            body,
            self.consumer,
            self.created_at,
            self.expires_at,
        )
        return outbox.checksum(self.seq, entry) == self.checksum


class Depth(NamedTuple):
    """How many entries there are, and the bytes of their bodies when they were appended."""

    entries: int
    size: int


class Pending(NamedTuple):
    """What is pending for one destination; times are wall clock seconds, sizes bytes."""

    link: str
    address: str
    entries: int
    size: int
    first_seq: int
    last_seq: int
    oldest_at: float


class Overview(NamedTuple):
    """What a journal holds.

    ``statuses`` has every status of :data:`selecting.STATUSES`, ``inbox_waiting`` is how many
    commands were taken over and not dispatched, ``live`` the bytes of pages in use, ``on_disk``
    what the database and its WAL occupy.
    """

    statuses: dict[str, Depth]
    pending: list[Pending]
    inbox_waiting: int
    live: int
    on_disk: int


class Reader:
    """An open journal; made by :func:`opened`."""

    def __init__(self, db: database.Database) -> None:
        self._db = db
        self.path = db.path

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._db.translated():
            self._db.begin()
            try:
                yield
            finally:
                self._db.rollback()

    def identity(self) -> Identity:
        """Whose journal it is, and which opening of it.

        :raises JournalError: when it cannot be read, or nobody has ever opened it wholly
        """
        with self._transaction():
            row = self._db.run(select(schema.identity)).first()
        if row is None:
            raise errors.JournalError(f"journal {self.path} has no identity yet")
        return Identity(row.outbox_id, row.epoch, row.nonce, row.created_at)

    def overview(self) -> Overview:
        """Count what is there, by indexes alone.

        :raises JournalError: when the journal cannot be read
        """
        with self._transaction():
            pages = int(self._db.pragma("page_count")) - int(self._db.pragma("freelist_count"))
            settled = self._db.run(_SETTLED).all()
            streams = [Pending(*row) for row in self._db.run(_PENDING)]
            waiting = self._db.run(_INBOX_WAITING).scalar_one()
        statuses = dict.fromkeys(selecting.STATUSES, Depth(0, 0))
        for state, count, size in settled:
            before = statuses[selecting.STATES[schema.State(state)]]
            statuses[selecting.STATES[schema.State(state)]] = Depth(
                before.entries + count, before.size + size
            )
        statuses[selecting.PENDING] = Depth(
            sum(each.entries for each in streams), sum(each.size for each in streams)
        )
        return Overview(
            statuses, streams, int(waiting), pages * database.PAGE_SIZE, self._on_disk()
        )

    def counters(self) -> dict[str, int]:
        """What has become of the journal's entries since it was made, by ``schema.COUNTERS``.

        :raises JournalError: when the journal cannot be read
        """
        with self._transaction():
            counters = schema.counters.c
            return {
                name: int(value)
                for name, value in self._db.run(select(counters.name, counters.value))
            }

    def _on_disk(self) -> int:
        return database.files_size(self.path)

    def heads(
        self, wanted: selecting.Filter = selecting.EVERYTHING, page: int = PAGE
    ) -> Iterator[Head]:
        """Yield the entries that *wanted* means, in seq order, without reading their bodies.

        What is settled, appended or purged meanwhile may or may not be among them.

        :raises JournalError: when the journal cannot be read
        """
        query = _HEAD.where(*wanted.conditions()).order_by(_c.seq).limit(page)
        after = 0
        while True:
            with self._transaction():
                rows = self._db.run(query.where(_c.seq > after)).all()
            yield from map(_head, rows)
            if len(rows) < page:
                return
            after = rows[-1].seq

    def head(self, seq: int) -> Head | None:
        """Return one entry without its body, or None when there is no such row."""
        return next(self.heads(selecting.Filter(seqs=((seq, seq),))), None)

    def body(self, seq: int) -> bytes | None:
        """Return an entry's body, empty when it was dropped; None when there is no such row."""
        with self._transaction():
            found = self._db.run(select(_c.body).where(_c.seq == seq)).scalar()
        return None if found is None else bytes(found)

    def rows(self, statement: Any) -> list[Any]:
        """Return all rows of a short query of one's own."""
        with self._transaction():
            return list(self._db.run(statement).all())

    def pragma_rows(self, text: str) -> list[Any]:
        """Return what a pragma says."""
        with self._db.translated():
            return self._db.pragma_rows(text)


def _head(row: Any) -> Head:
    seq, state, kind, link, address, group, method, consumer, *others = row
    return Head(
        seq,
        selecting.STATES[state],
        kind,
        link or "",
        address or "",
        group,
        method,
        None if consumer == schema.UNPINNED else consumer,
        *others,
    )


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Reader]:
    """Open a journal for reading, whether a process lives in it or not.

    SQLite may leave ``-wal`` and ``-shm`` files beside a journal that had none; they belong to it
    and do no harm.

    :raises JournalTooNew: when a newer version of this package wrote it
    :raises JournalCorrupt: when it is no database, or damaged where every reader looks
    :raises JournalError: when there is no such file, it cannot be read, is of an older version or
        not a journal
    """
    name = os.fspath(path)
    _check_file(name)
    db = database.Database(name, read_only=True, immutable=_is_immutable(name))
    try:
        with db.translated():
            _check_ours(db)
        yield Reader(db)
    finally:
        db.close()


def _check_file(path: str) -> None:
    """SQLite says of most of these no more than that it cannot open the file."""
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise errors.JournalError(f"cannot read journal {path}: {reason}") from error


def _is_immutable(path: str) -> bool:
    """Whether it lies where nothing can be made beside it, as SQLite would for a WAL journal.

    :raises JournalError: when it has a WAL that therefore cannot be read
    """
    if _is_writable(os.path.dirname(path) or ".") or os.path.exists(f"{path}-shm"):
        return False
    if database.file_size(f"{path}-wal"):
        raise errors.JournalError(
            f"cannot read journal {path} with its WAL in a folder that cannot be written to; "
            "copy both to one that can"
        )
    return True


def _is_writable(folder: str) -> bool:
    effective = os.access in os.supports_effective_ids
    return os.access(folder, os.W_OK, effective_ids=effective)


def _check_ours(db: database.Database) -> None:
    application = int(db.pragma("application_id"))
    version = int(db.pragma("user_version"))
    if application != schema.APPLICATION_ID:
        raise errors.JournalError(f"{db.path} is not a journal (application id {application:#x})")
    if version > schema.VERSION:
        raise migrations.too_new(db.path, version)
    if version < schema.VERSION:
        raise errors.JournalError(
            f"journal {db.path} has version {version} of {schema.VERSION}; "
            "it is migrated when its owner starts"
        )
