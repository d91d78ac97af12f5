# SPDX-License-Identifier: Apache-2.0
"""The processes of a run: how they are started, found and ended."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable
from typing import Any

from tests.consistency import schedule
from tests.faults import forker as forkers
from tests.faults import stage
from tests.nova import processes
from tests.nova.relay import Relay

SECONDS = 60.0
ROLES = "tests.consistency.roles"


class Processes:
    """Hosts behind links of their own, endpoints, and conductors on a cell's database.

    :param directory: of this run alone
    :param mutant: what is wrong with the code of all of them
    """

    def __init__(
        self,
        directory: pathlib.Path,
        database: str,
        forker: forkers.Forker,
        *,
        seed: int = 0,
        threads: int = 2,
        write_behind: bool = False,
        mutant: str = "",
    ) -> None:
        directory.mkdir()
        self.directory = directory
        self._database = database
        self._forker = forker
        self._seed = seed
        self._threads = threads
        self._write_behind = write_behind
        self._mutant = mutant
        self._lives = itertools.count(1)
        self._sessions = itertools.count(1)
        self._ports = [0] * schedule.ENDPOINTS
        self._endpoints: list[forkers.Child] = []
        self._relays: dict[str, list[Relay]] = {}
        self._conductors: dict[str, forkers.Child] = {}
        self._hosts: dict[str, forkers.Child] = {}
        self._sides: dict[str, str] = {}
        self.life: dict[str, int] = {}
        self.groups: dict[str, list[str]] = {}

    def start(self) -> None:
        """Start all; the hosts are those that have groups."""
        for number in range(schedule.ENDPOINTS):
            self._endpoints.append(self._start_endpoint(number))
        for name in schedule.CONDUCTORS:
            self._conductors[name] = self._start_conductor(name)
        for name in self.groups:
            self._relays[name] = [Relay([("127.0.0.1", port)]) for port in self._ports]
            for relay in self._relays[name]:
                relay.start()
            self._begin_session(name)
            self.start_host(name)

    def close(self) -> None:
        """Kill what runs."""
        for relays in self._relays.values():
            for relay in relays:
                relay.stop()
        for child in [*self._endpoints, *self._conductors.values(), *self._hosts.values()]:
            child.kill()

    def _begin_session(self, name: str) -> None:
        """What a host reads from now on does not follow from what it has read before."""
        self._sides[name] = f"{name}/{next(self._sessions)}"

    def _journals(self, name: str) -> pathlib.Path:
        return self.directory / f"journal-{name}"

    def _open_journals(self) -> list[pathlib.Path]:
        """The directories of the journals that count."""
        clones = {
            each.name.removesuffix("-clone"): each for each in self.directory.glob("*-clone")
        }
        return [clones.get(name, self._journals(name)) for name in self._hosts]

    def _start_endpoint(self, number: int) -> forkers.Child:
        ready = self._fresh(f"endpoint-{number}.ready")
        child = self._fork("endpoint", f"endpoint-{number}", port=self._ports[number])

        def bound() -> bool:
            found = stage.BOUND.search(ready.read_text()) if ready.exists() else None
            if found:
                self._ports[number] = int(found[1])
            return bool(found)

        self.wait(bound, f"{child.name} to listen")
        return child

    def _start_conductor(self, name: str, death: str = "") -> forkers.Child:
        ready = self._fresh(f"{name}.ready")
        child = self._fork(
            "conductor", name, url=_url(self._ports), database=self._database, death=death
        )
        self.wait(ready.exists, f"conductor {name} to listen")
        return child

    def start_host(self, name: str, journal: pathlib.Path | None = None) -> None:
        """Start a host's next life, and wait until it has its journal."""
        self.life[name] = next(self._lives)
        ready = self._fresh(f"{name}-{self.life[name]}.ready")
        clone = self.directory / f"{name}-clone"
        open_journal = journal or (clone if clone.exists() else self._journals(name))
        self._hosts[name] = self._fork(
            "host",
            name,
            url=_url([relay.addresses[0][1] for relay in self._relays[name]]),
            life=self.life[name],
            session=self._sides[name],
            journals=str(open_journal),
            groups=self.groups[name],
            servers=list(schedule.CONDUCTORS),
            seed=self._seed,
            threads=self._threads,
            pause=0.04,
            write_behind=self._write_behind,
        )
        self.wait(ready.exists, f"host {name}")

    def _fork(self, role: str, name: str, **arguments: Any) -> forkers.Child:
        named = {
            "host": {"host": name},
            "endpoint": {"ready": str(self.directory / f"{name}.ready")},
        }
        more = named.get(role, {}) | ({} if role == "host" else {"name": name})
        return self._forker.fork(
            role,
            f"{self.directory.name}-{name}",
            directory=str(self.directory),
            mutant=self._mutant,
            **more,
            **arguments,
        )

    def _fresh(self, name: str) -> pathlib.Path:
        path = self.directory / name
        path.unlink(missing_ok=True)
        return path

    def wait(self, check: Callable[[], bool], what: str) -> None:
        """Return as soon as check() is true.

        :raises AssertionError: when it does not get so; with the ends of the logs
        """
        try:
            processes.wait_until(check, SECONDS, what)
        except processes.NotReadyError as error:
            raise AssertionError(f"{error}\n{self.report()}") from None

    def report(self) -> str:
        """The ends of the logs."""
        prefix = f"{self.directory.name}-"
        seen = {
            child.log: child for child in self._forker.children if child.name.startswith(prefix)
        }
        return "\n".join(f"--- {log.name}\n{child.tail(25)}" for log, child in seen.items())


def _url(ports: list[int]) -> str:
    return f"edgebus://{','.join(f'127.0.0.1:{port}' for port in ports)}/"
