# SPDX-License-Identifier: Apache-2.0
"""The checker takes every correct history, and finds whatever is then broken in it."""

from __future__ import annotations

import collections
import pathlib
import random

import hypothesis
import pytest
from hypothesis import strategies

from tests.consistency import breaking
from tests.consistency import checker
from tests.consistency import model
from tests.consistency.history import History

_STEPS = strategies.lists(
    strategies.builds(
        model.Step,
        what=strategies.sampled_from(model.STEPS),
        host=strategies.integers(0, model.HOSTS - 1),
        group=strategies.integers(0, model.GROUPS - 1),
        field=strategies.integers(0, 1),
        late=strategies.integers(0, 3),
    ),
    max_size=60,
)


def told(steps: list[model.Step]) -> History:
    return model.Model().run(steps)


def some_steps(seed: int, count: int = 60) -> list[model.Step]:
    chance = random.Random(seed)
    sorts = [*model.STEPS, *["save", "read", "cast", "fault"] * 3]
    return [
        model.Step(
            chance.choice(sorts),
            chance.randrange(model.HOSTS),
            chance.randrange(model.GROUPS),
            chance.randrange(2),
            chance.randrange(4),
        )
        for _ in range(count)
    ]


@hypothesis.given(steps=_STEPS)
@hypothesis.settings(deadline=None, max_examples=150)
def test_a_correct_history_is_taken(steps: list[model.Step]) -> None:
    history = told(steps)
    found = checker.check(history)
    assert found == [], checker.report(history, found)


@hypothesis.given(steps=_STEPS, seed=strategies.integers(0, 1 << 16))
@hypothesis.settings(deadline=None, max_examples=60)
def test_a_broken_history_is_not(steps: list[model.Step], seed: int) -> None:
    history = told(steps)
    for name, (rule, way) in breaking.BREAKS.items():
        broken = way(history, random.Random(seed))
        if broken is not None:
            assert rule in {each.rule for each in checker.check(broken)}, name


def test_each_way_to_break_a_history_is_found_wherever_it_can_be_gone() -> None:
    gone: collections.Counter[str] = collections.Counter()
    for seed in range(60):
        history = told(some_steps(seed))
        assert checker.check(history) == []
        for name, (rule, way) in breaking.BREAKS.items():
            broken = way(history, random.Random(seed))
            if broken is not None:
                gone[name] += 1
                assert rule in {each.rule for each in checker.check(broken)}, (name, seed)
    assert set(gone) == set(breaking.BREAKS)


def test_a_history_is_read_back_as_it_was_written(tmp_path: pathlib.Path) -> None:
    history = told(some_steps(7))
    history.dump(tmp_path / "history")
    assert History.load(tmp_path / "history") == history


def test_the_command_tells_which_rule_which_operations_break(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = told(some_steps(7))
    rule, way = breaking.BREAKS["an effect comes twice"]
    broken = way(history, random.Random(7))
    assert broken is not None
    for each, status in ((history, 0), (broken, 1)):
        each.dump(tmp_path / "history")
        assert checker.main([str(tmp_path / "history")]) == status
    assert f"{rule}: " in capsys.readouterr().out
