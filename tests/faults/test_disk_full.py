# SPDX-License-Identifier: Apache-2.0
"""A file system without a free byte: callers are told, and all goes on when there is room."""

from __future__ import annotations

import pathlib
import signal
from typing import Any

import pytest

from tests.faults import filesystems
from tests.faults import history
from tests.faults import journals
from tests.faults.stage import Stage

DISK_MEBIBYTES = 12
LOAD = {"kinds": ("topic cast", "server cast", "save"), "threads": 4, "pause": 0.02}
FAILED = "MessageDeliveryFailure"


def on(kind: str) -> list[Any]:
    """A file system for ``make test``; in a soak it is filled more often, and so is the other."""
    marks = [pytest.mark.slow, pytest.mark.timeout(300)]
    soak = [pytest.param(each, 10, marks=pytest.mark.soak) for each in filesystems.KINDS]
    return [pytest.param(kind, 1, marks=marks), *soak]


@pytest.mark.parametrize(("kind", "times"), on("tmpfs"))
def test_a_sender_says_so_and_goes_on(stage: Stage, kind: str, times: int) -> None:
    with filesystems.small(kind, stage.directory / "senders", DISK_MEBIBYTES) as disk:
        begin(stage)
        for _ in range(times):
            filesystems.fill(disk)
            await_failures(stage, 20)
            filesystems.make_room(disk)
            stage.await_operations(50)
        stage.require(finish(stage))


@pytest.mark.parametrize(("kind", "times"), on("ext4"))
def test_a_receiver_takes_nothing_and_goes_on(stage: Stage, kind: str, times: int) -> None:
    with filesystems.small(kind, stage.directory / "receivers", DISK_MEBIBYTES) as disk:
        begin(stage)
        for _ in range(times):
            stage.wait_until(lambda: _is_starved(stage, disk), "commands to be taken by nobody")
            filesystems.make_room(disk)
            stage.await_operations(50)
        stage.require(finish(stage))


def _is_starved(stage: Stage, disk: pathlib.Path) -> bool:
    """Take what room there is, and tell whether commands have begun to wait."""
    # A journal gives back what its WAL had, to go on with; here nothing may be left of it.
    filesystems.fill(disk)
    return sum(map(journals.pending_commands, stage.journals())) > 50


def begin(stage: Stage) -> None:
    """Have a sender and two receivers at work."""
    stage.start_endpoints(1)
    for name in ("one", "two"):
        stage.start_receiver(name, stage.url("receivers"))
    stage.start_sender("sender", stage.url("senders", linger=60), **LOAD)
    stage.await_operations(50)


def await_failures(stage: Stage, count: int) -> None:
    """Return when so many more operations have failed than now."""
    before = len(history.read(stage.sent, "failed"))
    stage.wait_until(
        lambda: len(history.read(stage.sent, "failed")) >= before + count,
        f"{count} operations to fail",
    )


def finish(stage: Stage) -> list[str]:
    """End everything, and return what was not as promised."""
    sender = next(child for child in stage.forker.children if child.name == "sender")
    sender.signal(signal.SIGTERM)
    assert sender.wait(120) == 0, stage.report()
    stage.stop_receivers()
    returned = history.read(stage.sent, "returned")
    failed = history.read(stage.sent, "failed")
    commands = history.read(stage.done, "handed out")
    records = history.read(stage.done, "ended")
    done = commands + records
    print(f"{len(returned)} operations returned, {len(failed)} failed")
    found = [f"failed otherwise: {event}" for event in failed if not is_told(event)]
    refused = {event.mark for event in failed}
    found += [f"refused and done: {event}" for event in done if event.mark in refused]
    found += history.missing(returned, done)
    found += history.doubled(done)
    for name in stage.receivers:
        found += history.disordered([each for each in commands if each.who == name], returned)
    found += history.disordered(records, returned)
    found += [f"not drained: {path}" for path in stage.journals() if journals.has_work(path)]
    return found


def is_told(failed: history.Event) -> bool:
    """Whether an operation failed with the error that names the disk."""
    text = str(failed.detail[1])
    return text.startswith(FAILED) and "make room there" in text
