# SPDX-License-Identifier: Apache-2.0
"""What a caller was told survives kill -9, whenever that comes."""

import pathlib
import random
import signal
import subprocess
import sys

from tests.unit.journal import make

APPENDER = """
import os, random, sys, threading
from nova_edge_bus.journal import journal
from tests.unit.journal import make

writer = make.Writer(lambda: journal.Journal.open(sys.argv[1], max_bytes=make.QUOTA, retention=1))
epoch = writer.run(lambda it: it.epoch)

def call():
    while True:
        body = os.urandom(random.choice([10, 5000, 12288]))
        seq = writer.append(make.command(body=body))
        # One write, so that the reader sees whole lines whenever the end comes.
        os.write(1, f"appended {epoch} {seq}\\n".encode())
        if seq % 3 == 0:
            writer.run(lambda it: it.outbox.settle_many([(seq, "accepted", None)]))
            os.write(1, f"settled {epoch} {seq}\\n".encode())

for _ in range(6):
    threading.Thread(target=call, daemon=True).start()
threading.Event().wait()
"""
ROUNDS = 4


def kill_amid_appends(path: pathlib.Path, lines: int) -> list[tuple[str, int, int]]:
    """What an appending process said before it was killed after so many lines."""
    with subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(path)], stdout=subprocess.PIPE, cwd=make.ROOT
    ) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        said += child.stdout.read().splitlines(keepends=True)
        assert child.wait() == -signal.SIGKILL
    whole = [line.decode().split() for line in said if line.endswith(b"\n")]
    return [(what, int(epoch), int(seq)) for what, epoch, seq in whole]


def test_what_was_promised_survives_kill_9(path: pathlib.Path) -> None:
    appended: set[int] = set()
    settled: set[int] = set()
    expected: set[int] = set()
    last_epoch = highest = 0
    for _ in range(ROUNDS):
        said = kill_amid_appends(path, random.randint(50, 600))
        now = [seq for what, _, seq in said if what == "appended"]
        assert len(now) == len(set(now)), "a seq was given twice"
        assert min(now) > highest, "a seq was used again"
        appended |= set(now)
        settled |= {seq for what, _, seq in said if what == "settled"}
        (epoch,) = {epoch for _, epoch, _ in said}
        assert epoch > last_epoch
        with make.opened(path) as it:
            assert it.epoch == epoch + 1
            last_epoch = it.epoch
            pending = set(make.pending(it))
            counters = make.counters(it)
        highest = max(appended | pending)
        expected |= set(range(min(now), highest + 1))
        assert {seq for seq in pending if seq % 3} == {seq for seq in expected if seq % 3}, (
            "something is missing"
        )
        assert not settled & pending
        assert len(pending) + counters["accepted"] == counters["appended"]
        # What is settled last of a life may not have been announced, and its seq not be known.
        assert 0 <= counters["appended"] - len(expected) <= counters["accepted"]
        assert counters.get("dead", 0) == 0, "a body is not whole"
