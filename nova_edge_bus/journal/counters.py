# SPDX-License-Identifier: Apache-2.0
"""Cumulative counts that survive the rows they count; they commit with what they count."""

from sqlalchemy import bindparam
from sqlalchemy import select

from nova_edge_bus.journal import database
from nova_edge_bus.journal import schema

_c = schema.counters.c
_ADD = database.compiled(
    schema.counters.update()
    .where(_c.name == bindparam("which"))
    .values(value=_c.value + bindparam("more")),
    "more",
    "which",
)


class Counters:
    """The counters of one journal; their names are ``schema.COUNTERS``."""

    def __init__(self, db: database.Database) -> None:
        self._db = db
        self._added: dict[str, int] = {}

    def add(self, name: str, count: int = 1) -> None:
        """Count something, in the transaction that does it."""
        self._added[name] = self._added.get(name, 0) + count

    def flush(self) -> None:
        """Write what the transaction has counted; the journal does so before its commit."""
        if self._added:
            self._db.run_many(_ADD, [(count, str(name)) for name, count in self._added.items()])
            self._added = {}

    def snapshot(self) -> dict[str, int]:
        """Return what :meth:`restore` needs to come back to this moment."""
        return self._added.copy()

    def restore(self, snapshot: dict[str, int]) -> None:
        """Forget what was counted since the snapshot, because it is undone."""
        self._added = snapshot.copy()

    def read(self) -> dict[str, int]:
        """Return all counters, with what this transaction has counted."""
        rows = self._db.run(select(_c.name, _c.value))
        return {row.name: row.value + self._added.get(row.name, 0) for row in rows}
