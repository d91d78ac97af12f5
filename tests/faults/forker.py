# SPDX-License-Identifier: Apache-2.0
"""A process that has imported everything and forks the processes of a test.

A service takes a second to import what it needs; a fork of one that has done so starts within
milliseconds, and hundreds of them can be killed in a short test. ``python -m`` of this module is
that process; :class:`Forker` is the test's side of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

_ROLES = "tests.faults.roles"
_ROOT = pathlib.Path(__file__).resolve().parents[2]
_PR_SET_PDEATHSIG = 1
_CLONE_NEWNET = 0x40000000
_POLL_SECONDS = 0.002
_START_SECONDS = 60.0


class Child:
    """A forked process, until :meth:`wait` has seen its end."""

    def __init__(self, forker: Forker, name: str, pid: int, log: pathlib.Path) -> None:
        self.name = name
        self.pid = pid
        self.log = log
        self._forker = forker
        self._status: int | None = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; the process is there, or a zombie, until it has been waited for."""
        if self._status is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9, and return once it is gone."""
        self.signal(signal.SIGKILL)
        self.wait(10)

    def wait(self, seconds: float) -> int:
        """Return the exit status, negative for a signal.

        :raises TimeoutError: when it still runs after so many seconds
        """
        if self._status is None:
            self._status = self._forker.ask(wait=self.pid, seconds=seconds)["status"]
        if self._status is None:
            raise TimeoutError(f"{self.name}, pid {self.pid}, still runs after {seconds:g} s")
        return self._status

    def stop(self, seconds: float = 30) -> int:
        """Ask it to end (SIGTERM) and return its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def tail(self, lines: int = 15) -> str:
        """The end of what it has logged."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


class Forker:
    """Forks the functions of a module; every child dies with it, and it with the test.

    :param logs: directory with one log for each name of a child
    :param roles: the name of the module; its ``warm_up`` is run once, before the first fork
    :param environment: variables of all its processes, beside the test's own
    """

    def __init__(
        self,
        logs: pathlib.Path,
        roles: str = _ROLES,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._logs = logs
        logs.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self.children: list[Child] = []
        with (logs / "forker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.forker", roles],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=_ROOT,
                text=True,
                env={**os.environ, **(environment or {})},
            )

    def fork(
        self, role: str, name: str, /, namespace: str | None = None, **arguments: Any
    ) -> Child:
        """Run a function of the module in a process of its own.

        :param namespace: the network namespace that the process is in, if not the test's
        """
        log = self._logs / f"{name}.log"
        request = {"arguments": arguments, "log": str(log), "namespace": namespace}
        pid = self.ask(fork=role, **request)["pid"]
        child = Child(self, name, pid, log)
        self.children.append(child)
        return child

    def ask(self, **request: Any) -> dict[str, Any]:
        """Have the process do something, and wait until it has done so."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
            return answer

    def close(self) -> None:
        """Kill all children and the process itself."""
        self._process.kill()
        self._process.communicate()


def _serve() -> None:
    """Answer requests, one line of JSON each, until the test closes the pipe."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    roles = importlib.import_module(sys.argv[1])
    roles.warm_up()
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        if "fork" in request:
            target = getattr(roles, request["fork"])
            arguments, log = request["arguments"], request["log"]
            answer = {"pid": _fork(target, arguments, log, request["namespace"])}
        else:
            answer = {"status": _wait(request["wait"], request["seconds"])}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def enter(namespace: str) -> None:
    """Put this thread, and what it forks, into a network namespace of this name."""
    with pathlib.Path("/run/netns", namespace).open("rb") as file:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter namespace {namespace}")


def _fork(target: Any, arguments: dict[str, Any], log: str, namespace: str | None) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            if namespace is not None:
                enter(namespace)
            status = int(target(**arguments) or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _wait(pid: int, seconds: float) -> int | None:
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    _serve()
