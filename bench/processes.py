# SPDX-License-Identifier: Apache-2.0
"""Child processes of the benchmark: started, asked, and ended by their own id."""

import contextlib
import ctypes
import json
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading
import typing

from bench import usage

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_OPTION = re.compile("OS_(EDGE_BUS|OSLO_MESSAGING_.*|DEFAULT)__")
_GRACE = 10.0
"""Seconds that a child gets to end by itself."""


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def surroundings() -> dict[str, str]:
    """The environment for a child: this one, without options of the bus that stand in it."""
    return {name: value for name, value in os.environ.items() if not _OPTION.match(name)}


class ChildFailed(Exception):
    """A child process ended, kept silent or answered with an error."""


class Child:
    """A process whose standard output is read line by line, with a bound on every wait."""

    def __init__(self, name: str, command: list[str], log: pathlib.Path) -> None:
        """Start *command*; its standard error goes to the file *log*."""
        self.name = name
        self._log = log
        paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {**surroundings(), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
                # An interrupt at the terminal is for the coordinator, which ends its children.
                start_new_session=True,
                # A coordinator that is killed can end nobody.
                preexec_fn=_end_with_parent,
            )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, name=f"{name} output", daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def line(self, timeout: float) -> str:
        """The next line of its output.

        :param timeout: seconds
        :raises ChildFailed: when none comes in time, or the process has ended.
        """
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise ChildFailed(
                f"{self.name} said nothing for {timeout:.0f} s{self._tail()}"
            ) from None
        if not line:
            raise ChildFailed(f"{self.name} ended{self._tail()}")
        return line

    def say(self, line: str) -> None:
        """Write one line to its standard input.

        :raises ChildFailed: when the process has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError:
            raise ChildFailed(f"{self.name} ended{self._tail()}") from None

    def _tail(self) -> str:
        text = self._log.read_text(errors="replace").strip()
        return f"; its last words:\n{text[-2000:]}" if text else ""

    def ask(
        self, command: str, timeout: float = 60.0, **arguments: object
    ) -> dict[str, typing.Any]:
        """Have a child that takes commands do *command*, and return its answer.

        :param timeout: seconds
        :raises ChildFailed: when it answers with an error, late or not at all.
        """
        self.tell(command, **arguments)
        return self.answer(command, timeout)

    def tell(self, command: str, **arguments: object) -> None:
        """Have it do *command* without waiting for the :meth:`answer`.

        :raises ChildFailed: when the process has ended.
        """
        self.say(json.dumps({"command": command, **arguments}))

    def answer(self, command: str, timeout: float) -> dict[str, typing.Any]:
        """The answer to a *command* that it was told.

        :param timeout: seconds
        :raises ChildFailed: when it answers with an error, late or not at all.
        """
        answer: dict[str, typing.Any] = json.loads(self.line(timeout))
        if "error" in answer:
            raise ChildFailed(f"{self.name}: {command} failed: {answer['error']}{self._tail()}")
        return answer

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def cpu_seconds(self) -> float:
        """How long it has computed so far, in itself and for it in the kernel."""
        return usage.cpu_seconds(self._process.pid)

    def stop(self) -> None:
        """End the process: by the end of its input, then by SIGTERM, then by SIGKILL."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        for end in (self._process.terminate, self._process.kill):
            end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE)
                return

    def kill(self) -> None:
        """Kill the process (SIGKILL) and return once it is gone."""
        self._process.kill()
        self._process.wait()


class Worker(Child):
    """A sender or a receiver (:mod:`bench.worker`), asked by commands."""

    def __init__(
        self, role: str, bus: str, log: pathlib.Path, concurrency: str = "threads"
    ) -> None:
        """
        :param concurrency: ``threads`` or ``eventlet``
        """
        command = [sys.executable, "-m", "bench.worker", role, concurrency]
        super().__init__(f"{role} on {bus}", command, log)

    def stop(self) -> None:
        """Close its transports in good order, then end the process."""
        with contextlib.suppress(ChildFailed):
            self.ask("close", timeout=_GRACE)
        super().stop()
