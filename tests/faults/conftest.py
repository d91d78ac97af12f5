# SPDX-License-Identifier: Apache-2.0
"""What the tests of faults share."""

import os
import pathlib
import secrets
from collections.abc import Iterator

import pytest

from tests.faults.stage import Stage


@pytest.fixture
def stage(tmp_path: pathlib.Path) -> Iterator[Stage]:
    """A stage whose random choices come from FAULTS_SEED, or from a seed that is printed."""
    seed = int(os.environ.get("FAULTS_SEED") or secrets.randbits(32))
    print(f"FAULTS_SEED={seed}")
    stage = Stage(tmp_path, seed)
    try:
        yield stage
    finally:
        stage.close()
