# SPDX-License-Identifier: Apache-2.0
"""What the daemons tell systemd: over a real NOTIFY_SOCKET, from real processes."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from nova_edge_bus import systemd
from nova_edge_bus.transport import loop as loops
from nova_edge_bus.transport import watchdog

WAIT_SECONDS = 30.0
LIMIT = 0.6
"""Seconds of silence after which systemd would end the daemon."""
PROGRAM = str(pathlib.Path(sys.executable).with_name("nova-edge-bus"))


class ServiceManager:
    """The side of systemd: a socket, and what has come there."""

    def __init__(self, path: pathlib.Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.environment = {
            "NOTIFY_SOCKET": str(path),
            "WATCHDOG_USEC": str(round(LIMIT * 1e6)),
        }

    def next(self, seconds: float = WAIT_SECONDS) -> list[str]:
        """The lines of the next message; none when none comes."""
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(4096).decode().splitlines()
        except (TimeoutError, BlockingIOError):
            return []

    def until(self, line: str) -> list[list[str]]:
        """All messages up to the first with *line*."""
        deadline = time.monotonic() + WAIT_SECONDS
        seen = [self.next()]
        while line not in seen[-1]:
            assert time.monotonic() < deadline, f"no {line}: {seen[-3:]}"
            seen.append(self.next())
        return seen

    def drain(self) -> None:
        """Forget what has come so far."""
        while self.next(0.0):
            pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: pathlib.Path) -> Iterator[ServiceManager]:
    made = ServiceManager(tmp_path / "notify")
    yield made
    made.close()


@pytest.fixture(params=["endpoint", "rest-guard"])
def command(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> list[str]:
    if request.param == "endpoint":
        return ["endpoint", "--listen", "tcp://127.0.0.1:0"]
    cache = str(tmp_path / "cache")
    upstream = "http://127.0.0.1:9/placement"
    return ["rest-guard", "--listen", "127.0.0.1:0", "--upstream", upstream, "--cache-dir", cache]


@contextlib.contextmanager
def daemon(command: list[str], manager: ServiceManager) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, **manager.environment}
    with subprocess.Popen(
        [PROGRAM, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def port_of(running: subprocess.Popen[str]) -> int:
    assert running.stdout is not None
    found = re.search(r":(\d+)", running.stdout.readline().partition("//")[2])
    assert found is not None
    return int(found[1])


def test_a_daemon_is_ready_when_it_listens_and_says_when_it_stops(
    command: list[str], manager: ServiceManager
) -> None:
    with daemon(command, manager) as running:
        first = manager.next()
        assert first[0] == "READY=1"
        assert first[1].startswith("STATUS=")
        socket.create_connection(("127.0.0.1", port_of(running)), timeout=WAIT_SECONDS).close()
        for _ in range(3):
            manager.until("WATCHDOG=1")
        running.send_signal(signal.SIGTERM)
        manager.until("STOPPING=1")
        assert running.wait(WAIT_SECONDS) == 0


def test_one_that_cannot_listen_is_never_ready(
    command: list[str], manager: ServiceManager
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        arguments = [re.sub(r"127\.0\.0\.1:0$", f"127.0.0.1:{port}", each) for each in command]
        with daemon(arguments, manager) as running:
            assert running.wait(WAIT_SECONDS) == 1
    assert manager.next(0.0) == []


def test_a_frozen_daemon_falls_silent_for_longer_than_systemd_waits(
    command: list[str], manager: ServiceManager
) -> None:
    with daemon(command, manager) as running:
        manager.until("WATCHDOG=1")
        running.send_signal(signal.SIGSTOP)
        os.waitpid(running.pid, os.WUNTRACED)
        manager.drain()
        assert manager.next(2 * LIMIT) == []


def test_a_stuck_loop_falls_silent_though_other_threads_go_on(manager: ServiceManager) -> None:
    loop = loops.Loop()
    loop.register(watchdog.Watchdog(systemd.Manager(manager.environment), lambda: "working"))
    thread = threading.Thread(target=loop.run)
    thread.start()
    stuck, let_go = threading.Event(), threading.Event()

    def get_stuck() -> None:
        stuck.set()
        let_go.wait(WAIT_SECONDS)

    try:
        assert manager.until("WATCHDOG=1")[0] == ["READY=1", "STATUS=working"]
        loop.call_soon_threadsafe(get_stuck)
        assert stuck.wait(WAIT_SECONDS)
        manager.drain()
        assert manager.next(2 * LIMIT) == []
        let_go.set()
        assert manager.next() == ["WATCHDOG=1", "STATUS=working"]
    finally:
        let_go.set()
        loop.stop()
        thread.join(WAIT_SECONDS)
        loop.close()


def test_an_abstract_socket_is_understood() -> None:
    name = f"nova-edge-bus-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(f"\0{name}")
        notify.settimeout(WAIT_SECONDS)
        systemd.Manager({"NOTIFY_SOCKET": f"@{name}"}).stopping()
        assert notify.recv(4096) == b"STOPPING=1\nSTATUS=stopping"


def test_what_systemd_wants_of_another_process_is_not_done(manager: ServiceManager) -> None:
    told = systemd.Manager({**manager.environment, "WATCHDOG_PID": str(os.getppid())})
    told.alive("working")
    assert manager.next() == ["STATUS=working"]


def test_without_a_service_manager_nothing_is_told(tmp_path: pathlib.Path) -> None:
    systemd.Manager({}).ready("listening")
    gone = systemd.Manager({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "1"})
    gone.alive("nobody hears it")
