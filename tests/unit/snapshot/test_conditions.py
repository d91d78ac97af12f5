# SPDX-License-Identifier: Apache-2.0
"""Conditions: what implies what, held against every object of a small world."""

from __future__ import annotations

import itertools
import json

import hypothesis
from hypothesis import strategies as st

from nova_edge_bus.snapshot import conditions
from nova_edge_bus.snapshot.conditions import Conditions

VALUES = ("a", "b", None)
WORLD = [dict(zip("xy", pair, strict=True)) for pair in itertools.product(VALUES, VALUES)]

fields = st.builds(
    conditions.Field,
    st.sampled_from("xy"),
    st.frozensets(st.sampled_from(VALUES)),
    st.booleans(),
)
plain = st.frozensets(fields, max_size=2)
either = st.builds(conditions.Either, st.frozensets(plain, min_size=1, max_size=2))
conjunctions = st.frozensets(st.one_of(fields, either), max_size=3)


@hypothesis.given(conjunctions, conjunctions)
def test_implication_holds_for_every_object(narrow: Conditions, broad: Conditions) -> None:
    if conditions.implies(narrow, broad):
        for each in WORLD:
            if conditions.evaluate(narrow, each):
                assert conditions.evaluate(broad, each)


@hypothesis.given(conjunctions)
def test_conditions_imply_themselves_and_survive_json(wanted: Conditions) -> None:
    assert conditions.implies(wanted, wanted)
    kept = json.loads(json.dumps(conditions.to_json(wanted)))
    assert conditions.from_json(kept) == wanted


@hypothesis.given(conjunctions, st.sampled_from(WORLD), st.sets(st.sampled_from("xy")))
def test_unknown_fields_never_decide_wrongly(
    wanted: Conditions, whole: dict[str, str | None], hidden: set[str]
) -> None:
    partial = {name: value for name, value in whole.items() if name not in hidden}
    assert conditions.evaluate(wanted, partial) in (None, conditions.evaluate(wanted, whole))
