# SPDX-License-Identifier: Apache-2.0
"""A history, looked up by what the rules ask for."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
from collections.abc import Iterator

from tests.consistency import history
from tests.consistency.history import Effect
from tests.consistency.history import Ending
from tests.consistency.history import Kind
from tests.consistency.history import Life
from tests.consistency.history import Operation

KEPT_AFTER = 2.0
"""Seconds after which the journal has what was read; it gets that about once a second."""
INITIAL = -1
"""The place of what was there before all writes."""


class Rule(enum.StrEnum):
    """What a history has to keep to."""

    DURABILITY = "durability"
    ONCE = "effect exactly once"
    ORDER = "order within a group"
    READ_YOUR_WRITES = "read your writes"
    MONOTONIC_READS = "monotonic reads"
    MONOTONIC_WRITES = "monotonic writes"
    WRITES_FOLLOW_READS = "writes follow reads"
    FENCING = "fencing"
    CONVERGENCE = "convergence"
    DRAIN = "drain"


@dataclasses.dataclass(frozen=True)
class Violation:
    """A rule that does not hold, by which operations; ``text`` says how."""

    rule: Rule
    text: str
    operations: tuple[str, ...]

    def told(self, of: history.History) -> str:
        """It and its operations, for people."""
        return "\n".join(
            [f"{self.rule}: {self.text}", *(f"  {of.line(n)}" for n in self.operations)]
        )


class Index:
    """What the rules look up in a history."""

    def __init__(self, of: history.History) -> None:
        self.history = of
        self.effects = sorted(of.effects)
        self.operations = {each.name: each for each in of.operations if each.kind is not Kind.READ}
        self.endings = {each.name: each for each in of.endings if each.name}
        self._lives = {each.name: each for each in of.lives}
        self._refused = set(of.refused)

    @functools.cached_property
    def by_name(self) -> dict[str, list[Effect]]:
        """The effects of each write."""
        found: dict[str, list[Effect]] = collections.defaultdict(list)
        for effect in self.effects:
            if effect.field not in (history.HOST, history.DELETED):
                found[effect.value].append(effect)
        return dict(found)

    @functools.cached_property
    def by_group(self) -> dict[str, list[Effect]]:
        """The effects on each group, those of the centre among them."""
        found: dict[str, list[Effect]] = collections.defaultdict(list)
        for effect in self.effects:
            found[effect.group].append(effect)
        return dict(found)

    def life(self, operation: Operation) -> Life:
        """Whose it is."""
        return self._lives[operation.life]

    def place(self, group: str, field: str, value: str) -> int | None:
        """When a value came to a field: INITIAL for what was there before, None for never."""
        for effect in self.by_name.get(value, ()):
            if (effect.group, effect.field) == (group, field):
                return effect.number
        if value in self.operations:
            return None
        return INITIAL

    def written_at(self, operation: Operation) -> int | None:
        """When a write had its effect first."""
        effects = self.by_name.get(operation.name)
        return effects[0].number if effects else None

    def is_out(self, name: str) -> bool:
        """Whether an operation ended without effect, and somebody can see that it did."""
        ending = self.endings.get(name)
        return ending is not None and ending.outcome in history.WITHOUT_EFFECT

    def was_refused_in_lost_part(self, operation: Operation) -> bool:
        """Whether the centre refused it, and said so to a journal that was put back since.

        The journal that is there has the entry, and not its end. It asks once more, and is told
        that the entry is settled.
        """
        ending, host = self.ending_of(operation), self.life(operation).host
        return (
            ending is not None
            and (ending.outbox, ending.seq) in self._refused
            and any(
                each.host == host and operation.returned < each.at
                for each in self.history.restored
            )
        )

    def kept_until(self, life: str) -> float:
        """What a life had read before this moment, the next one on its journal knows."""
        return self._ends.get(life, 0.0) - KEPT_AFTER

    @functools.cached_property
    def _ends(self) -> dict[str, float]:
        """When each life was seen to be there last."""
        found: dict[str, float] = {}
        for each in self.history.operations:
            found[each.life] = max(found.get(each.life, 0.0), each.begun)
        return found

    def is_superseded(self, operation: Operation) -> bool:
        """Whether it was made by a process whose journal had been opened elsewhere."""
        return operation.life in self.history.superseded

    def is_forgotten(self, operation: Operation) -> bool:
        """Whether it was only in a journal that was put back to an earlier state."""
        host = self.life(operation).host
        return any(
            each.host == host and operation.returned > each.copied and operation.begun < each.at
            for each in self.history.restored
        )

    @functools.cached_property
    def sessions(self) -> dict[tuple[str, str], list[Operation]]:
        """The operations of each session on each group, in the order of their begins."""
        found: dict[tuple[str, str], list[Operation]] = collections.defaultdict(list)
        for operation in sorted(self.history.operations, key=lambda each: each.begun):
            if not self.is_superseded(operation):
                found[self.life(operation).session, operation.group].append(operation)
        return dict(found)

    def ending_of(self, operation: Operation) -> Ending | None:
        """How its entry ended, as far as a journal tells."""
        return self.endings.get(operation.name)


def sweep(operations: list[Operation]) -> Iterator[tuple[bool, Operation]]:
    """The ends (True) and the begins (False) of operations, in the order of time.

    :param operations: in the order of their begins
    """
    ends = sorted(operations, key=lambda each: each.returned)
    over = 0
    for operation in operations:
        while over < len(ends) and ends[over].returned <= operation.begun:
            yield True, ends[over]
            over += 1
        yield False, operation
