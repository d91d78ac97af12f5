# SPDX-License-Identifier: Apache-2.0
"""The soak of all faults, a few rounds of each."""

from __future__ import annotations

import pytest

from tests.faults import soak


@pytest.mark.soak
def test_nothing_is_lost_doubled_or_out_of_order(seed: int) -> None:
    few = [f"--{name}={rounds // 50}" for name, (_, rounds) in soak.PHASES.items()]
    assert soak.main([f"--seed={seed}", *few]) == 0
