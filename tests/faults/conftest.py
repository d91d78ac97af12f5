# SPDX-License-Identifier: Apache-2.0
"""What the tests of faults share."""

import os
import pathlib
import secrets
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.appending import Run
from tests.faults.stage import Stage


@pytest.fixture
def seed() -> int:
    """What random choices derive from: FAULTS_SEED, or a number that is printed."""
    seed = int(os.environ.get("FAULTS_SEED") or secrets.randbits(32))
    print(f"FAULTS_SEED={seed}")
    return seed


Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Iterator[Start]:
    """Starts a run of the appender, which is killed at the test's end at the latest."""
    runs: list[Run] = []

    def start(seed: int, **options: Any) -> Run:
        runs.append(Run(tmp_path, seed, **options))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()


@pytest.fixture
def stage(tmp_path: pathlib.Path, seed: int) -> Iterator[Stage]:
    """A stage whose random choices come from the seed."""
    stage = Stage(tmp_path, seed)
    try:
        yield stage
    finally:
        stage.close()
