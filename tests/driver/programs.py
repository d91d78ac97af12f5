# SPDX-License-Identifier: Apache-2.0
"""Programs that use the bus, run in processes of their own: ``python -m tests.driver.programs``.

They speak JSON lines on stdout (``[event, value]``), take words on stdin, and end with their
parent. ``--eventlet`` patches the process first; ``--no-eventlet`` forbids its import, as nova
does in native-threading mode.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib.abc
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

WAIT_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1


class Program:
    """A program that runs, seen from the test."""

    def __init__(
        self,
        function: str,
        *,
        mode: str = "",
        environment: Mapping[str, str] | None = None,
        **arguments: object,
    ) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "tests.driver.programs"]
        command += [mode] if mode else []
        command += [function, json.dumps(arguments, default=str)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self._events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def expect(self, event: str, seconds: float = WAIT_SECONDS) -> Any:
        """Wait for an event, which must be the next, and return its value."""
        found, value = self.next(seconds)
        assert found == event, (found, value)
        return value

    def next(self, seconds: float = WAIT_SECONDS) -> tuple[str, Any]:
        """Wait for the next event, whatever it is."""
        try:
            return self._events.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"no event in {seconds:g} s") from None

    def tell(self, word: str) -> None:
        """Say something to the program."""
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait(WAIT_SECONDS)

    def wait(self) -> int:
        """Wait until it has ended by itself; its exit status."""
        return self._process.wait(WAIT_SECONDS)

    def close(self) -> None:
        """End it, in whatever state it is."""
        self.kill()
        self._reader.join(WAIT_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event, value = json.loads(line)
            self._events.put((event, value))
        self._events.put(("end", None))


def say(event: str, value: Any = None) -> None:
    """Tell the test something."""
    os.write(1, (json.dumps([event, value]) + "\n").encode())


def hear() -> str:
    """Wait for a word from the test; empty when it has ended."""
    word = b""
    while not word.endswith(b"\n"):
        # os.read is one that eventlet patches, so the hub goes on.
        byte = os.read(0, 1)
        if not byte:
            return ""
        word += byte
    return word.decode().strip()


class _NoEventlet(importlib.abc.MetaPathFinder):
    """What nova puts into its processes in native-threading mode."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname.startswith("eventlet"):
            raise ImportError(f"{fullname} must not be imported in native-threading mode")


def main(arguments: list[str]) -> None:
    """Run the function that the command line names."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    mode = arguments.pop(0) if arguments[0].startswith("--") else ""
    if mode == "--eventlet":
        import eventlet

        eventlet.monkey_patch()
        flags = fcntl.fcntl(0, fcntl.F_GETFL)
        fcntl.fcntl(0, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    elif mode == "--no-eventlet":
        sys.meta_path.insert(0, _NoEventlet())
        from oslo_service import backend

        backend.init_backend(backend.BackendType.THREADING)
    from tests.driver import scenes

    function, given = arguments
    keywords = {
        name: pathlib.Path(value) if name == "journal_dir" else value
        for name, value in json.loads(given).items()
    }
    getattr(scenes, function)(**keywords)


if __name__ == "__main__":
    main(sys.argv[1:])
