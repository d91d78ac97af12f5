# SPDX-License-Identifier: Apache-2.0
"""The JSON form of nova's versioned objects."""

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import TypeGuard

NAME = "nova_object.name"
NAMESPACE = "nova_object.namespace"
VERSION = "nova_object.version"
DATA = "nova_object.data"
CHANGES = "nova_object.changes"


def is_object(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether *value* is an object and not a plain value."""
    return isinstance(value, Mapping) and NAME in value and DATA in value


def make(name: str, version: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a clean object: one that says nothing about changes."""
    return {NAME: name, NAMESPACE: "nova", VERSION: version, DATA: data}


def clean(value: Any) -> Any:
    """Return *value* without any note of changes; parts that have none are shared, not copied."""
    if isinstance(value, dict):
        cleaned = {key: clean(each) for key, each in value.items() if key != CHANGES}
        same = len(cleaned) == len(value) and all(cleaned[key] is value[key] for key in value)
        return value if same else cleaned
    if isinstance(value, list):
        items = [clean(each) for each in value]
        return value if all(map(_is, items, value)) else items
    return value


def _is(one: Any, other: Any) -> bool:
    return one is other


def changed(primitive: Mapping[str, Any]) -> frozenset[str]:
    """The fields that the sender of an object had changed and not saved."""
    return frozenset(primitive.get(CHANGES) or ())


def versions(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the name and version of every object within *value*."""
    if isinstance(value, dict):
        if NAME in value and VERSION in value:
            yield value[NAME], value[VERSION]
        for each in value.values():
            if isinstance(each, (dict, list)):
                yield from versions(each)
    elif isinstance(value, list):
        for each in value:
            if isinstance(each, (dict, list)):
                yield from versions(each)


def version_tuple(version: str) -> tuple[int, ...]:
    """Return a version in a form that compares by number."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())
