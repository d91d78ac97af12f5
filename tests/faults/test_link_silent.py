# SPDX-License-Identifier: Apache-2.0
"""One of two links stops carrying anything without being closed, and heals later."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.faults import history
from tests.faults.loaded import Load
from tests.faults.stage import Stage
from tests.faults.stage import rounds
from tests.nova.relay import Relay

LINK_TIMEOUT = 1.0
SILENCE = 5 * LINK_TIMEOUT
"""Shorter than the endpoint takes to notice it."""


@pytest.fixture
def relays(stage: Stage) -> Iterator[list[Relay]]:
    """A relay before each of two endpoints."""
    stage.start_endpoints(2)
    relays = [Relay([("127.0.0.1", port)]) for port in stage.ports]
    for relay in relays:
        relay.start()
    yield relays
    for relay in relays:
        relay.stop()


@pytest.mark.parametrize("times", rounds(2, 100))
@pytest.mark.parametrize("side", ["clients", "servers"])
def test_a_silent_link_is_left_and_used_again(
    stage: Stage, relays: list[Relay], side: str, times: int
) -> None:
    ports = {side: [relay.addresses[0][1] for relay in relays]}
    load = Load(stage, ports, link_timeout=LINK_TIMEOUT)
    load.start()
    silences: list[tuple[float, float]] = []
    for number in range(times):
        load.begin_round()
        silent = number % 2
        relays[silent].silence()
        begun = time.monotonic()
        time.sleep(SILENCE)
        stage.await_operations(50)
        silences.append((begun, time.monotonic()))
        relays[silent].resume()
        time.sleep(stage.chance.uniform(LINK_TIMEOUT, 2 * LINK_TIMEOUT))
    for endpoint in range(2):
        stage.endpoints[endpoint].kill()
        stage.await_operations(50)
        stage.restart_endpoint(endpoint)
        stage.await_operations(50)
    stage.require([*load.finish(), *_held_up(stage, silences)])


def _held_up(stage: Stage, silences: list[tuple[float, float]]) -> Iterator[str]:
    """The operations that only the healing of the link brought to an end."""
    for event in history.read(stage.sent, "returned"):
        for begun, healed in silences:
            if event.detail < begun + LINK_TIMEOUT and event.time > healed:
                yield f"held up by the silence from {begun:.3f} to {healed:.3f}: {event}"
