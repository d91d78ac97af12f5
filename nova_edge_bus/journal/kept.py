# SPDX-License-Identifier: Apache-2.0
"""The rows of a snapshot, as the journal keeps them: a key and bytes, no more is known of them."""

import zlib
from collections.abc import Iterable

from sqlalchemy import bindparam
from sqlalchemy import select

from nova_edge_bus.journal import database
from nova_edge_bus.journal import quota
from nova_edge_bus.journal import schema

_SUM_BYTES = 4
_table = schema.snapshot
_ALL = select(_table.c.key, _table.c.body)
_DELETE = database.compiled(_table.delete().where(_table.c.key == bindparam("its_key")), "its_key")
_INSERT = database.compiled(
    _table.insert().values(key=bindparam("its_key"), body=bindparam("its_body")),
    "its_key",
    "its_body",
)


def _sum(key: str, body: bytes) -> bytes:
    """The checksum of a row; SQLite has none of its own."""
    return zlib.crc32(body, zlib.crc32(key.encode())).to_bytes(_SUM_BYTES, "big")


def checked(key: str, stored: bytes) -> bytes | None:
    """Return the body of a row, None when it is not as it was written."""
    body = stored[_SUM_BYTES:]
    return body if stored[:_SUM_BYTES] == _sum(key, body) else None


class Kept:
    """The snapshot of an open journal. Every method runs inside a transaction of its journal."""

    def __init__(self, db: database.Database, limits: quota.Quota) -> None:
        self._db = db
        self._quota = limits

    def read(self) -> list[tuple[str, bytes | None]]:
        """Return every row; None stands for a body that is not as it was written."""
        return [(key, checked(key, body)) for key, body in self._db.run(_ALL)]

    def write(self, changes: Iterable[tuple[str, bytes | None]]) -> None:
        """Replace rows by newer ones; None deletes one.

        :raises JournalFull: when the quota has no room for them; none is written then
        """
        changed = list(changes)
        rows = [(key, _sum(key, body) + body) for key, body in changed if body is not None]
        cost = sum(quota.cost(len(key.encode()), len(body)) for key, body in rows)
        if self._quota.room(self._quota.append_limit, cost) < 0:
            raise self._quota.full("keep a snapshot of", sum(len(body) for _, body in rows))
        self._db.run_many(_DELETE, [(key,) for key, _ in changed])
        self._db.run_many(_INSERT, rows)
