# SPDX-License-Identifier: Apache-2.0
"""A little of what ``python -m tests.fuzz`` does for long."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.fuzz import __main__ as fuzz
from tests.fuzz import inputs
from tests.fuzz import targets


@pytest.mark.parametrize("name", targets.TARGETS)
@hypothesis.settings(max_examples=15, deadline=None)
@hypothesis.given(seed=st.integers(0, 2**32))
def test_nothing_gives_way(name: str, seed: int) -> None:
    fuzz.run(name, seed, 0)


def test_the_same_seed_gives_the_same_packets() -> None:
    one, other = inputs.Inputs(1), inputs.Inputs(1)
    assert [one.packet() for _ in range(50)] == [other.packet() for _ in range(50)]


def test_what_gives_way_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fragile:
        def __init__(self, source: inputs.Inputs) -> None:
            self._source = source

        def feed(self) -> None:
            assert b"\xff" not in self._source.packet()

    monkeypatch.setattr(targets, "TARGETS", {"fragile": Fragile})
    assert fuzz._loop(["fragile"], 1, 2000) == 1
