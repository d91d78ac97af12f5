# SPDX-License-Identifier: Apache-2.0
"""Endpoints in processes of their own, each reached at an address that outlives it."""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Sequence

from tests.nova.processes import Process

START_SECONDS = 30
_BOUND = re.compile(r"^listening on tcp://([\d.]+):(\d+)$", re.MULTILINE)


class Endpoint:
    """``nova-edge-bus endpoint`` on loopback; the port is free until the first start.

    :param options: of the command, beside where it listens
    """

    def __init__(
        self, directory: pathlib.Path, name: str = "endpoint", options: Sequence[str] = ()
    ) -> None:
        self._options = options
        self.host = "127.0.0.1"
        self.port = 0
        self._process = Process(name, [], directory / f"{name}.log")

    @property
    def address(self) -> str:
        """``HOST:PORT``, as it stands in a transport URL."""
        assert self.port, "the endpoint has never been started"
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The transport URL of this endpoint alone."""
        return f"edgebus://{self.address}/"

    @property
    def log(self) -> str:
        """What the endpoint has logged so far, all its lives together."""
        return self._process.log_text()

    def start(self) -> None:
        """Start it, after the first time at the same address, and return once it listens."""
        program = pathlib.Path(sys.executable).with_name("nova-edge-bus")
        listen = f"tcp://{self.host}:{self.port}"
        self._process.command = [str(program), "endpoint", "--listen", listen, *self._options]
        seen = len(self.log)
        self._process.start()
        self._process.wait_ready(lambda: bool(_BOUND.search(self.log, seen)), START_SECONDS)
        bound = _BOUND.search(self.log, seen)
        assert bound is not None
        self.port = int(bound[2])

    def stop(self) -> None:
        """End it as an operator would."""
        self._process.stop()

    def kill(self) -> None:
        """End it without warning."""
        self._process.kill()

    def freeze(self) -> None:
        """Stop it in its tracks, its sockets open."""
        self._process.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self._process.thaw()
