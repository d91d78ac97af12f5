# SPDX-License-Identifier: Apache-2.0
"""Power cuts at arbitrary moments: what was not synced may be gone, what had returned is there.

One run of a process is written down, with every write and every sync. What a cut would have left
is then made for as many moments of it as there is time for.
"""

from __future__ import annotations

import pathlib
import random

import pytest

from tests.faults import appender
from tests.faults import appending
from tests.faults import power
from tests.faults import promises
from tests.faults.conftest import Start
from tests.faults.disk import File
from tests.faults.disk import Operation

FAILED_SYNCS = 6


def cuts(most: int, soak: int) -> list[object]:
    """How many moments to look at."""
    return [most, pytest.param(soak, marks=pytest.mark.soak)]


@pytest.mark.parametrize("moments", cuts(40, 2000))
@pytest.mark.parametrize("syncs", ["sound", "failing"])
def test_what_had_returned_is_there(
    tmp_path: pathlib.Path, start: Start, seed: int, moments: int, syncs: str
) -> None:
    chance = random.Random(seed)
    run = start(seed, is_recorded=True)
    run.read_until("appended", 150)
    for _ in range(FAILED_SYNCS if syncs == "failing" else 0):
        file = chance.choice([File.WAL, File.DATABASE])
        skip, forget = chance.randrange(4), chance.random() < 0.5
        run.disk.fail(Operation.SYNC, file, skip=skip, count=1, forget=forget)
        run.read_until("appended", 60)
    run.kill()
    if syncs == "failing":
        assert run.disk.failures, "no sync has failed"
    require_at(run, moments, chance, tmp_path)


def require_at(
    run: appending.Run, moments: int, chance: random.Random, scratch: pathlib.Path
) -> None:
    """Fail if the run's promises are not kept after a cut at any of so many moments."""
    records = list(run.disk.records())
    chosen = set(chance.sample(range(len(records)), min(moments, len(records))))
    following = power.Power(chance)
    opened = 0
    for number, record in enumerate(records):
        following.follow(record)
        if number not in chosen:
            continue
        directory = scratch / f"cut-{number}"
        directory.mkdir()
        following.cut(directory)
        promised = promises.Promises(following.marks.decode())
        if promised.epoch:
            opened += 1
            path = directory / appender.NAME
            broken = list(promised.broken_by(path, failed_are_absent=False))
            assert not broken, f"cut after {number} of {len(records)} records: {broken[:5]}"
    assert opened > moments / 2
