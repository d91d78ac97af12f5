# SPDX-License-Identifier: Apache-2.0
"""Receivers are stopped and started again one after the other, as in an upgrade."""

from __future__ import annotations

import time

import pytest

from tests.faults.loaded import SERVERS
from tests.faults.loaded import Load
from tests.faults.stage import Stage
from tests.faults.stage import rounds

LONGEST_PAUSE = 0.3
"""Seconds between two stops, and from a stop to the restart."""


@pytest.mark.parametrize("times", rounds(6, 200))
def test_callers_do_not_notice_a_rolling_restart(stage: Stage, times: int) -> None:
    stage.start_endpoints(1)
    load = Load(stage, adoption_interval=1.0)
    load.start()
    for number in range(times):
        load.begin_round()
        name = SERVERS[number % len(SERVERS)]
        time.sleep(stage.chance.uniform(0, LONGEST_PAUSE))
        assert stage.receivers[name].stop() == 0, stage.report()
        time.sleep(stage.chance.uniform(0, LONGEST_PAUSE))
        load.start_server(name)
    stage.require(load.finish())
