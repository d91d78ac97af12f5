# SPDX-License-Identifier: Apache-2.0
"""A service and a guard before it, each a process of its own."""

from __future__ import annotations

import pathlib
import re
import socket
import sys
from collections.abc import Mapping

import requests

from tests.nova.processes import Process
from tests.nova.processes import reserve_port
from tests.nova.processes import wait_until

START_SECONDS = 30
WAIT_SECONDS = 30
"""How long a test waits for what is bound to happen."""

QUICK: Mapping[str, float] = {
    "connect-timeout": 1,
    "probe-interval": 0.2,
    "probe-interval-max": 0.4,
    "probe-timeout": 1,
    "link-timeout": 1,
}
"""Times with which a cut and its end are soon noticed."""

_BOUND = re.compile(r"^listening on (http://\S+)$", re.MULTILINE)
_ROOT = pathlib.Path(__file__).resolve().parents[2]


class Service:
    """The service of tests.rest_guard.service; its port is its own through all its lives."""

    def __init__(self, directory: pathlib.Path, certificate: pathlib.Path | None = None) -> None:
        self._reserved: socket.socket = reserve_port()
        self.host, self.port = self._reserved.getsockname()
        self.url = f"{'https' if certificate else 'http'}://{self.host}:{self.port}"
        self.process = Process(
            "service",
            [sys.executable, "-m", "tests.rest_guard.service", str(self.port)]
            + ([str(certificate)] if certificate else []),
            directory / "service.log",
            {"PYTHONPATH": str(_ROOT)},
        )

    @property
    def netloc(self) -> str:
        """``HOST:PORT``."""
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        """Start it and return once it takes connections."""
        self.process.start()
        self.process.wait_ready(self._listens, START_SECONDS)

    def close(self) -> None:
        """End it and give the port back."""
        self.process.kill()
        self._reserved.close()

    def counts(self) -> dict[str, int]:
        """How often each method and path was asked for."""
        counts: dict[str, int] = requests.get(f"{self.url}/counts", timeout=WAIT_SECONDS).json()
        return counts

    def _listens(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), timeout=5).close()
        except OSError:
            return False
        return True


class Guard:
    """``nova-edge-bus rest-guard`` before one upstream."""

    def __init__(
        self,
        directory: pathlib.Path,
        upstream: str,
        times: Mapping[str, float] = QUICK,
        *arguments: str,
        debug: bool = True,
    ) -> None:
        self.cache = directory / "documents"
        self.arguments = [
            *("--upstream", upstream, f"--cache-dir={self.cache}", *arguments),
            *(f"--{name}={value}" for name, value in times.items()),
            *(["--debug"] if debug else []),
        ]
        self.process = Process("guard", [], directory / "guard.log")
        self.url = ""
        """What it said that it listens on."""
        self.port = 0

    @property
    def log(self) -> str:
        """What it has logged, all its lives together."""
        return self.process.log_text()

    def start(self) -> None:
        """Start it, after the first time at the same port, and return once it listens."""
        program = pathlib.Path(sys.executable).with_name("nova-edge-bus")
        listen = f"127.0.0.1:{self.port}"
        self.process.command = [str(program), "rest-guard", "--listen", listen, *self.arguments]
        seen = len(self.log)
        self.process.start()
        self.process.wait_ready(lambda: bool(_BOUND.search(self.log, seen)), START_SECONDS)
        bound = _BOUND.search(self.log, seen)
        assert bound is not None
        self.url = bound[1]
        self.port = int(self.url.split("/")[2].rpartition(":")[2])

    def wait_for(self, text: str, times: int = 1) -> None:
        """Return once the log has *text* that often."""
        wait_until(lambda: self.log.count(text) >= times, WAIT_SECONDS, f"the log to say {text!r}")

    def resident_kib(self) -> int:
        """The memory that the process has in use."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)[0])
