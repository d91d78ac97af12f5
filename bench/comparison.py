# SPDX-License-Identifier: Apache-2.0
"""The run itself: every scenario in rounds that go over the buses in turns."""

import collections.abc
import contextlib
import pathlib
import time

from bench import backends
from bench import figures
from bench import places
from bench import processes
from bench import usage

_CALL_TIMEOUT = 60.0
"""Seconds that oslo.messaging waits for a reply, unless told otherwise."""
_COPIES = {"fanout": len(places.SCHEDULER_HOSTS)}
"""How often a message of a kind arrives, where not once."""
_SETTLE = 0.5
"""Seconds that a message sent twice gets to arrive the second time."""


class Bus:
    """A backend with its two processes and the rounds that were run on it."""

    def __init__(
        self, backend: backends.Backend, logs: pathlib.Path, concurrency: str = "threads"
    ) -> None:
        """
        :param logs: existing directory for what the processes write to standard error
        :param concurrency: ``threads`` or ``eventlet``, of both sides
        """
        self.name = backend.name
        self._concurrency = concurrency
        self._backend = backend
        self._logs = logs
        self._stack = contextlib.ExitStack()
        self._rounds: dict[figures.Scenario, list[figures.Round]] = {}
        self._warmups: dict[figures.Scenario, list[figures.Round]] = {}

    def __enter__(self) -> "Bus":
        with contextlib.ExitStack() as stack:
            self._backend.open()
            stack.callback(self._backend.close)
            self._receiver = self._worker(stack, "receiver")
            self._sender = self._worker(stack, "sender")
            self._carriers = self._backend.carriers()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _worker(self, stack: contextlib.ExitStack, role: str) -> processes.Worker:
        log = self._logs / f"{self.name}-{self._concurrency}-{role}.log"
        worker = processes.Worker(role, self.name, log, self._concurrency)
        stack.callback(worker.stop)
        worker.ask("open", place=vars(self._backend.place(role)))
        return worker

    def version(self) -> str:
        """See :meth:`bench.backends.Backend.version`."""
        return self._backend.version()

    def warm_up(
        self, scenario: figures.Scenario, number: int, seconds: float, patience: float
    ) -> None:
        """Run a round whose messages are counted but whose times are not."""
        self._receiver.ask("expect", size=scenario.size)
        done = self._round(scenario, number, seconds, patience)
        self._warmups.setdefault(scenario, []).append(done)

    def run(
        self, scenario: figures.Scenario, number: int, seconds: float, patience: float
    ) -> None:
        """Run one timed round, and wait until all of it has arrived.

        :param patience: seconds without an arrival after which what is missing is given up
        """
        done = self._round(scenario, number, seconds, patience)
        self._rounds.setdefault(scenario, []).append(done)

    def _round(
        self, scenario: figures.Scenario, number: int, seconds: float, patience: float
    ) -> figures.Round:
        before = self._cpu_seconds()
        sent = self._sender.ask(
            "run",
            timeout=seconds + 3 * _CALL_TIMEOUT,
            kind=scenario.kind,
            size=scenario.size,
            callers=scenario.callers,
            seconds=seconds,
            round=number,
            rate=scenario.rate,
        )
        owed = sent.pop("numbers") * _COPIES.get(scenario.kind, 1)
        tally = self._receiver.ask(
            "tally", timeout=3600.0, round=number, numbers=owed, patience=patience
        )
        spent = {name: used - before[name] for name, used in self._cpu_seconds().items()}
        memory = {name: usage.memory_bytes(pid) for name, pid in self._parts().items()}
        return figures.Round(
            number=number, numbers=owed, tally=tally, cpu=spent, memory=memory, **sent
        )

    def _parts(self) -> dict[str, int]:
        """The processes of this bus."""
        sides = {"sender": self._sender.pid, "receiver": self._receiver.pid}
        return {**sides, **self._carriers}

    def _cpu_seconds(self) -> dict[str, float]:
        return {name: usage.cpu_seconds(pid) for name, pid in self._parts().items()}

    def recount(self) -> None:
        """Ask again how every round was counted, so that late repetitions show."""
        for rounds in (*self._rounds.values(), *self._warmups.values()):
            for one in rounds:
                again = self._receiver.ask(
                    "tally", round=one.number, numbers=one.numbers, patience=0.0
                )
                one.tally.update({name: again[name] for name in ("once", "never", "repeated")})

    def results(self) -> list[figures.Result]:
        """The figures of every scenario that has a timed round."""
        return [
            figures.summarise(
                self.name,
                self._concurrency,
                scenario,
                rounds,
                rounds + self._warmups.get(scenario, []),
            )
            for scenario, rounds in self._rounds.items()
        ]


def compare(
    buses: collections.abc.Sequence[Bus],
    scenarios: collections.abc.Sequence[figures.Scenario],
    rounds: int,
    seconds: float,
    patience: float,
    progress: collections.abc.Callable[[str], None],
) -> None:
    """Run all *scenarios* on all *buses*, each for *seconds* in so many *rounds*.

    The buses take turns within each round, and the first of a round is not the first of the next,
    so that what else happens on the machine meets all of them.

    :param patience: seconds, see :meth:`Bus.run`
    :raises bench.processes.ChildFailed: when a process of a bus fails; what was run stays.
    """
    number = 0
    share = seconds / rounds
    for done, scenario in enumerate(scenarios, 1):
        progress(f"{done}/{len(scenarios)} {scenario}")
        for turn in range(rounds + 1):
            for position in range(len(buses)):
                bus = buses[(turn + position) % len(buses)]
                number += 1
                if turn == 0:
                    bus.warm_up(scenario, number, share / 2, patience)
                else:
                    bus.run(scenario, number, share, patience)
    time.sleep(_SETTLE)
    for bus in buses:
        bus.recount()
