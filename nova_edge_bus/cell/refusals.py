# SPDX-License-Identifier: Apache-2.0
"""What becomes of an entry whose method has raised, the same on whichever conductor.

It may have raised because of its own earlier effect: then it counts as applied. If not, the
refusal is written down beside the entry's commits, in the place of the commit that would have been
next. A conductor that has had the same entry for a while, and comes to it only now, can therefore
not apply what its sender was told is refused; and when that answer is lost, the next conductor
refuses it, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import sqlalchemy

from nova_edge_bus import errors
from nova_edge_bus.cell import conflicts
from nova_edge_bus.cell import databases
from nova_edge_bus.cell import floors
from nova_edge_bus.cell import once
from nova_edge_bus.cell import transient

_ATTEMPTS = 3


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether an entry counts as applied; if not, what there is to add to the error."""

    is_applied: bool
    text: str = ""


class Refused(errors.EdgeBusError):
    """A write was refused before, and the answer was lost; it has not landed."""


class _TooLateError(Exception):
    """The entry came here long ago, and others have settled it since, or its owner is fenced."""


_REFUSED = Verdict(False)
_APPLIED = Verdict(True)


def judge(
    applying: once.Applying,
    message: Mapping[str, Any],
    error: BaseException,
    *,
    answered: bool,
) -> Verdict:
    """Say what becomes of an entry that has failed with *error*, and write it down.

    Where the database was in trouble nothing is written down: the entry may be half applied, and
    may be tried again.

    :param answered: whether its caller was told long ago that it succeeded
    :raises SQLAlchemyError: when the database cannot be asked
    """
    if transient.is_passing(error):
        return _REFUSED
    save = conflicts.save_of(message) if answered and conflicts.is_conflict(error) else None
    for engine in list(applying.engines):
        for _ in range(_ATTEMPTS):
            try:
                with engine.begin() as connection:
                    if not databases.has_tables(connection):
                        break
                    return _judge(connection, applying, save)
            except _TooLateError:
                return _APPLIED
            except Exception as failure:
                # Another conductor has come to the same entry, and has just written its rows.
                if not floors.is_duplicate(failure):
                    raise
    return _REFUSED


def _judge(
    connection: sqlalchemy.Connection, applying: once.Applying, save: conflicts.Save | None
) -> Verdict:
    conflict = None if save is None else _look(connection, applying, save)
    if applying.was_refused_before(connection):
        return Verdict(False, "" if conflict is None else conflict.text(conflict.facts))
    if applying.is_next_on_record(connection):
        return _APPLIED
    if conflict is not None and conflict.is_there:
        applying.note_part(connection)
        _require_in_time(connection, applying)
        return _APPLIED
    applying.note_refusal(connection)
    _require_in_time(connection, applying)
    if conflict is None:
        return _REFUSED
    conflicts.save_facts(connection, conflict)
    return Verdict(False, conflict.text(conflict.facts))


def _require_in_time(connection: sqlalchemy.Connection, applying: once.Applying) -> None:
    if applying.comes_too_late(connection):
        raise _TooLateError


def _look(
    connection: sqlalchemy.Connection, applying: once.Applying, save: conflicts.Save
) -> conflicts.Conflict | None:
    """The conflict, unless the instance is not this host's any more."""
    if applying.fence is not None:
        try:
            applying.fence.check(connection)
        except errors.Fenced:
            return None
    return conflicts.look(connection, save)
