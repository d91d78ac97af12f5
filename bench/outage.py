# SPDX-License-Identifier: Apache-2.0
"""A host whose link falls silent, that is killed and started again in the silence, and healed.

Both buses go through it at the same time, each with a host, a centre and a relay of its own.
"""

import collections.abc
import contextlib
import dataclasses
import json
import pathlib
import time
import typing
import urllib.parse

from bench import backends
from bench import bodies
from bench import host
from bench import places
from bench import processes
from tests.nova import relay

RESTART_AT = 0.75
"""When in the cut the host is killed: late enough for an RPC's 60 seconds to end within 90."""
_INTERVAL = 0.25
_LINKED_SECONDS = 3.0
"""How long all goes well before the cut."""
_LOOK = 0.25
LONG = 1.0
"""Seconds from which on a call counts as stalled."""


@dataclasses.dataclass(frozen=True)
class Window:
    """When what was done, in monotonic seconds."""

    cut_at: float
    killed_at: float
    started_at: float
    healed_at: float
    ended_at: float


@dataclasses.dataclass(frozen=True)
class Stall:
    """How long one thread of the host stood still in the cut, and how many calls failed.

    ``stalled`` is the sum of all calls of :data:`LONG` and more.
    """

    thread: str
    calls: int
    longest: float
    stalled: float
    failed: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of the events of one bus's host, from the cut on.

    ``late`` is the longest time, in seconds, from an event until the centre knew it, of those
    that it came to know.
    """

    bus: str
    stalls: list[Stall]
    events: int
    acknowledged: int
    applied: int
    lost: int
    lost_though_acknowledged: int
    repeated: int
    late: float
    heal_seconds: float


class Site:
    """One bus with a centre, a link and a host."""

    def __init__(self, backend: backends.Backend, directory: pathlib.Path, size: int) -> None:
        """
        :param directory: existing, for logs and notes
        :param size: bytes of an instance
        """
        self.name = backend.name
        self._backend = backend
        self._directory = directory
        self._size = size
        self._stack = contextlib.ExitStack()
        self._notes = directory / f"{self.name}-calls.jsonl"

    def __enter__(self) -> "Site":
        with contextlib.ExitStack() as stack:
            self._backend.open()
            stack.callback(self._backend.close)
            self._centre = self._worker(stack, "centre", self._backend.place("centre"))
            self._centre.ask("begin", size=self._size)
            far = self._backend.place("host")
            self.link = relay.Relay([address(far)])
            stack.callback(self.link.stop)
            self.link.start()
            self._far = through(far, self.link.addresses[0])
            self._host = self._worker(stack, "host", self._far)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _worker(
        self, stack: contextlib.ExitStack, role: str, place: places.Place
    ) -> processes.Worker:
        worker = processes.Worker(role, self.name, self._directory / f"{self.name}-{role}.log")
        stack.callback(worker.kill)
        worker.ask("open", place=vars(place))
        return worker

    def begin(self, life: int, *, linked: bool) -> None:
        """Let the host work."""
        self._host.ask(
            "begin",
            log=str(self._notes),
            life=life,
            size=self._size,
            interval=_INTERVAL,
            linked=linked,
        )

    def kill(self) -> None:
        """Kill the host."""
        self._host.kill()

    def restart(self) -> None:
        """Start a host anew, while the link is silent."""
        self._host = self._worker(self._stack, "host", self._far)
        self.begin(2, linked=False)

    def is_done(self) -> bool:
        """Whether the host has dealt with its events, and the centre knows all it was told."""
        if self._host.ask("waiting")["waiting"] > 1:
            return False
        told = {
            key
            for key, error in _ended(self._records(), host.EVENTS)
            # The newest may be under way at any time.
            if error is None
        }
        arrived = self._centre.ask("arrivals")["arrivals"]
        return sum(bodies.request_id(*key) not in arrived for key in told) <= 1

    def _records(self) -> list[dict[str, typing.Any]]:
        lines = self._notes.read_text().splitlines() if self._notes.exists() else []
        return [json.loads(line) for line in lines]

    def outcome(self, window: Window) -> Outcome:
        """What became of everything."""
        arrived = self._centre.ask("arrivals")["arrivals"]
        return judge(self.name, self._records(), arrived, window)


def address(place: places.Place) -> tuple[str, int]:
    """Where the one listener of a bus is."""
    parts = urllib.parse.urlsplit(place.url)
    return parts.hostname or "127.0.0.1", parts.port or 5672


def through(place: places.Place, address: tuple[str, int]) -> places.Place:
    """The same place, dialled at another address."""
    parts = urllib.parse.urlsplit(place.url)
    login, at, _ = parts.netloc.rpartition("@")
    netloc = f"{login}{at}{address[0]}:{address[1]}"
    return dataclasses.replace(place, url=urllib.parse.urlunsplit(parts._replace(netloc=netloc)))


_Key = tuple[int, int]


def _ended(
    records: list[dict[str, typing.Any]], what: str
) -> collections.abc.Iterator[tuple[_Key, str | None]]:
    for each in records:
        if each["what"] == what and each.get("step") == "end":
            yield (each["life"], each["number"]), each["error"]


def judge(
    bus: str,
    records: list[dict[str, typing.Any]],
    arrived: dict[str, list[float]],
    window: Window,
) -> Outcome:
    """Say what became of everything, from the notes of the host and of the centre.

    :param records: what both lives of the host have noted
    :param arrived: when each save came to the centre, by its request id
    """
    happened = {
        (each["life"], each["number"]): each["at"]
        for each in records
        if each["what"] == "event" and window.cut_at <= each["at"] <= window.healed_at
    }
    acknowledged = {
        key for key, error in _ended(records, host.EVENTS) if error is None and key in happened
    }
    came = {
        key: arrived[bodies.request_id(*key)]
        for key in happened
        if bodies.request_id(*key) in arrived
    }
    last = max((times[0] for times in came.values()), default=window.healed_at)
    return Outcome(
        bus=bus,
        stalls=[
            _stall(records, thread, window)
            for thread in (host.HEARTBEAT, host.READER, host.EVENTS)
        ],
        events=len(happened),
        acknowledged=len(acknowledged),
        applied=len(came),
        lost=len(happened) - len(came),
        lost_though_acknowledged=len(acknowledged - came.keys()),
        repeated=sum(len(times) > 1 for times in came.values()),
        late=max((times[0] - happened[key] for key, times in came.items()), default=0.0),
        heal_seconds=max(0.0, last - window.healed_at),
    )


def _stall(records: list[dict[str, typing.Any]], thread: str, window: Window) -> Stall:
    begun: dict[_Key, float] = {}
    lengths: list[float] = []
    failed = 0
    for each in records:
        key = (each["life"], each["number"])
        if each["what"] != thread:
            continue
        if each["step"] == "begin":
            begun[key] = each["at"]
            continue
        since = begun.pop(key)
        if each["at"] >= window.cut_at and since <= window.healed_at:
            lengths.append(each["at"] - since)
            failed += each["error"] is not None
    for (life, _), since in begun.items():
        # These were under way when the host was killed, or when nobody waited any longer.
        if since <= window.healed_at:
            lengths.append((window.killed_at if life == 1 else window.ended_at) - since)
    return Stall(
        thread=thread,
        calls=len(lengths),
        longest=max(lengths, default=0.0),
        stalled=sum(length for length in lengths if length >= LONG),
        failed=failed,
    )


def run(
    sites: collections.abc.Sequence[Site],
    cut_seconds: float,
    patience: float,
    progress: collections.abc.Callable[[str], None],
) -> list[Outcome]:
    """Put open *sites* through one cut of so many seconds.

    :param patience: seconds after the heal in which what is left has to arrive
    :raises bench.processes.ChildFailed: when a process fails otherwise than by being killed
    """
    for site in sites:
        site.begin(1, linked=True)
    time.sleep(_LINKED_SECONDS)
    progress(f"silent for {cut_seconds:g} s")
    cut_at = time.monotonic()
    for site in sites:
        site.link.silence()
    time.sleep(RESTART_AT * cut_seconds)
    progress("the hosts are killed and started again")
    killed_at = time.monotonic()
    for site in sites:
        site.kill()
    for site in sites:
        site.restart()
    started_at = time.monotonic()
    time.sleep(max(0.0, cut_at + cut_seconds - started_at))
    progress("healed")
    healed_at = time.monotonic()
    for site in sites:
        site.link.resume()
    while time.monotonic() < healed_at + patience and not all(site.is_done() for site in sites):
        time.sleep(_LOOK)
    window = Window(cut_at, killed_at, started_at, healed_at, time.monotonic())
    return [site.outcome(window) for site in sites]
