# SPDX-License-Identifier: Apache-2.0
"""A journal that is put back from a copy, and two processes for whom there is one."""

from __future__ import annotations

import shutil

import pytest

from tests.faults import loaded
from tests.faults.stage import Stage

LOAD = {"kinds": ("topic cast", "server cast", "save"), "threads": 4, "pause": 0.005}
OPERATIONS = 30


@pytest.mark.parametrize("times", [2, pytest.param(100, marks=pytest.mark.soak)])
def test_what_a_copy_ships_again_has_no_effect(stage: Stage, times: int) -> None:
    stage.start_endpoints(1)
    for name in ("one", "two"):
        stage.start_receiver(name, stage.url("receivers"))
    senders, copy = stage.directory / "senders", stage.directory / "copy"
    life = 0
    for _ in range(times):
        life += 1
        doomed = stage.start_sender("sender", stage.url("senders"), life, **LOAD)
        stage.await_operations(20)
        doomed.kill()
        shutil.copytree(senders, copy)
        life += 1
        _live(stage, life)
        shutil.rmtree(senders)
        copy.rename(senders)
        life += 1
        _live(stage, life)
    stage.stop_receivers()
    stage.require(loaded.violations_of_one(stage))


def test_two_processes_have_a_journal_each(stage: Stage) -> None:
    stage.start_endpoints(1)
    stage.start_receiver("one", stage.url("receivers"))
    url = stage.url("senders", linger=60)
    both = [
        stage.start_sender(name, url, 1, service="same", operations=OPERATIONS, **LOAD)
        for name in ("left", "right")
    ]
    assert [child.wait(60) for child in both] == [0, 0], stage.report()
    names = sorted(path.name for path in (stage.directory / "senders").glob("*.db"))
    assert [name.rpartition(".")[0][-6:] for name in names] == ["same-0", "same-1"]
    stage.stop_receivers()
    stage.require(loaded.violations_of_one(stage))


def _live(stage: Stage, life: int) -> None:
    """A life to its natural end, when the outbox is empty."""
    url = stage.url("senders", linger=60)
    child = stage.start_sender("sender", url, life, operations=OPERATIONS, **LOAD)
    assert child.wait(90) == 0, stage.report()
