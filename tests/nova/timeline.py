# SPDX-License-Identifier: Apache-2.0
"""What edge and centre say of a compute's servers while time passes, sampled by a thread."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple

import requests

from tests.nova import hypervisor
from tests.nova import journals
from tests.nova.bus import journal_directory
from tests.nova.client import NovaClient
from tests.nova.client import Server
from tests.nova.stack import Compute
from tests.nova.stack import NovaStack

_SAMPLE_SECONDS = 0.5
_STOP_SECONDS = 240
GONE = "gone"
SERVING = "serves"
STARTING = "starts"
DOWN = "down"
_POWER = {
    0: "NOSTATE",
    hypervisor.RUNNING: "RUNNING",
    hypervisor.PAUSED: "PAUSED",
    hypervisor.SHUTDOWN: "SHUTDOWN",
    hypervisor.CRASHED: "CRASHED",
    hypervisor.SUSPENDED: "SUSPENDED",
}


class CentralState(NamedTuple):
    """A server as nova-api shows it."""

    status: str
    task_state: str | None
    power_state: str

    def __str__(self) -> str:
        if self.status == GONE:
            return GONE
        task = f" ({self.task_state})" if self.task_state else ""
        return f"{self.status}{task}, {self.power_state}"


_NO_SERVER = CentralState(GONE, None, GONE)


@dataclasses.dataclass(frozen=True)
class Sample:
    """What was seen at one moment.

    `at` is in seconds since the timeline's zero. `compute` is what nova-compute does: SERVING,
    STARTING or DOWN. `edge` and `centre` are by server id; the edge is
    what the hypervisor has, whether nova-compute runs or not. `pending` is the number of entries
    in the compute's outbox without an outcome, None where the bus keeps no journal.
    """

    at: float
    linked: bool
    compute: str
    service_up: bool
    pending: int | None
    edge: Mapping[str, str]
    centre: Mapping[str, CentralState]


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that was done at one moment, in words; `at` as in Sample."""

    at: float
    what: str


@dataclasses.dataclass
class Timeline:
    """Samples and events, oldest first."""

    samples: list[Sample] = dataclasses.field(default_factory=list)
    events: list[Event] = dataclasses.field(default_factory=list)

    def first(self, what: str) -> float | None:
        """Return when an event of these words came first, None if it never did."""
        return next((event.at for event in self.events if event.what == what), None)


def edge_states(compute: Compute, server_ids: list[str]) -> dict[str, str]:
    """Return each server's power state by name as the hypervisor has it, or `gone`."""
    domains = compute.hypervisor.domains()
    return {each: _POWER[domains[each].state] if each in domains else GONE for each in server_ids}


def central_states(client: NovaClient, server_ids: list[str]) -> dict[str, CentralState]:
    """Return each server as nova-api shows it."""
    shown = {server["id"]: _central(server) for server in client.servers()}
    return {each: shown.get(each, _NO_SERVER) for each in server_ids}


class Recorder:
    """Fills a timeline for as long as its `with` block lasts."""

    def __init__(self, stack: NovaStack, compute: Compute, server_ids: list[str]) -> None:
        """Watch these servers of this compute."""
        self.timeline = Timeline()
        self._compute = compute
        self._server_ids = server_ids
        self._serving_pid: int | None = None
        self._client = NovaClient(stack.api_url)  # a session of its own: it is used by a thread
        self._began = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="timeline", daemon=True)

    def __enter__(self) -> Recorder:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join(_STOP_SECONDS)

    @property
    def now(self) -> float:
        """Seconds since the recorder's start."""
        return time.monotonic() - self._began

    def note(self, what: str) -> None:
        """Add an event that happens now."""
        self.timeline.events.append(Event(self.now, what))

    def counted_from(self, zero: float) -> Timeline:
        """Return the timeline with another moment for zero; call it after the `with` block.

        :param zero: in seconds since the recorder's start
        """

        def moved(what: Sample | Event) -> float:
            return what.at - zero

        return Timeline(
            [dataclasses.replace(each, at=moved(each)) for each in self.timeline.samples],
            [dataclasses.replace(each, at=moved(each)) for each in self.timeline.events],
        )

    def _run(self) -> None:
        while not self._stopped.wait(_SAMPLE_SECONDS):
            try:
                self.timeline.samples.append(self._sample())
            except requests.RequestException as error:
                self.note(f"nova-api does not answer: {type(error).__name__}")

    def _sample(self) -> Sample:
        directory = journal_directory(self._compute.state)
        return Sample(
            at=self.now,
            linked=self._compute.site.linked,
            compute=self._compute_state(),
            service_up=self._client.is_up(self._compute.host),
            pending=journals.entries_pending(directory) if directory.exists() else None,
            edge=edge_states(self._compute, self._server_ids),
            centre=central_states(self._client, self._server_ids),
        )

    def _compute_state(self) -> str:
        process = self._compute.process
        if not process.alive:
            return DOWN
        # what has once served does until it ends, and its log need not be read again
        if self._serving_pid != process.pid and self._compute.serves:
            self._serving_pid = process.pid
        return SERVING if self._serving_pid == process.pid else STARTING


def _central(server: Server) -> CentralState:
    return CentralState(
        str(server["status"]),
        server["OS-EXT-STS:task_state"],
        _POWER[server["OS-EXT-STS:power_state"]],
    )
