# SPDX-License-Identifier: Apache-2.0
"""Strategies for every message of the wire, read off the classes' annotations."""

import typing
from typing import Any

from hypothesis import strategies as st

from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import shapes

NUMBERS = st.one_of(st.integers(0, 300), st.integers(0, shapes.MAX_INT))
TEXTS = st.text(max_size=30)
IDS = st.one_of(st.binary(min_size=8, max_size=8), st.binary(max_size=shapes.MAX_ID))
BODIES = st.one_of(st.binary(max_size=60), st.binary(max_size=8).map(lambda part: part * 100))
RANGES = st.lists(NUMBERS, min_size=2, max_size=2).map(sorted)

_BY_HINT: dict[Any, st.SearchStrategy[Any]] = {
    int: NUMBERS,
    str: TEXTS,
    bool: st.booleans(),
    bytes: IDS,
    bytes | None: st.none() | IDS,
    list[str]: st.lists(TEXTS, max_size=4),
    list[int]: st.lists(NUMBERS, max_size=4),
    list[list[int]]: st.lists(RANGES, max_size=4),
    list[messages.Consumer]: st.lists(
        st.builds(messages.Consumer, IDS, NUMBERS, IDS, TEXTS), max_size=4
    ),
}


def of_class(cls: Any) -> st.SearchStrategy[Any]:
    """Messages of one class with any fields that the wire allows."""
    hints = typing.get_type_hints(cls)
    fields = [BODIES if name == "body" else _BY_HINT[hint] for name, hint in hints.items()]
    return st.builds(cls, *fields)


ANY = st.one_of([of_class(cls) for cls in messages.CODES])
BATCHES = st.lists(ANY, max_size=5)
