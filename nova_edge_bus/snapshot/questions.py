# SPDX-License-Identifier: Apache-2.0
"""What reads ask for, and the words in which rules say it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from nova_edge_bus.snapshot import calls
from nova_edge_bus.snapshot.conditions import Condition
from nova_edge_bus.snapshot.conditions import Conditions
from nova_edge_bus.snapshot.conditions import among

ONE = "one"
LIST = "list"
UUIDS = "uuids"
ROWS = "rows of one uuid"


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A read of objects of one kind.

    ``attributes`` are the fields that the reply has besides those that every reply has.
    ``result`` is one of ONE, LIST (of the class ``list_name``), UUIDS,
    ROWS. ``none_found`` tells that
    the centre's answer for no row is no exception but null or an empty list. ``newest_first``
    is the order of a list, which else is that of the ids.
    """

    kind: str
    conditions: Conditions
    attributes: frozenset[str] = frozenset()
    result: str = ONE
    list_name: str = ""
    none_found: bool = False
    newest_first: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class FieldQuestion:
    """A read of what is also a field of a known instance.

    ``null_found`` tells that the centre's answer for a null is null, and no exception.
    """

    instance: str
    field: str
    null_found: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class FactQuestion:
    """A read whose reply stands for itself until a write may have changed it."""

    key: str


AnyQuestion = Question | FieldQuestion | FactQuestion
Arguments = Mapping[str, Any]
Rule = Callable[[Arguments, calls.Scope], AnyQuestion | None]


def live(scope: calls.Scope) -> tuple[Condition, ...]:
    """The condition that a row is not deleted, where the caller does not see deleted ones."""
    return () if scope.deleted == "yes" else (among("deleted", False),)
