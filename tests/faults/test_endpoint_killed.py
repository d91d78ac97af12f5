# SPDX-License-Identifier: Apache-2.0
"""Endpoints own nothing: they are killed at random moments, and nobody loses anything."""

from __future__ import annotations

import time

import pytest

from tests.faults.loaded import Load
from tests.faults.stage import Stage
from tests.faults.stage import rounds

LINK_TIMEOUT = 1.0
LONGEST_PAUSE = 0.2
"""Seconds between two kills, and from a kill to the restart."""


@pytest.mark.parametrize("times", rounds(20, 500))
def test_one_of_two_endpoints_is_killed(stage: Stage, times: int) -> None:
    stage.start_endpoints(2)
    load = Load(stage)
    load.start()
    for _ in range(times):
        load.begin_round()
        victim = stage.chance.randrange(2)
        time.sleep(stage.chance.uniform(0, LONGEST_PAUSE))
        stage.endpoints[victim].kill()
        time.sleep(stage.chance.uniform(0, LONGEST_PAUSE))
        stage.restart_endpoint(victim)
    stage.require(load.finish())


@pytest.mark.parametrize("times", rounds(20, 500))
def test_the_only_endpoint_is_killed_and_started_again(stage: Stage, times: int) -> None:
    stage.start_endpoints(1)
    load = Load(stage)
    load.start()
    for _ in range(times):
        load.begin_round()
        time.sleep(stage.chance.uniform(0, 2 * LONGEST_PAUSE))
        stage.endpoints[0].kill()
        stage.restart_endpoint(0)
    stage.require(load.finish())


@pytest.mark.parametrize("times", rounds(1, 50))
def test_the_only_endpoint_is_away_for_a_while(stage: Stage, times: int) -> None:
    """Callers wait for it, longer than the links do, and get what they asked for."""
    stage.start_endpoints(1)
    load = Load(stage, link_timeout=LINK_TIMEOUT)
    load.start()
    for _ in range(times):
        load.begin_round()
        stage.endpoints[0].kill()
        time.sleep(stage.chance.uniform(2, 4) * LINK_TIMEOUT)
        stage.restart_endpoint(0)
        back = time.monotonic()
        stage.await_operations(100)
        print(f"100 operations after {time.monotonic() - back:.2f} s")
    stage.require(load.finish())
