# SPDX-License-Identifier: Apache-2.0
"""Two conductors behind two endpoints, an edge, and what fails at one step of an entry's life."""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
import pathlib
import signal
import time
from collections.abc import Callable

from tests.faults import failover_roles as roles
from tests.faults import forker
from tests.faults import stage
from tests.faults import steps
from tests.faults import traps
from tests.faults.effects import Effects
from tests.nova import journals
from tests.nova.relay import Relay

SECONDS = 60.0
SILENCE = 2.5 * roles.LINK_TIMEOUT
"""Longer than the edge takes to notice that an endpoint is silent."""
_MOVED_SECONDS = 4.0
"""Within which a group has usually gone on without its conductor."""
_POLL_SECONDS = 0.01
CONDUCTORS = ("one", "two")


class Failure(enum.Enum):
    """What fails while an entry is at a step."""

    ENDPOINT_KILLED = "the endpoint is killed"
    CONDUCTOR_KILLED = "the conductor is killed"
    ENDPOINT_SILENT = "the endpoint is silent for a while"
    CONDUCTOR_SILENT = "the conductor is silent until others have its work"
    LINK_DROPPED = "the link to the endpoint is down for a while"
    EDGE_KILLED = "the edge is killed"
    CONDUCTOR_GONE_IN_CUT = "the edge is cut off, and the conductor is gone when it is back"


_ITS_OWN = {
    Failure.ENDPOINT_KILLED: (steps.ENDPOINT, traps.KILL),
    Failure.CONDUCTOR_KILLED: (steps.CONDUCTOR, traps.KILL),
    Failure.ENDPOINT_SILENT: (steps.ENDPOINT, traps.FREEZE),
    Failure.CONDUCTOR_SILENT: (steps.CONDUCTOR, traps.FREEZE),
    Failure.EDGE_KILLED: (steps.EDGE, traps.KILL),
}
"""The process that fails, and what it does to itself when the entry is there."""


@dataclasses.dataclass(frozen=True)
class Case:
    """What fails at which step of an entry, amid so many entries of its group.

    ``trapped`` is the number of that entry within the group. Of another group there are two or
    three entries.
    """

    failure: Failure
    step: steps.Step
    entries: int = 3
    trapped: int = 1

    @property
    def name(self) -> str:
        """Its own in its scene."""
        return f"{self.step.name.replace(' ', '-')}-{self.failure.name.lower()}-{self.entries}"

    @property
    def fails_itself(self) -> bool:
        """Whether the process that fails is the one that the entry is in."""
        return _ITS_OWN.get(self.failure, ("", ""))[0] == self.step.process

    @property
    def expected(self) -> list[list[list[str]]]:
        """The effects that each group has to have had, in this order; one of these."""
        ways = [[_effects(self.entries), _effects(3 if self.step.late else 2)]]
        if self.step.late and self.failure is Failure.EDGE_KILLED:
            # It may have come to the late entry, or not.
            ways.append([_effects(self.entries), _effects(2)])
        return ways


def _effects(entries: int) -> list[str]:
    """Saves, each in two parts, and faults take turns."""
    told: list[str] = []
    for number in range(1, entries + 1):
        told += ["flavor", f"name {number}"] if number % 2 else [f"fault {number}"]
    return told


class Scene:
    """The processes; cases follow each other in it.

    :param directory: of this scene alone
    :param database: the URL of a cell database that nobody else uses
    """

    def __init__(self, directory: pathlib.Path, database: str) -> None:
        directory.mkdir()
        self._directory = directory
        self._database = database
        self.effects = Effects(database)
        self._forker = forker.Forker(directory / "logs", "tests.faults.failover_roles")
        self._endpoints: list[forker.Child] = []
        self._ports = [0, 0]
        self._conductors: dict[str, forker.Child] = {}
        self._lives = 0
        for number in range(2):
            self._endpoints.append(self._start_endpoint(number))
        self._relays = [Relay([("127.0.0.1", port)]) for port in self._ports]
        for relay in self._relays:
            relay.start()
        for name in CONDUCTORS:
            self._start_conductor(name)
        self._edge = self._start_edge()

    def close(self) -> None:
        """Kill what runs."""
        for relay in self._relays:
            relay.stop()
        self._forker.close()
        self.effects.close()

    def run(self, case: Case) -> list[str]:
        """Let it happen, and return the groups: that of the entry, and the other one."""
        groups = [self.effects.add_group() for _ in range(2)]
        own = _ITS_OWN.get(case.failure, ("", ""))[1] if case.fails_itself else traps.HOLD
        order = {
            "case": case.name,
            "step": case.step.name,
            "do": own,
            "entries": case.entries,
            "trapped": case.trapped,
            "groups": groups,
        }
        path = self._directory / f"{case.name}.draft"
        path.write_text(json.dumps(order))
        path.rename(path.with_suffix(".order"))
        told = self._directory / f"{case.name}.sprung"
        self._wait(told.exists, f"an entry to be {case.step.name}")
        self._fail(case, json.loads(told.read_text()))
        self._wait(lambda: self._is_over(case), f"what {case.name} left to be applied")
        return groups

    def _is_over(self, case: Case) -> bool:
        may_follow = case.step.late and case.failure is not Failure.EDGE_KILLED
        is_written = not may_follow or (self._directory / f"{case.name}.done").exists()
        return is_written and not self._pending()

    def _pending(self) -> int:
        return journals.entries_pending(self._directory / "edge")

    # What fails.

    def _fail(self, case: Case, told: dict[str, str]) -> None:
        endpoint = self._endpoint_of(told)
        conductor = self._conductor_of(told)
        release = (self._directory / f"{case.name}.released").touch
        if case.failure is Failure.ENDPOINT_KILLED:
            self._endpoints[endpoint].kill()
            release()
            self._await_elsewhere(case)
            self._endpoints[endpoint] = self._start_endpoint(endpoint)
        elif case.failure is Failure.CONDUCTOR_KILLED:
            self._conductors[conductor].kill()
            release()
            self._await_elsewhere(case)
            self._start_conductor(conductor)
        elif case.failure is Failure.ENDPOINT_SILENT:
            self._endpoints[endpoint].signal(signal.SIGSTOP)
            release()
            time.sleep(SILENCE)
            self._endpoints[endpoint].signal(signal.SIGCONT)
        elif case.failure is Failure.CONDUCTOR_SILENT:
            self._silence_conductor(case, conductor, release)
        elif case.failure is Failure.LINK_DROPPED:
            self._cut(endpoint)
            release()
            self._await_elsewhere(case)
            self._relays[endpoint].resume()
        elif case.failure is Failure.CONDUCTOR_GONE_IN_CUT:
            self._cut(0, 1)
            self._conductors[conductor].kill()
            release()
            time.sleep(SILENCE)
            for relay in self._relays:
                relay.resume()
            self._await_elsewhere(case)
            self._start_conductor(conductor)
        else:
            self._edge.kill()
            release()
            self._edge = self._start_edge()

    def _cut(self, *endpoints: int) -> None:
        for endpoint in endpoints:
            self._relays[endpoint].silence()
            self._relays[endpoint].reset()

    def _silence_conductor(self, case: Case, name: str, release: Callable[[], None]) -> None:
        """Until its groups have gone on without it, unless it keeps everybody from the rows.

        SQLite has one lock for all rows, which other entries may hold in it.
        """
        conductor = self._conductors[name]
        if not case.fails_itself and case.step.process != steps.CONDUCTOR:
            self._reached(lambda: self._is_idle(name), _MOVED_SECONDS)
        conductor.signal(signal.SIGSTOP)
        release()
        patience = SILENCE if case.step.holds_rows else _MOVED_SECONDS
        self._reached(lambda: self._is_over(case), patience)
        conductor.signal(signal.SIGCONT)
        self._wait(lambda: self._is_idle(name), f"conductor {name} to be through")

    def _is_idle(self, name: str) -> bool:
        done = collections.Counter((self._directory / f"work-{name}").read_bytes())
        return done[ord("+")] == done[ord("-")]

    def _endpoint_of(self, told: dict[str, str]) -> int:
        if told["who"].startswith("endpoint-"):
            return int(told["who"].removeprefix("endpoint-"))
        port = int(told["endpoint"].rpartition(":")[2] or 0)
        relayed = [relay.addresses[0][1] for relay in self._relays]
        for ports in (self._ports, relayed):
            if port in ports:
                return ports.index(port)
        return 0

    def _conductor_of(self, told: dict[str, str]) -> str:
        for name in CONDUCTORS:
            if told["who"] == name or told["peer"] == self._peer_of(name):
                return name
        return CONDUCTORS[0]

    def _peer_of(self, name: str) -> str:
        return (self._directory / f"{name}.ready").read_text()

    def _await_elsewhere(self, case: Case) -> None:
        self._wait(lambda: self._is_over(case), f"{case.name} to go on elsewhere")

    # Processes.

    def _start_endpoint(self, number: int) -> forker.Child:
        ready = self._fresh(f"endpoint-{number}.ready")
        child = self._forker.fork(
            "endpoint",
            f"endpoint-{number}",
            port=self._ports[number],
            ready=str(ready),
            directory=str(self._directory),
            name=f"endpoint-{number}",
        )

        def bound() -> bool:
            found = stage.BOUND.search(ready.read_text()) if ready.exists() else None
            if found:
                self._ports[number] = int(found[1])
            return bool(found)

        self._wait(bound, f"{child.name} to listen")
        return child

    def _start_conductor(self, name: str) -> None:
        ready = self._fresh(f"{name}.ready")
        self._conductors[name] = self._forker.fork(
            "conductor",
            name,
            url=_url(self._ports),
            name=name,
            directory=str(self._directory),
            database=self._database,
        )
        self._wait(ready.exists, f"conductor {name} to listen")

    def _start_edge(self) -> forker.Child:
        self._lives += 1
        ready = self._fresh(f"edge-{self._lives}.ready")
        child = self._forker.fork(
            "edge",
            "edge",
            url=_url([relay.addresses[0][1] for relay in self._relays]),
            directory=str(self._directory),
            database=self._database,
            life=self._lives,
        )
        self._wait(ready.exists, "the edge")
        return child

    def _fresh(self, name: str) -> pathlib.Path:
        path = self._directory / name
        path.unlink(missing_ok=True)
        return path

    def _wait(self, check: Callable[[], bool], what: str) -> None:
        if not self._reached(check, SECONDS):
            raise AssertionError(f"waited {SECONDS:g} s in vain for {what}\n{self.report()}")

    @staticmethod
    def _reached(check: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not check():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def report(self) -> str:
        """The end of the logs."""
        seen = {child.log: child for child in self._forker.children}
        return "\n".join(f"--- {log.name}\n{child.tail(40)}" for log, child in seen.items())


def _url(ports: list[int]) -> str:
    return f"edgebus://{','.join(f'127.0.0.1:{port}' for port in ports)}/"
