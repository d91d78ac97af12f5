# SPDX-License-Identifier: Apache-2.0
"""The wall clock is stepped by an hour, either way, under everything that runs."""

from __future__ import annotations

import mmap
import pathlib
import signal
import struct
from collections.abc import Iterator

import pytest

from nova_edge_bus import events
from tests.faults import loaded
from tests.faults import shims
from tests.faults.loaded import Load
from tests.faults.stage import Stage
from tests.unit.journal import make

HOUR = 3600.0
LINK_TIMEOUT = 3.0


class Clock:
    """The wall clock of the processes with :attr:`environment`."""

    def __init__(self, directory: pathlib.Path) -> None:
        path = directory / "clock"
        path.write_bytes(bytes(mmap.PAGESIZE))
        with path.open("r+b") as file:
            self._offset = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.environment = {"LD_PRELOAD": shims.built("clock"), "CLOCK_OFFSET": str(path)}

    def step_to(self, seconds: float) -> None:
        """Have the clock show so many seconds more than it is."""
        self._offset[:8] = struct.pack("d", seconds)


@pytest.fixture
def clock(tmp_path: pathlib.Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def timed(tmp_path: pathlib.Path, seed: int, clock: Clock) -> Iterator[Stage]:
    stage = Stage(tmp_path, seed, environment=clock.environment)
    try:
        yield stage
    finally:
        stage.close()


@pytest.mark.slow
def test_nothing_is_lost_doubled_or_expired_and_silence_is_noticed_in_time(
    timed: Stage, clock: Clock
) -> None:
    timed.start_endpoints(1)
    load = Load(timed, link_timeout=LINK_TIMEOUT, journal_retention=24 * int(HOUR))
    load.start()
    for offset in (HOUR, 0.0, -HOUR, 0.0):
        load.begin_round()
        clock.step_to(offset)
        timed.await_operations(40)
    timed.require(_logged(timed, events.LINK_DOWN))
    clock.step_to(-HOUR)
    timed.endpoints[0].signal(signal.SIGSTOP)
    timed.wait_until(lambda: _logged(timed, events.LINK_DOWN), "the silence to be noticed")
    timed.endpoints[0].signal(signal.SIGCONT)
    timed.await_operations(40)
    timed.require([*load.finish(), *_logged(timed, events.FENCED)])
    counted = {}
    for path in (timed.directory / "clients").glob("*.db"):
        with make.opened(path) as it:
            counted |= make.counters(it)
    assert not {"expired", "purged", "dead"} & counted.keys(), counted
    assert counted["applied"]


def test_a_restart_while_the_clock_is_behind_uses_no_number_again(
    timed: Stage, clock: Clock
) -> None:
    timed.start_endpoints(1)
    timed.start_receiver("one", timed.url("receivers"))
    for life, offset in enumerate((0.0, -HOUR, HOUR, 0.0), 1):
        clock.step_to(offset)
        url = timed.url("senders", linger=60)
        child = timed.start_sender(
            "sender", url, life, kinds=("topic cast", "save"), threads=2, pause=0.0, operations=20
        )
        assert child.wait(60) == 0, timed.report()
    timed.stop_receivers()
    timed.require(loaded.violations_of_one(timed))


def _logged(stage: Stage, event: str) -> list[str]:
    """The lines of all logs that tell of an event."""
    key = event.partition(" ")[0]
    logs = {child.log for child in stage.forker.children}
    return [line for log in logs for line in log.read_text().splitlines() if key in line]
