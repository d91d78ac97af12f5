# SPDX-License-Identifier: Apache-2.0
"""A sender is killed at random moments, again and again, and takes its journal up again."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from tests.faults import history
from tests.faults import journals
from tests.faults.stage import Stage
from tests.faults.stage import rounds

GRACEFUL = 0.15
"""The share of the lives that are asked to end first, and killed while they do."""
CUT_OFF = 0.25
"""The share of the lives whose endpoint is killed first."""
LONGEST_LIFE = 0.4
"""Seconds; less where the machine is quick."""
LOAD: dict[str, Any] = {
    "kinds": ("topic cast", "server cast", "save"),
    "threads": 5,
    "pause": 0.01,
}
WHOLE_LIFE_SECONDS = 90.0


@pytest.mark.parametrize("lives", rounds(60, 2000))
def test_what_returned_arrives_once_and_in_order(stage: Stage, lives: int) -> None:
    stage.start_endpoints(1)
    for name in ("one", "two"):
        stage.start_receiver(name, stage.url("receivers"), slowness=0.005)
    longest = min(LONGEST_LIFE, 1.5 * _live(stage, 0))
    for life in range(1, lives + 1):
        _live_and_die(stage, life, longest)
    _live(stage, lives + 1)
    stage.stop_receivers()
    _tell_how_far_they_came(stage, lives)
    stage.require(_violations(stage))


def _live(stage: Stage, life: int) -> float:
    """A life to its natural end, when the outbox is empty; return its seconds."""
    begun = time.monotonic()
    url = stage.url("senders", linger=WHOLE_LIFE_SECONDS)
    child = stage.start_sender("sender", url, life, operations=10, **LOAD)
    status = child.wait(WHOLE_LIFE_SECONDS)
    assert status == 0, f"a sender ended with {status}\n{stage.report()}"
    return time.monotonic() - begun


def _live_and_die(stage: Stage, life: int, longest: float) -> None:
    chance = stage.chance
    child = stage.start_sender("sender", stage.url("senders"), life, **LOAD)
    time.sleep(chance.uniform(0, longest))
    cut_off = chance.random() < CUT_OFF
    if cut_off:
        stage.endpoints[0].kill()
        time.sleep(chance.uniform(0, longest))
    if chance.random() < GRACEFUL:
        child.signal(signal.SIGTERM)
        time.sleep(chance.uniform(0, longest / 4))
    child.kill()
    if cut_off:
        stage.restart_endpoint(0)


def _violations(stage: Stage) -> list[str]:
    returned = history.read(stage.sent, "returned")
    commands = history.read(stage.done, "handed out")
    spans = history.read(stage.done, "begun", "ended")
    records = [event for event in spans if event.what == "ended"]
    found = [f"failed: {event}" for event in history.read(stage.sent, "failed")]
    found += history.missing(returned, commands + records)
    found += history.doubled(commands + records)
    for name in stage.receivers:
        found += history.disordered([event for event in commands if event.who == name], returned)
    found += history.disordered(records, returned)
    found += history.overlapping(spans)
    found += history.overtaken(commands, records)
    found += [f"not drained: {path}" for path in stage.journals() if journals.has_work(path)]
    return found


def _tell_how_far_they_came(stage: Stage, lives: int) -> None:
    returned = history.read(stage.sent, "returned")
    done = history.read(stage.done, "handed out", "ended")
    lively = {event.mark.life for event in returned}
    known = {event.mark for event in returned}
    doubtful = sum(event.mark not in known for event in done)
    print(
        f"{lives} lives, {len(lively)} of which returned from a call; {len(returned)} operations "
        f"returned, {doubtful} more were done"
    )
