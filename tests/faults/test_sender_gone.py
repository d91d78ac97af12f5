# SPDX-License-Identifier: Apache-2.0
"""A sender dies and stays away: another process of its host ships what it has left."""

from __future__ import annotations

import time

import pytest

from tests.faults import history
from tests.faults import journals
from tests.faults.history import Event
from tests.faults.stage import Stage
from tests.faults.stage import rounds

ADOPTION_INTERVAL = 1.0
KINDS = ("topic cast", "server cast", "save")


@pytest.mark.parametrize("lives", rounds(4, 200))
def test_a_live_process_ships_what_a_dead_one_left(stage: Stage, lives: int) -> None:
    stage.start_endpoints(1)
    for name in ("one", "two"):
        stage.start_receiver(name, stage.url("receivers"), slowness=0.005)
    url = stage.url("senders", adoption_interval=ADOPTION_INTERVAL, linger=60.0)
    heir = stage.start_sender("heir", url, kinds=("topic cast",), threads=1, pause=0.1)
    for life in range(1, lives + 1):
        child = stage.start_sender("sender", url, life, kinds=KINDS, threads=5, pause=0.01)
        stage.await_operations(50)
        stage.endpoints[0].kill()
        time.sleep(stage.chance.uniform(0, 0.2))
        child.kill()
        stage.restart_endpoint(0)
        # Adoption comes after one to two intervals, so the next life begins before, during or
        # after it.
        time.sleep(stage.chance.uniform(0, 3 * ADOPTION_INTERVAL))
    left = [path for path in stage.journals() if "sender" in path.name]
    stage.wait_until(
        lambda: not any(map(journals.has_work, left)), "the heir to ship what was left"
    )
    assert heir.stop() == 0, stage.report()
    stage.stop_receivers()
    stage.require(_violations(stage))


def _violations(stage: Stage) -> list[str]:
    returned = history.read(stage.sent, "returned")
    commands = history.read(stage.done, "handed out")
    records = history.read(stage.done, "ended")
    print(f"{len(returned)} operations returned; journals: {len(stage.journals())}")
    found = [f"failed: {event}" for event in history.read(stage.sent, "failed")]
    found += history.missing(returned, commands + records)
    found += history.doubled(commands + records)
    for life in {event.mark.life for event in returned}:
        for done in (*_by_receiver(stage, commands), records):
            found += history.disordered([e for e in done if e.mark.life == life], returned)
    return found


def _by_receiver(stage: Stage, commands: list[Event]) -> list[list[Event]]:
    return [[event for event in commands if event.who == name] for name in stage.receivers]
