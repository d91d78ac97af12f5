# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys

import pytest

from tests.nova.processes import NotReadyError
from tests.nova.processes import Process
from tests.nova.processes import reserve_port
from tests.nova.processes import wait_until

_SLEEP = "import time; print('ready', flush=True); time.sleep(60)"
_FAMILY = (
    "import subprocess, sys, threading\n"
    f"arguments = [sys.executable, '-c', {_SLEEP!r}]\n"
    "threading.Thread(target=subprocess.run, args=[arguments]).start()\n"
)
_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + _SLEEP


def _process(tmp_path: pathlib.Path, program: str) -> Process:
    return Process("child", [sys.executable, "-c", program], tmp_path / "child.log")


def _start(tmp_path: pathlib.Path, program: str) -> Process:
    process = _process(tmp_path, program)
    process.start()
    process.wait_ready(lambda: "ready" in process.log_text(), 20)
    return process


def _exists(pid: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_stop_is_graceful_where_the_process_listens(tmp_path: pathlib.Path) -> None:
    process = _start(tmp_path, _SLEEP)
    assert process.stop(grace_seconds=20)
    assert not _exists(process.pid)


def test_stop_kills_what_does_not_listen(tmp_path: pathlib.Path) -> None:
    process = _start(tmp_path, _DEAF)
    assert not process.stop(grace_seconds=0.2)
    assert not _exists(process.pid)


def test_stop_ends_a_frozen_process(tmp_path: pathlib.Path) -> None:
    process = _start(tmp_path, _SLEEP)
    process.freeze()
    assert process.stop(grace_seconds=20)


def test_kill_ends_the_children_too(tmp_path: pathlib.Path) -> None:
    process = _start(tmp_path, _FAMILY)
    (child,) = process.children()
    process.kill()
    wait_until(lambda: not _exists(child), 10, "the child to be gone")


def test_a_process_that_ends_early_is_told_from_a_slow_one(tmp_path: pathlib.Path) -> None:
    process = _process(tmp_path, "raise SystemExit('no such option')")
    process.start()
    with pytest.raises(NotReadyError, match=r"ended with 1.*\n.*no such option"):
        process.wait_ready(lambda: False, 20)


def test_a_slow_process_is_not_waited_for_longer_than_asked(tmp_path: pathlib.Path) -> None:
    process = _start(tmp_path, _SLEEP)
    with pytest.raises(NotReadyError, match="in vain for child to be ready"):
        process.wait_ready(lambda: False, 0.1)
    process.kill()


def test_a_reserved_port_refuses_until_somebody_listens() -> None:
    with reserve_port() as reserved:
        address = reserved.getsockname()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        with reserve_port(address[1]) as listener:
            listener.listen()
            socket.create_connection(address, timeout=10).close()
        with pytest.raises(OSError, match="Address already in use"):
            socket.create_server(address)


def test_the_log_of_an_earlier_run_is_kept(tmp_path: pathlib.Path) -> None:
    process = _start(tmp_path, _SLEEP)
    process.kill()
    process.start()
    process.wait_ready(lambda: process.log_text().count("ready") == 2, 20)
    process.kill()


def test_a_child_does_not_outlive_its_parent(tmp_path: pathlib.Path) -> None:
    root = pathlib.Path(__file__).resolve().parents[2]
    program = (
        "import os, pathlib, sys, time\n"
        "from tests.nova.processes import Process\n"
        f"command = [sys.executable, '-c', {_SLEEP!r}]\n"
        "child = Process('child', command, pathlib.Path('child.log'))\n"
        "child.start()\n"
        "child.wait_ready(lambda: 'ready' in child.log_text(), 20)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert _exists(child)
    parent.kill()
    parent.wait()
    wait_until(lambda: not _exists(child), 10, "the child to be gone")
    parent.stdout.close()
