# SPDX-License-Identifier: Apache-2.0
"""What a query asks for, as a conjunction that can be evaluated and compared.

A query of nova's database becomes conditions, all of which must hold. Their use is twofold: to
tell from the fields of an object whether it is a member, and to tell that what is known about
one query suffices for another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

Scalar = str | int | bool | None

UNIQUE_FIELDS = frozenset({"uuid", "id"})
"""A row's own identity in any kind of object."""


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """The value of a field is among *values*, or, when negated, is none of them."""

    name: str
    values: frozenset[Scalar]
    negated: bool = False

    @property
    def identifies(self) -> bool:
        """Whether it names single objects by their identity."""
        return self.name in UNIQUE_FIELDS and not self.negated

    def holds(self, fields: Mapping[str, Any]) -> bool | None:
        """Whether it holds; None when the field is not known."""
        if self.name not in fields:
            return None
        return (fields[self.name] in self.values) is not self.negated

    def implied_by(self, other: Condition) -> bool:
        """Whether whatever meets *other* meets this."""
        if not isinstance(other, Field) or other.name != self.name:
            return False
        if not self.negated:
            return not other.negated and other.values <= self.values
        if other.negated:
            return self.values <= other.values
        return not (self.values & other.values)

    def to_json(self) -> Any:
        """Return a form that from_json() takes back."""
        return [self.name, sorted(self.values, key=repr), self.negated]


@dataclasses.dataclass(frozen=True, slots=True)
class Either:
    """At least one of several conjunctions holds."""

    alternatives: frozenset[Conditions]

    def holds(self, fields: Mapping[str, Any]) -> bool | None:
        """Whether it holds; None when that is not known."""
        answers = [evaluate(each, fields) for each in self.alternatives]
        if True in answers:
            return True
        return None if None in answers else False

    def implied_by(self, other: Condition) -> bool:
        """Whether whatever meets *other* meets this."""
        if isinstance(other, Either):
            return all(self._has(each) for each in other.alternatives)
        return self._has(frozenset((other,)))

    def _has(self, narrow: Conditions) -> bool:
        return any(implies(narrow, each) for each in self.alternatives)

    def to_json(self) -> Any:
        """Return a form that from_json() takes back."""
        return {"either": sorted((to_json(each) for each in self.alternatives), key=repr)}


Condition = Field | Either
Conditions = frozenset[Condition]


def evaluate(conditions: Conditions, fields: Mapping[str, Any]) -> bool | None:
    """Whether all conditions hold for an object; None when its known fields do not tell."""
    unknown = False
    for each in conditions:
        answer = each.holds(fields)
        if answer is False:
            return False
        unknown = unknown or answer is None
    return None if unknown else True


def implies(narrow: Conditions, broad: Conditions) -> bool:
    """Whether every object that meets *narrow* meets *broad* (False also when in doubt)."""
    return all(any(each.implied_by(other) for other in narrow) for each in broad)


def fields_of(conditions: Conditions) -> frozenset[str]:
    """The fields that decide."""
    names: set[str] = set()
    for each in conditions:
        if isinstance(each, Field):
            names.add(each.name)
        else:
            names.update(*map(fields_of, each.alternatives))
    return frozenset(names)


def to_json(conditions: Conditions) -> list[Any]:
    """Return a form that from_json() takes back, the same for equal conditions."""
    return sorted((each.to_json() for each in conditions), key=repr)


def from_json(value: list[Any]) -> Conditions:
    """Return the conditions that to_json() described."""
    return frozenset(_one_from_json(each) for each in value)


def _one_from_json(value: Any) -> Condition:
    if isinstance(value, dict):
        return Either(frozenset(from_json(each) for each in value["either"]))
    name, values, negated = value
    return Field(name, frozenset(values), negated)


def among(name: str, *values: Scalar) -> Field:
    """The field has one of *values*."""
    return Field(name, frozenset(values))


def not_among(name: str, *values: Scalar) -> Field:
    """The field has none of *values*."""
    return Field(name, frozenset(values), negated=True)
