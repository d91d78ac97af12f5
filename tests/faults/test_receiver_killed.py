# SPDX-License-Identifier: Apache-2.0
"""Receivers are killed at random moments while commands come in faster than they are handled."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.faults import history
from tests.faults import journals
from tests.faults.stage import Stage
from tests.faults.stage import rounds

LONGEST_LIFE = 0.5
DRAIN_SECONDS = 60.0
FLOOD = 1200
"""Commands that are there when the last receivers begin."""


@pytest.mark.parametrize("lives", rounds(20, 500))
def test_commands_are_dispatched_once_or_known_to_be_interrupted(stage: Stage, lives: int) -> None:
    stage.start_endpoints(1)
    names = ("one", "two")
    for name in names:
        _start(stage, name, slowness=0.005)
    kinds = ("topic cast", "server cast")
    url = stage.url("clients", linger=DRAIN_SECONDS)
    client = stage.start_sender("client", url, kinds=kinds, threads=4, pause=0.02)
    for _ in range(lives):
        name = stage.chance.choice(names)
        time.sleep(stage.chance.uniform(0, LONGEST_LIFE))
        stage.receivers[name].kill()
        _start(stage, name, slowness=0.005)
    assert client.stop(2 * DRAIN_SECONDS) == 0, stage.report()
    _finish(stage)
    stage.require(_violations(stage))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_whatever_was_accepted_before_a_kill_is_dispatched_after_it(stage: Stage) -> None:
    stage.start_endpoints(1)
    _start(stage, "one", slowness=10.0)
    client = stage.start_sender(
        "client",
        stage.url("clients", linger=DRAIN_SECONDS),
        kinds=("server cast",),
        threads=10,
        pause=0,
        operations=FLOOD // 10,
    )
    assert client.wait(2 * DRAIN_SECONDS) == 0, stage.report()
    stage.receivers["one"].kill()
    _start(stage, "one", slowness=0)
    _finish(stage)
    stage.require(_violations(stage))


def _start(stage: Stage, name: str, *, slowness: float) -> None:
    stage.start_receiver(name, stage.url("receivers"), slowness=slowness)


def _finish(stage: Stage) -> None:
    """Wait until nothing is left to be shipped or dispatched, and stop the receivers."""
    stage.wait_until(
        lambda: not any(map(journals.has_work, stage.journals())),
        "the journals to be worked off",
        DRAIN_SECONDS,
    )
    stage.stop_receivers()


def _violations(stage: Stage) -> Iterator[str]:
    returned = history.read(stage.sent, "returned")
    commands = history.read(stage.done, "handed out")
    cut_short = set().union(*map(journals.interrupted, stage.journals()))
    print(f"{len(returned)} commands, {len(commands)} dispatched, {len(cut_short)} interrupted")
    yield from (f"failed: {event}" for event in history.read(stage.sent, "failed"))
    yield from history.missing([e for e in returned if e.mark not in cut_short], commands)
    yield from history.doubled(commands)
    for name in stage.receivers:
        handed_out = [event for event in commands if event.who == name]
        yield from history.disordered(handed_out, returned)
