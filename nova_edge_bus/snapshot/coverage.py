# SPDX-License-Identifier: Apache-2.0
"""Which sets of objects are known completely.

A cover says: every object of a kind that meets these conditions is known. The centre's reply to
a list query makes one; it stands until something happens to an object that is not known and that
could be a member. Members are not recorded: they are whichever known objects meet the
conditions, so that our own writes move objects in and out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from nova_edge_bus.snapshot import conditions
from nova_edge_bus.snapshot.conditions import Conditions

_ROW_BYTES = 200
"""About what one cover takes, in memory and as a row."""


@dataclasses.dataclass(slots=True)
class Cover:
    """One complete set; ``tick`` tells when it was last made or used."""

    kind: str
    conditions: Conditions
    tick: int


Key = tuple[str, Conditions]


class Coverage:
    """All covers."""

    def __init__(self) -> None:
        self._covers: dict[Key, Cover] = {}
        self.dirty: set[Key] = set()
        self.lost = 0
        """How many sets were ever given up."""

    @property
    def bytes(self) -> int:
        """Roughly what the covers take."""
        return len(self._covers) * _ROW_BYTES

    def get(self, kind: str, wanted: Conditions) -> Cover | None:
        """Return the cover of exactly these conditions."""
        return self._covers.get((kind, wanted))

    def all(self) -> list[Cover]:
        """Return every cover."""
        return list(self._covers.values())

    def put(self, kind: str, wanted: Conditions, tick: int) -> None:
        """Record a complete set."""
        known = self._covers.get((kind, wanted))
        if known is None:
            self._covers[(kind, wanted)] = Cover(kind, wanted, tick)
            self.dirty.add((kind, wanted))
        else:
            known.tick = tick

    def remove(self, kind: str, wanted: Conditions) -> None:
        """Rely on a set no more."""
        if self._covers.pop((kind, wanted), None) is not None:
            self.dirty.add((kind, wanted))
            self.lost += 1

    def for_question(self, kind: str, wanted: Conditions, tick: int) -> Cover | None:
        """Return a cover that has every object that meets *wanted*."""
        exact = self._covers.get((kind, wanted))
        found = exact or next(
            (each for each in self.of(kind) if conditions.implies(wanted, each.conditions)), None
        )
        if found is not None:
            found.tick = tick
        return found

    def of(self, kind: str) -> Iterator[Cover]:
        """Yield the covers of a kind."""
        return (each for each in self._covers.values() if each.kind == kind)

    def void(
        self,
        kind: str,
        fields: Mapping[str, Any],
        *,
        but_within: Conditions | None = None,
        touching: Iterable[str] | None = None,
    ) -> None:
        """Rely no more on any set that an unknown object with *fields* may belong to.

        :param but_within: conditions that the object is known not to meet; a set within them
            stays complete
        :param touching: the fields that have changed; a set that others decide stays complete
        """
        for cover in list(self.of(kind)):
            if but_within is not None and conditions.implies(cover.conditions, but_within):
                continue
            if touching is not None:
                if not conditions.fields_of(cover.conditions) & frozenset(touching):
                    continue
            if conditions.evaluate(cover.conditions, fields) is not False:
                self.remove(kind, cover.conditions)
