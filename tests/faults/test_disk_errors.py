# SPDX-License-Identifier: Apache-2.0
"""A disk that fails at a chosen operation: what has returned is kept, and work goes on."""

from __future__ import annotations

import errno
import os
import pathlib
import random
import subprocess
import sys

import pytest

from tests.faults.conftest import Start
from tests.faults.disk import Disk
from tests.faults.disk import File
from tests.faults.disk import Operation
from tests.nova import processes
from tests.unit.journal import make

SEEN_BY_CALLERS = [
    (Operation.WRITE, File.WAL, errno.ENOSPC, "JournalFull: cannot write to journal"),
    (Operation.WRITE, File.WAL, errno.EIO, "(SQLITE_IOERR_WRITE)"),
    (Operation.SYNC, File.WAL, errno.EIO, "(SQLITE_IOERR_FSYNC)"),
    (Operation.SYNC, File.WAL, errno.ENOSPC, "(SQLITE_IOERR_FSYNC)"),
]
AT_A_CHECKPOINT = [
    (Operation.WRITE, File.DATABASE, errno.ENOSPC),
    (Operation.WRITE, File.DATABASE, errno.EIO),
    (Operation.SYNC, File.DATABASE, errno.EIO),
]
ROUNDS = 2


@pytest.mark.parametrize(("operation", "file", "error", "text"), SEEN_BY_CALLERS)
def test_callers_are_told_and_work_goes_on(
    start: Start,
    seed: int,
    operation: Operation,
    file: File,
    error: int,
    text: str,
) -> None:
    chance = random.Random(seed)
    run = start(seed)
    for _ in range(ROUNDS):
        run.read_until("appended", 20)
        run.disk.fail(operation, file, error, skip=chance.randrange(3), forget=True)
        said = run.read_until("failed", 8)
        run.disk.heal()
        for line in said:
            assert not line.startswith("failed") or text in line, line
        run.read_until("appended", 20)
    assert list(run.kill().broken_by(run.path, failed_are_absent=True)) == []


@pytest.mark.parametrize(("operation", "file", "error"), AT_A_CHECKPOINT)
def test_a_checkpoint_that_fails_is_made_up_for(
    start: Start,
    seed: int,
    operation: Operation,
    file: File,
    error: int,
) -> None:
    chance = random.Random(seed)
    run = start(seed)
    for _ in range(ROUNDS):
        run.read_until("appended", 20)
        run.disk.fail(operation, file, error, skip=chance.randrange(3), forget=True)
        processes.wait_until(lambda: run.disk.failures > 2, 30, "checkpoints to fail")
        run.disk.heal()
        run.read_until("appended", 20)
    promised = run.kill()
    # The quota counts a WAL that nobody could empty, and that is all that a caller may see.
    assert all("quota 2 MiB is full" in text for text in promised.failed.values())
    assert list(promised.broken_by(run.path, failed_are_absent=True)) == []


KILLED_NEXT = """
import os, signal, sys
from nova_edge_bus import errors
from tests.unit.journal import make
with make.opened(sys.argv[1]) as it:
    make.append(it, make.entry())
    print("fail", flush=True)
    sys.stdin.readline()
    try:
        make.append(it, make.entry())
    except errors.JournalError as error:
        print(error, flush=True)
    make.pending(it)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_has_failed_is_not_there_after_a_crash(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "journals" / "a.db"
    path.parent.mkdir()
    disk = Disk(path.parent, tmp_path, is_recorded=False)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_NEXT, str(path)],
        env={**os.environ, **disk.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=make.ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "fail\n"
        disk.fail(Operation.SYNC, File.WAL, count=1)
        said, _ = process.communicate("\n")
    assert "(SQLITE_IOERR_FSYNC)" in said
    with make.opened(path) as it:
        assert make.pending(it) == [1]
