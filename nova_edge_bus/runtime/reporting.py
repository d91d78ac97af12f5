# SPDX-License-Identifier: Apache-2.0
"""Tells operators what only this process knows: a record beside its journal, in a moment's time.

The I/O thread puts the record together, which takes microseconds; a thread of its own writes it,
so that a disk that does not answer holds up nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from nova_edge_bus import concurrency
from nova_edge_bus import settings as settings_module
from nova_edge_bus.journal import status
from nova_edge_bus.runtime import bus as bus_module
from nova_edge_bus.runtime import figures as figures_module
from nova_edge_bus.runtime import store as store_module
from nova_edge_bus.transport import timed

LOG = concurrency.NativeLogger(__name__)

LOOK_SECONDS = 1.0
"""How often it is looked whether anything has changed."""
STOP_TIMEOUT = 2.0
"""Seconds that the last record may take to be written."""
REPEAT_WARNING = 600.0
_LINKED = "linked"
_CUT_OFF = "cut off"


class Reporter(timed.Timed):
    """Writes the record of one process; a service on its loop.

    :param buses: gives all buses of the process
    :param adopted: gives the files of the journals that it has adopted
    :param hosted: gives what the endpoint counts that the process hosts, if it does
    """

    def __init__(
        self,
        store: store_module.Store,
        settings: settings_module.Settings,
        figures: figures_module.Figures,
        buses: Callable[[], Iterable[bus_module.Bus]],
        adopted: Callable[[], list[str]],
        hosted: Callable[[], dict[str, Any] | None] = lambda: None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._figures = figures
        self._buses = buses
        self._adopted = adopted
        self._hosted = hosted
        self._started_at = time.time()
        self._since: dict[tuple[str, ...], tuple[str, float]] = {}
        self._look_at = 0.0
        self._looked_at = 0.0
        self._write_at = 0.0
        self._last: dict[str, Any] | None = None
        self._now: dict[str, Any] = {}
        self._wake = concurrency.native.threading.Condition()
        self._unwritten: dict[str, Any] | None = None
        self._stopping = False
        self._thread = concurrency.spawn("edge-bus-status", self._main)

    def next_deadline(self) -> float | None:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        return self._look_at

    def tick(self, now: float) -> None:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        state = self._state(now)
        self._now = self._passing()
        self._looked_at = time.time()
        if self._last is None or state != self._last or now >= self._write_at:
            self._write_at = now + status.INTERVAL
            self._last = state
            self._hand_over(state, status.RUNNING)

    def close(self) -> None:
        """Write that the process has stopped; after the loop's end, before the slot is free."""
        self._now = {}
        self._hand_over(self._last or {}, "stopped")
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if not concurrency.join(self._thread, STOP_TIMEOUT):
            LOG.warning("the status of journal %s is still being written", self._store.path)

    def latest(self) -> dict[str, Any] | None:
        """The record as of the last look, with the figures of now; any thread may ask."""
        state = self._last
        return None if state is None else self._record(state, status.RUNNING, self._looked_at)

    def _record(self, state: dict[str, Any], word: str, written_at: float) -> dict[str, Any]:
        return {
            "state": word,
            "started_at": self._started_at,
            "written_at": written_at,
            "host": self._settings.host,
            "service": self._settings.service,
            "outbox": self._store.outbox_id.hex(),
            "epoch": self._store.epoch,
            "max_bytes": self._settings.journal_max_bytes,
            **state,
            **self._now,
            "figures": self._figures.read(),
        }

    def _hand_over(self, state: dict[str, Any], word: str) -> None:
        record = self._record(state, word, time.time())
        with self._wake:
            self._unwritten = record
            self._wake.notify()

    def _state(self, now: float) -> dict[str, Any]:
        endpoints: list[dict[str, Any]] = []
        destinations: list[dict[str, Any]] = []
        lacks: int | None = None
        for bus in self._buses():
            for link in list(bus.links.values()):
                word = _LINKED if link.is_up else "not linked"
                endpoints.append(self._timed({"address": link.address}, word))
            for address in self._addresses(bus):
                place = {"link": bus.link, "address": address}
                destinations.append(self._timed(place, self._reach(bus, address)))
            if bus.autonomy is not None and bus.autonomy.lacks is not None:
                lacks = (lacks or 0) + bus.autonomy.lacks
        return {
            "endpoints": endpoints,
            "destinations": destinations,
            "snapshot_lacks": lacks,
            "adopted": self._adopted(),
        }

    def _passing(self) -> dict[str, Any]:
        """What changes all the time, and is no reason to write the record anew."""
        links: list[dict[str, Any]] = []
        backlogs = dict.fromkeys(("slots", "at_work", "in_flight", "waiting"), 0)
        for bus in self._buses():
            for link in list(bus.links.values()):
                links.append(
                    {
                        "address": link.address,
                        "credit": link.credit,
                        "queued": link.queued,
                        "bytes_in": link.bytes_in,
                        "bytes_out": link.bytes_out,
                    }
                )
            admission = bus.incoming.receiver.admission
            for name in backlogs:
                backlogs[name] += getattr(admission, name)
        return {"links": links, "backlogs": backlogs, "hosted": self._hosted()}

    @staticmethod
    def _addresses(bus: bus_module.Bus) -> list[str]:
        known = dict.fromkeys(bus.interest)
        if bus.autonomy is not None:
            known |= dict.fromkeys(bus.autonomy.addresses())
        return sorted(known)

    @staticmethod
    def _reach(bus: bus_module.Bus, address: str) -> str:
        state = None if bus.autonomy is None else bus.autonomy.state(address)
        if state is not None:
            return str(state.value)
        reached = bus.directory.reaches(address) or bus.directory.is_local(address)
        return _LINKED if reached else _CUT_OFF

    def _timed(self, place: dict[str, str], word: str) -> dict[str, Any]:
        """A thing with its state, and since when it has been in that."""
        key = tuple(place.values())
        before = self._since.get(key)
        if before is None or before[0] != word:
            before = self._since[key] = (word, time.time())
        return {**place, "state": word, "since": before[1]}

    # In its own thread.

    def _main(self) -> None:
        while True:
            with self._wake:
                while self._unwritten is None and not self._stopping:
                    self._wake.wait()
                record = self._unwritten
                self._unwritten = None
            if record is None:
                return
            try:
                status.write(self._store.path, record)
            except OSError as error:
                LOG.warning_once_in(
                    REPEAT_WARNING,
                    "cannot write the status of journal %s: %s",
                    self._store.path,
                    error,
                )
