# SPDX-License-Identifier: Apache-2.0
"""The processes of one test: endpoints, receivers, senders, and what to print when it fails."""

from __future__ import annotations

import pathlib
import random
import re
import signal
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import pytest

from tests.faults import COMMANDS
from tests.faults import CONDUCTOR
from tests.faults import forker
from tests.faults import history
from tests.faults import journals
from tests.nova import processes

_STOP_SECONDS = 30.0
BOUND = re.compile(r"listening on tcp://[\d.]+:(\d+)")
_SHOWN = 20


def rounds(short: int, soak: int) -> list[Any]:
    """How often a test does its worst: in ``make test``, and in ``make soak``."""
    return [
        pytest.param(short, marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
        pytest.param(soak, marks=pytest.mark.soak),
    ]


class Stage:
    """Starts and stops what a test needs below one directory.

    :param seed: everything random in the test derives from it
    :param edge: the network namespace of the senders, if not the test's
    :param centre: that of the endpoints and receivers
    :param host: the address of the endpoints
    :param environment: variables of all processes
    """

    def __init__(
        self,
        directory: pathlib.Path,
        seed: int,
        *,
        edge: str | None = None,
        centre: str | None = None,
        host: str = "127.0.0.1",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._edge, self._centre, self._host = edge, centre, host
        self.directory = directory
        self.seed = seed
        self.chance = random.Random(seed)
        self.ports: list[int] = []
        self.endpoints: list[forker.Child] = []
        self.receivers: dict[str, forker.Child] = {}
        self.sent = directory / "sent"
        self.done = directory / "done"
        self.forker = forker.Forker(directory / "logs", environment=environment)
        self._started = 0

    def close(self) -> None:
        """Kill what runs."""
        self.forker.close()

    def start_endpoints(self, count: int) -> None:
        """Start endpoints on free ports."""
        for number in range(count):
            self.ports.append(0)
            self.endpoints.append(self._fork_endpoint(number))

    def restart_endpoint(self, number: int) -> None:
        """Start a killed endpoint again on the port that its peers know."""
        self.endpoints[number] = self._fork_endpoint(number)

    def _fork_endpoint(self, number: int) -> forker.Child:
        ready = self._ready_file()
        child = self.forker.fork(
            "endpoint",
            f"endpoint-{number}",
            namespace=self._centre,
            host=self._host,
            port=self.ports[number],
            ready=str(ready),
        )

        def bound() -> bool:
            found = BOUND.search(ready.read_text()) if ready.exists() else None
            if found:
                self.ports[number] = int(found[1])
            return bool(found)

        self.wait_until(bound, f"{child.name} to listen")
        return child

    def url(self, side: str, ports: Sequence[int] | None = None, **options: Any) -> str:
        """The transport URL of the processes that keep their journals in the directory *side*."""
        hosts = ",".join(f"{self._host}:{port}" for port in ports or self.ports)
        # Compressed as between far places, though all of this is near.
        options = {"journal_dir": self.directory / side, "compression": "zstd", **options}
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"edgebus://{hosts}/?{query}"

    def start_receiver(self, name: str, url: str, **arguments: Any) -> None:
        """Start a receiver of both topics and wait until it listens."""
        ready = self._ready_file()
        child = self.forker.fork(
            "receiver",
            name,
            namespace=self._centre,
            url=url,
            name=name,
            topics={COMMANDS: 1, CONDUCTOR: 16},
            ready=str(ready),
            done=str(self.done),
            **arguments,
        )
        self.receivers[name] = child
        self.wait_until(ready.exists, f"receiver {name} to listen")

    def start_sender(self, client: str, url: str, life: int = 1, **arguments: Any) -> forker.Child:
        """Start a sender and return at once."""
        return self.forker.fork(
            "sender",
            client,
            namespace=self._edge,
            url=url,
            client=client,
            life=life,
            seed=self.seed,
            sent=str(self.sent),
            servers=sorted(self.receivers),
            **arguments,
        )

    def await_operations(self, count: int) -> None:
        """Return when so many more operations have returned than now."""
        before = len(history.read(self.sent, "returned"))
        self.wait_until(
            lambda: len(history.read(self.sent, "returned")) >= before + count,
            f"{count} operations to return",
        )

    def wait_until(self, check: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Return as soon as check() is true, and fail with all that helps if it does not get so.

        :param seconds: how long to wait at most
        """
        try:
            processes.wait_until(check, seconds, what)
        except processes.NotReadyError as error:
            raise AssertionError(f"{error}, with seed {self.seed}\n{self.report()}") from None

    def stop_receivers(self) -> None:
        """Let the receivers finish what they have taken, and end."""
        for child in self.receivers.values():
            child.signal(signal.SIGTERM)
        for name, child in self.receivers.items():
            status = child.wait(_STOP_SECONDS)
            assert status == 0, f"receiver {name} ended with {status}\n{self.report()}"

    def journals(self) -> list[pathlib.Path]:
        """The journals of all processes that there have been."""
        return sorted(self.directory.glob("*/*.db"))

    def require(self, violations: Iterable[str]) -> None:
        """Fail with what is wrong and what helps to understand it, if anything is wrong."""
        found = list(violations)
        if found:
            shown = "\n".join(found[:_SHOWN])
            raise AssertionError(
                f"{len(found)} violations with seed {self.seed}:\n{shown}\n{self.report()}"
            )

    def report(self) -> str:
        """The state of the journals and the end of the logs."""
        parts = [journals.describe(path) for path in self.journals()]
        seen = {child.log: child for child in self.forker.children}
        parts += [f"--- {log.name}\n{child.tail()}" for log, child in seen.items()]
        return "\n".join(parts)

    def _ready_file(self) -> pathlib.Path:
        self._started += 1
        return self.directory / f"ready-{self._started}"
