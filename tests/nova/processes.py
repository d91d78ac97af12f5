# SPDX-License-Identifier: Apache-2.0
"""Child processes that log to a file and end with their parent; every wait is bounded."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

# Runs between fork and exec, in an interpreter of its own: a preexec_fn would run in a fork of a
# multi-threaded parent. The second test closes the gap between the fork and the prctl call.
_DIE_WITH_PARENT = (
    "import ctypes, os, signal, sys\n"
    "ctypes.CDLL(None).prctl(1, signal.SIGKILL)\n"
    "if os.getppid() != int(sys.argv[1]): os._exit(1)\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)
_POLL_SECONDS = 0.05
_FREEZE_SECONDS = 10


class NotReadyError(Exception):
    """A process ended, or did not become ready in time."""


def reserve_port(port: int = 0) -> socket.socket:
    """Bind a loopback port so that only sockets made by this function can have it too.

    As long as nobody listens on one of them, connections are refused.

    :param port: 0 for a free one
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(("127.0.0.1", port))
    return reserved


def wait_until(check: Callable[[], bool], seconds: float, what: str) -> None:
    """Return as soon as check() is true.

    :param seconds: how long to wait at most
    :raises NotReadyError: when it is still false then
    """
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise NotReadyError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(_POLL_SECONDS)


def run_state(pid: int) -> str:
    """Return the state of a process as ps(1) abbreviates it: T for one that is stopped.

    :raises FileNotFoundError: when there is none
    """
    status = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return status.rpartition(")")[2].split()[0]  # the name before it may hold anything


class Process:
    """One child process and its descendants: a process group of its own, output in one log file.

    The child is killed by the kernel when the *thread* that started it ends, so start it from a
    thread that lives as long as the child shall.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: pathlib.Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the process; start() makes it.

        :param environment: variables to set on top of the parent's
        """
        self.name = name
        self.command = list(command)
        self.log = log
        self._environment = dict(environment or {})
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        """The process id of the leader.

        :raises NotReadyError: when the process was never started
        """
        if self._child is None:
            raise NotReadyError(f"{self.name} was not started")
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the leader runs (a frozen one counts as running)."""
        return self._child is not None and self._child.poll() is None

    @property
    def returncode(self) -> int | None:
        """The exit status of the leader, None while it runs."""
        return None if self._child is None else self._child.poll()

    def start(self) -> None:
        """Start the process; its output is appended to the log."""
        if self.alive:
            raise NotReadyError(f"{self.name} runs already, pid {self.pid}")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._log_start = output.tell()
            self._child = subprocess.Popen(
                [sys.executable, "-ISc", _DIE_WITH_PARENT, str(os.getpid()), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )

    def wait_ready(self, check: Callable[[], bool], seconds: float) -> None:
        """Return once check() is true.

        :raises NotReadyError: when the process ends before, or time is up; the text carries the
            end of the log
        """

        def ready_or_dead() -> bool:
            return not self.alive or check()

        try:
            wait_until(ready_or_dead, seconds, f"{self.name} to be ready")
        except NotReadyError as error:
            raise NotReadyError(f"{error}; {self._log_tail()}") from None
        if not self.alive:
            raise NotReadyError(f"{self.name} ended with {self.returncode}; {self._log_tail()}")

    def stop(self, grace_seconds: float = 15.0) -> bool:
        """End the process group: SIGTERM, and SIGKILL after the grace. Return once it is gone.

        :returns: whether the leader ended by itself within the grace
        """
        if self._child is None:
            return True
        self.terminate()
        try:
            self._child.wait(timeout=grace_seconds)
            graceful = True
        except subprocess.TimeoutExpired:
            graceful = False
        self.kill()
        return graceful

    def terminate(self) -> None:
        """Ask the leader to end (SIGTERM) and return at once."""
        self.thaw()
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the whole group and return once the leader is reaped."""
        self._signal_group(signal.SIGKILL)
        if self._child is not None:
            self._child.wait()

    def freeze(self) -> None:
        """Stop the whole group in its tracks: sockets stay open, nothing answers.

        Returns once the leader and its children have stopped, if the leader lives.

        :raises NotReadyError: when they do not
        """
        self._signal_group(signal.SIGSTOP)
        if self.alive:
            wait_until(self._stands_still, _FREEZE_SECONDS, f"{self.name} to stop")

    def thaw(self) -> None:
        """Let a frozen group run on."""
        self._signal_group(signal.SIGCONT)

    def children(self) -> list[int]:
        """Return the process ids of the leader's own children, such as a service's workers."""
        # the kernel lists them by the thread that forked
        listings = pathlib.Path(f"/proc/{self.pid}/task").glob("*/children")
        return [int(pid) for listing in listings for pid in listing.read_text().split()]

    def log_text(self) -> str:
        """Return all that the process has written so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def log_since_start(self) -> str:
        """Return what the process has written since it was last started."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def _log_tail(self, lines: int = 15) -> str:
        tail = "\n".join(self.log_text().splitlines()[-lines:])
        return f"the end of {self.log}:\n{tail}"

    def _stands_still(self) -> bool:
        return all(run_state(pid) == "T" for pid in (self.pid, *self.children()))

    def _signal_group(self, signum: signal.Signals) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signum)
