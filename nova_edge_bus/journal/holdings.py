# SPDX-License-Identifier: Apache-2.0
"""How much a journal holds that somebody may have to do something about."""

from typing import NamedTuple

from sqlalchemy import case
from sqlalchemy import func
from sqlalchemy import literal
from sqlalchemy import select

from nova_edge_bus.journal import database
from nova_edge_bus.journal import schema

_c = schema.outbox.c
_r = schema.reasons.c
_PENDING = select(func.count(), func.min(_c.seq)).where(schema.PENDING)
_IS_DEAD = (schema.SETTLED, _c.state == int(schema.State.DEAD))
_DEAD = select(func.count()).where(*_IS_DEAD)
# A reason begins with the class of the error, and has a second line when it says what was found.
_is_fenced = _r.reason.like("Fenced:%")
_says_what = func.instr(_r.reason, literal("\n{")) > 0
_WHY = (
    select(
        func.coalesce(func.sum(case((_says_what & ~_is_fenced, 1), else_=0)), 0),
        func.coalesce(func.sum(case((_is_fenced, 1), else_=0)), 0),
    )
    .join_from(schema.outbox, schema.reasons, _r.seq == _c.seq)
    .where(*_IS_DEAD)
)


class Held(NamedTuple):
    """Numbers of entries; ``oldest_at`` is in wall clock seconds, None where none is pending.

    ``conflicts`` are the dead letters that were refused because the centre had moved on, and
    ``fenced`` those whose object is not the host's any more.
    """

    pending: int
    oldest_at: float | None
    dead: int
    conflicts: int
    fenced: int


class Holdings:
    """Counts, by indexes alone but for the reasons of dead letters; in a transaction."""

    def __init__(self, db: database.Database) -> None:
        self._db = db

    def read(self) -> Held:
        """Return what is there now."""
        pending, first = self._db.run(_PENDING).one()
        oldest_at = None
        if first is not None:
            oldest_at = self._db.run(select(_c.created_at).where(_c.seq == first)).scalar()
        dead = int(self._db.run(_DEAD).scalar_one())
        conflicts, fenced = self._db.run(_WHY).one() if dead else (0, 0)
        return Held(int(pending), oldest_at, dead, int(conflicts), int(fenced))
