# SPDX-License-Identifier: Apache-2.0
"""A model world: processes, endpoints and what lies between, moved on by one small step a time."""

import dataclasses
from collections.abc import Callable

from nova_edge_bus.delivery import sender
from tests.unit.delivery import journals
from tests.unit.delivery import ledger as ledgers
from tests.unit.delivery import process as processes
from tests.unit.delivery import wires

TOPIC = "v/e/conductor"
GROUPS = ["", "instance:a", "instance:b"]
STEP = 0.004
"""Seconds that pass with each step."""


@dataclasses.dataclass
class Place:
    """Where a process lives: its journal, and what it listens to, outlive it."""

    name: str
    journal: journals.Journal
    listenings: list[processes.Listening]
    process: processes.Process | None = None


class World:
    """Two conductors, two computes, and as many endpoints as are asked for."""

    def __init__(self, *, endpoints: int, grace: float, second_inbox: bool) -> None:
        self.now = 100.0
        self.ledger = ledgers.Ledger(second_inbox=second_inbox)
        self.limits = sender.Limits(
            window_messages=5, window_bytes=1 << 20, ack_timeout=5.0, consumer_grace=grace
        )
        self.endpoints = [wires.Endpoint(f"endpoint{number}") for number in range(endpoints)]
        self.places = [
            self._place("conductor0", [TOPIC, f"{TOPIC}/conductor0"], pools=["", "audit"]),
            self._place("conductor1", [TOPIC, f"{TOPIC}/conductor1"], pools=[""]),
            self._place("compute0", ["v/e/compute/compute0"], pools=[]),
            self._place("compute1", ["v/e/compute/compute1"], pools=[]),
        ]
        for place in self.places:
            self.start(place)

    def _place(self, name: str, addresses: list[str], pools: list[str]) -> Place:
        listenings = [processes.Listening(1, addresses)]
        for number, pool in enumerate(pools, start=2):
            listenings.append(processes.Listening(number, [processes.NOTIFICATIONS], pool))
        return Place(name, journals.Journal(name.encode()[-8:]), listenings)

    # What may befall it

    def start(self, place: Place) -> None:
        place.process = processes.Process(
            place.name,
            place.journal,
            place.listenings,
            self.endpoints,
            self.ledger,
            self.limits,
            self.now,
        )
        place.process.listen_to_all()

    def crash(self, place: Place, committed: int, *, endpoint_knows: bool) -> None:
        """A process dies at a moment when so many operations more were committed."""
        process = place.process
        assert process is not None
        place.journal.commit(committed)
        for link in process.links.values():
            if link is not None:
                link.abandon(endpoint_knows=endpoint_knows)
        self.ledger.died(process.peer)
        place.process = None

    def live(self) -> list[processes.Process]:
        return [place.process for place in self.places if place.process is not None]

    # One step a time

    def steps(self) -> list[Callable[[], None]]:
        """Everything that can happen next."""
        found: list[Callable[[], None]] = []
        for endpoint in self.endpoints:
            found += self._steps_of_endpoint(endpoint)
        for process in self.live():
            found += self._steps_of_process(process)
        return found

    def _steps_of_endpoint(self, endpoint: wires.Endpoint) -> list[Callable[[], None]]:
        def carry(connection: wires.Connection) -> None:
            connection.carry_up(self.now)
            endpoint.turn(self.now)

        return [
            lambda connection=connection: carry(connection)
            for connection in endpoint.connections.values()
            if connection.up
        ]

    def _steps_of_process(self, process: processes.Process) -> list[Callable[[], None]]:
        found: list[Callable[[], None]] = [lambda: process.turn(self.now)]
        for name, link in process.links.items():
            if link is not None and link.down:
                found.append(lambda name=name: process.carry(name, self.now))
        if process.journal.queue:
            found.append(process.journal.commit)
        if process.journal.committed:
            found.append(process.journal.call_back)
        for number, mailbox in process.mailboxes.items():
            if mailbox:
                found.append(lambda number=number: process.start_work(number))
        if process.working:
            found.append(lambda: process.finish_work(0))
            found.append(lambda: process.finish_work(len(process.working) - 1))
        return found

    def step(self, pick: int) -> None:
        steps = self.steps()
        if steps:
            steps[pick % len(steps)]()
        self.pass_time(STEP)

    def pass_time(self, seconds: float) -> None:
        """Let time pass; what is due in it happens."""
        before = self.now
        self.now += seconds
        if int(before * 4) != int(self.now * 4):
            for process in self.live():
                process.look_after(self.now)
                process.turn(self.now)
        for endpoint in self.endpoints:
            endpoint.turn(self.now)

    def run(self, rounds: int = 3) -> None:
        """Let everything happen that can, again and again, for that many rounds of a turn."""
        for _ in range(rounds):
            for endpoint in self.endpoints:
                for connection in list(endpoint.connections.values()):
                    while connection.up:
                        connection.carry_up(self.now)
                endpoint.turn(self.now)
            for process in self.live():
                self._run_process(process)
            self.pass_time(0.03)

    def _run_process(self, process: processes.Process) -> None:
        for name in process.links:
            while (link := process.links[name]) is not None and link.down:
                process.carry(name, self.now)
        for number, mailbox in process.mailboxes.items():
            while mailbox:
                process.start_work(number)
        while process.working:
            process.finish_work(0)
        process.journal.commit()
        process.journal.call_back()
        process.turn(self.now)

    # The end

    def heal(self) -> None:
        """Everybody comes back."""
        for endpoint in self.endpoints:
            if endpoint.router is None:
                endpoint.start()
        for place in self.places:
            if place.process is None:
                self.start(place)
            process = place.process
            assert process is not None
            process.blocked.clear()
            process.listen_to_all()

    def drain(self, seconds: float) -> None:
        """Let everything happen until nothing is left to be settled, or the time is over."""
        deadline = self.now + seconds
        while self.now < deadline:
            self.run()
            if not any(place.journal.pending for place in self.places) and not self.busy():
                return
            self.pass_time(0.25)

    def busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self.ledger.awaited_calls()) or any(
            any(process.mailboxes.values()) or process.working for process in self.live()
        )
