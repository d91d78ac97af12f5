# SPDX-License-Identifier: Apache-2.0
"""Random runs of real processes keep to every rule.

A failure prints the seed, and CONSISTENCY_SEED=that runs the same schedule once more.
"""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import secrets

import pytest

from tests.consistency import checker
from tests.consistency import schedule
from tests.consistency.conftest import MakeDatabase
from tests.consistency.conftest import fresh
from tests.consistency.history import History
from tests.consistency.world import World
from tests.faults import forker as forkers

_AT_ONCE = 3
_SHORT, _LONG = 10, 25
"""Actions of a schedule."""
_SEEDS_OF_CI = (4234218232, 2033528914, 23222847)


def _seeds(count: int) -> list[int]:
    given = os.environ.get("CONSISTENCY_SEED")
    return [int(given)] if given else [secrets.randbits(32) for _ in range(count)]


def _few_seeds() -> list[int]:
    """Those of the short run; CI repeats one run, as with hypothesis, and looks for no news."""
    in_ci = os.environ.get("CI") == "true" and "CONSISTENCY_SEED" not in os.environ
    return list(_SEEDS_OF_CI) if in_ci else _seeds(3)


def _run(
    directory: pathlib.Path, database: str, forker: forkers.Forker, seed: int, length: int
) -> History:
    """Let a schedule happen to hosts that work at random; keep the history beside it."""
    world = World(directory, database, forker, seed=seed, write_behind=bool(seed % 3 == 0))
    try:
        world.work(*schedule.HOSTS)
        for action in schedule.random_schedule(seed, length):
            world.act(action)
        history = world.finish()
        history.dump(directory / "history.jsonl")
        return history
    finally:
        world.close()


def _check(
    tmp_path: pathlib.Path,
    make: MakeDatabase,
    forker: forkers.Forker,
    seeds: list[int],
    length: int,
) -> None:
    def judge(seed: int) -> str:
        directory = fresh(tmp_path)
        try:
            history = _run(directory, make(directory.name), forker, seed, length)
        except AssertionError as error:
            return f"with CONSISTENCY_SEED={seed}: {error}"
        violations = checker.check(history)
        print(
            f"CONSISTENCY_SEED={seed}: {len(history.operations)} operations, "
            f"{len(history.effects)} effects, {len(violations)} violations"
        )
        if not violations:
            return ""
        told = checker.report(history, violations)
        return f"with CONSISTENCY_SEED={seed}, {directory / 'history.jsonl'}:\n{told}"

    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as threads:
        found = [text for text in threads.map(judge, seeds) if text]
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_random_runs_keep_to_every_rule(
    tmp_path: pathlib.Path, make_sqlite: MakeDatabase, forker: forkers.Forker
) -> None:
    _check(tmp_path, make_sqlite, forker, _few_seeds(), _SHORT)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_many_random_runs_keep_to_every_rule(
    tmp_path: pathlib.Path, make_sqlite: MakeDatabase, forker: forkers.Forker
) -> None:
    _check(tmp_path, make_sqlite, forker, _seeds(60), _LONG)


@pytest.mark.soak
@pytest.mark.mariadb
@pytest.mark.timeout(7200)
def test_many_random_runs_keep_to_every_rule_on_mariadb(
    tmp_path: pathlib.Path, make_mariadb: MakeDatabase, forker: forkers.Forker
) -> None:
    _check(tmp_path, make_mariadb, forker, _seeds(10), _LONG)
