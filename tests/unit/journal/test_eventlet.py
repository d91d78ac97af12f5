# SPDX-License-Identifier: Apache-2.0
"""Under eventlet the writer's thread is a native one, and the hub goes on while it works."""

import importlib.util
import pathlib
import subprocess
import sys

import pytest

from tests.unit.journal import make

# Not imported: it would patch things in this process.
if importlib.util.find_spec("eventlet") is None:
    pytest.skip("eventlet is not installed", allow_module_level=True)

SCRIPT = """
import eventlet
eventlet.monkey_patch()
import os, sys, time
from eventlet import event
from nova_edge_bus import concurrency
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import writer
from tests.unit.journal import make

concurrency.prepare()
problems = []
it = writer.JournalWriter(
    lambda: journal.Journal.open(sys.argv[1], max_bytes=make.QUOTA, retention=1), problems.append
)

def call(put):
    answer = event.Event()
    put(lambda result, error: concurrency.post(
        lambda: answer.send_exception(error) if error else answer.send(result)))
    return answer.wait()

def append(number):
    return [call(lambda done: it.append(make.entry(body=bytes(12288)), done)) for _ in range(20)]

pool = eventlet.GreenPool(16)
seqs = sorted(seq for each in pool.imap(append, range(16)) for seq in each)
assert seqs == list(range(1, 321)), seqs

ticks = []
def tick():
    while True:
        ticks.append(None)
        eventlet.sleep(0.01)
ticker = eventlet.spawn(tick)
eventlet.sleep(0.05)
before = len(ticks)
# A slow disk, as the hub would meet it: the native thread sleeps for real.
call(lambda done: it.submit(lambda _: concurrency.native.time.sleep(1), done))
assert len(ticks) - before > 20, f"the hub stood still: {len(ticks) - before}"

thread = call(lambda done: it.submit(
    lambda _: concurrency.native.threading.current_thread() is it._thread, done))
assert thread, "not the native thread"
before = len(ticks)
assert it.stop(30)
assert not problems, problems
print("ok")
"""


def test_greenlets_share_a_native_writer(path: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(path)],
        capture_output=True,
        text=True,
        cwd=make.ROOT,
        timeout=100,
        check=False,
    )
    assert done.stdout == "ok\n", done.stderr
    with make.opened(path) as it:
        assert make.pending(it) == list(range(1, 321))
