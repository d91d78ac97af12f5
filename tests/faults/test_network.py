# SPDX-License-Identifier: Apache-2.0
"""A line that loses, delays, reorders, swallows and resets, between two network namespaces."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from nova_edge_bus import events
from tests.faults import loaded
from tests.faults import packets
from tests.faults.loaded import Load
from tests.faults.stage import Stage
from tests.faults.stage import rounds

LINK_TIMEOUT = 2.0
SILENCES = [frozenset({1}), frozenset({0, 1}), frozenset({0})]
"""Nothing comes to the edge, nothing goes either way, nothing comes from the edge."""
_LINK_DOWN = events.LINK_DOWN.partition(" ")[0]
BAD = packets.Faults(loss=0.05, delay=0.15, jitter=0.05)
"""A round trip of 300 ms and more; packets overtake each other."""


@pytest.fixture
def line(seed: int) -> Iterator[packets.Line]:
    with packets.line(seed) as made:
        yield made


@pytest.fixture
def apart(line: packets.Line, tmp_path: pathlib.Path, seed: int) -> Iterator[Stage]:
    """A stage whose senders are at the one end of the line and all else is at the other."""
    edge, centre = line.names
    stage = Stage(tmp_path, seed, edge=edge, centre=centre, host=packets.CENTRE)
    try:
        yield stage
    finally:
        stage.close()


@pytest.mark.parametrize("times", rounds(1, 30))
def test_a_bad_line_costs_time_and_nothing_else(
    apart: Stage, line: packets.Line, times: int
) -> None:
    apart.start_endpoints(1)
    load = Load(apart, link_timeout=LINK_TIMEOUT, allow_insecure=True)
    load.start()
    for _ in range(times):
        load.begin_round()
        line.faults = BAD
        apart.await_operations(40)
        for swallowed in SILENCES[: times + 1]:
            load.begin_round()
            line.faults = packets.Faults(swallows=swallowed)
            apart.wait_until(lambda: not _is_linked(apart), "the silence to be noticed")
            line.faults = packets.Faults()
            apart.wait_until(lambda: _is_linked(apart), "the link to be used again")
            apart.await_operations(40)
        load.begin_round()
        for _ in range(3):
            _break_off(apart, line)
            apart.await_operations(20)
    print(f"{line.carried} packets carried, {line.lost} lost")
    apart.require(load.finish())


def _break_off(stage: Stage, line: packets.Line) -> None:
    before = _links_lost(stage)
    line.reset()
    stage.wait_until(lambda: _links_lost(stage) > before, "a connection to be reset")


def _is_linked(stage: Stage) -> bool:
    """Whether any client says that it has a link."""
    return any(
        endpoint["state"] == "linked"
        for status in _statuses(stage)
        for endpoint in status["endpoints"]
    )


def _links_lost(stage: Stage) -> int:
    """How often the clients have logged that a link is gone."""
    logs = {child.log for child in stage.forker.children if child.name in loaded.CLIENTS}
    return sum(log.read_text().count(_LINK_DOWN) for log in logs)


def _statuses(stage: Stage) -> list[Any]:
    """What the clients say of themselves."""
    files = (stage.directory / "clients").glob("*.status")
    return [json.loads(file.read_text()) for file in files]
