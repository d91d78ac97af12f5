# SPDX-License-Identifier: Apache-2.0
"""The runtime of one process: its journal, its I/O thread, and a bus for each set of endpoints."""

import contextlib
import os
import pathlib
from collections.abc import Callable

import zmq

from nova_edge_bus import concurrency
from nova_edge_bus import listening
from nova_edge_bus import settings as settings_module
from nova_edge_bus.autonomy import keeper as keeper_module
from nova_edge_bus.autonomy import manifest
from nova_edge_bus.journal import slots
from nova_edge_bus.monitoring import journals
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import session
from nova_edge_bus.runtime import adoption
from nova_edge_bus.runtime import autonomy
from nova_edge_bus.runtime import bus as bus_module
from nova_edge_bus.runtime import figures as figures_module
from nova_edge_bus.runtime import hosting
from nova_edge_bus.runtime import housekeeping
from nova_edge_bus.runtime import mailbox
from nova_edge_bus.runtime import reporting
from nova_edge_bus.runtime import store as store_module
from nova_edge_bus.runtime import telling
from nova_edge_bus.runtime import watching
from nova_edge_bus.transport import loop as loop_module

LOG = concurrency.NativeLogger(__name__)

WINDOW_MESSAGES = 512
WINDOW_BYTES = 8 << 20
STOP_TIMEOUT = 10.0
"""Seconds that the I/O thread may take to end."""


class Runtime:
    """Made on first use in a process, ended when its last driver object is closed.

    What a crash leaves behind is the journal; the process that takes the slot next ships it.

    :raises JournalError: when no journal can be opened
    :raises EndpointError: when the endpoint that it is to host cannot be
    """

    def __init__(self, settings: settings_module.Settings) -> None:
        concurrency.prepare()
        self._settings = settings
        self._peer = os.urandom(session.ID_BYTES)
        self._buses: dict[str, bus_module.Bus] = {}
        self._lock = concurrency.native.threading.Lock()
        self._next_listener = 0
        self.figures = figures_module.Figures()
        with contextlib.ExitStack() as on_failure:
            self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
            on_failure.callback(self._context.destroy, linger=0)
            self._loop = loop_module.Loop()
            on_failure.callback(self._loop.close)
            self._hosted = (
                hosting.HostedEndpoint(self._context, self._loop, settings)
                if settings.listen
                else None
            )
            slot = slots.take(pathlib.Path(settings.journal_dir), settings.host, settings.service)
            self._store = store_module.Store(slot, settings, self._loop.call_soon_threadsafe)
            on_failure.callback(self._store.close)
            self._keeper = self._take_up_snapshot() if settings.is_autonomous else None
            self._undone = self._store.undone()
            self._left_over = self._store.left_over()
            self.adopter = adoption.Adopter(settings, self.bus, self._loop)
            self._reporter = reporting.Reporter(
                self._store,
                settings,
                self.figures,
                lambda: list(self._buses.values()),
                self.adopter.paths,
                (lambda: None) if self._hosted is None else self._hosted.figures,
            )
            on_failure.callback(self._reporter.close)
            self._begin()
            on_failure.pop_all()

    def _begin(self) -> None:
        self._loop.register(self.adopter)
        self._loop.register(self._reporter)
        self._loop.register(
            telling.Telling(
                lambda: [self._store, *self.adopter.stores()],
                lambda: list(self._buses.values()),
            )
        )
        self._loop.register(
            housekeeping.Housekeeping(
                self._store,
                lambda: list(self._buses.values()),
                lambda link: self.bus(settings_module.for_link(self._settings, link)),
                self.figures,
            )
        )
        if self._hosted is not None:
            self._loop.register(self._hosted)
        for link in self._left_over:
            self.bus(settings_module.for_link(self._settings, link))
        self._thread = concurrency.spawn("edge-bus-io", self._loop.run)
        self._watching = self._watch() if self._settings.metrics_listen else None

    def _watch(self) -> watching.Watching:
        settings, path = self._settings, self._store.path
        return watching.Watching(
            listening.parse(settings.metrics_listen),
            journals.Journals(settings.journal_dir, path, self._reporter.latest),
            path,
            lambda: self._loop.turned_at,
        )

    @property
    def store(self) -> store_module.Store:
        """The process's own journal."""
        return self._store

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run *call* on the I/O thread; from any thread."""
        self._loop.call_soon_threadsafe(call)

    def next_listener(self) -> int:
        """A number for a listener that no other listener of this process has."""
        with self._lock:
            self._next_listener += 1
            return self._next_listener

    def bus(self, settings: settings_module.Settings) -> bus_module.Bus:
        """The bus for the endpoints of *settings*, the same one for the same endpoints."""
        with self._lock:
            bus = self._buses.get(settings.link)
            if bus is None:
                left = self._left_over.get(settings.link, store_module.LeftOver())
                bus = bus_module.Bus(
                    self._context,
                    settings,
                    self._store,
                    self._hello,
                    self._loop.refresh,
                    self._autonomy(left),
                    self.figures,
                )
                self._buses[settings.link] = bus
                self.call_soon(lambda: self._begin_bus(bus, left))
            return bus

    def _take_up_snapshot(self) -> keeper_module.Keeper:
        settings = self._settings
        keeper = keeper_module.Keeper(
            host=settings.host,
            limit_bytes=settings.snapshot_max_bytes,
            manifest=manifest.versions_of,
        )
        self._store.wait(keeper.load)
        return keeper

    def _autonomy(self, left: store_module.LeftOver) -> autonomy.Autonomy | None:
        if self._keeper is None:
            return None
        timeout = self._settings.link_timeout
        return autonomy.Autonomy(self._keeper, self._store, timeout, left.by_address, self.figures)

    def listen(
        self,
        bus: bus_module.Bus,
        announcement: messages.Listen,
        box: mailbox.Mailbox,
        established: Callable[[], None],
    ) -> None:
        """Begin to take deliveries from *bus* into *box*; from any thread.

        What the last life accepted for such a listener goes into the box first, by whichever
        bus it came.
        """

        def begin() -> None:
            bus.listen(announcement, box, established)
            self._undone = bus.incoming.restore(self._undone)

        self.call_soon(begin)

    def close(self, linger: float) -> None:
        """Let the outbox drain, then end the threads and give the sockets and the slot back.

        :param linger: seconds that the draining may take while an endpoint is linked
        """
        self._await_drained(linger)

        def finish() -> None:
            for bus in self._buses.values():
                self._loop.unregister(bus)
                bus.close(linger=200)
            if self._hosted is not None:
                self._hosted.stop()
            self._loop.stop()

        self.call_soon(finish)
        if not concurrency.join(self._thread, STOP_TIMEOUT):
            LOG.error("the I/O thread did not end within %g s", STOP_TIMEOUT)
        if self._watching is not None:
            self._watching.close()
        self.adopter.close()
        self._reporter.close()
        if self._keeper is not None:
            self._store.wait(self._keeper.save)
        self._store.close()
        self._loop.close()
        self._context.destroy(linger=200)

    def _begin_bus(self, bus: bus_module.Bus, left: store_module.LeftOver) -> None:
        bus.own.restore(left.records, left.streams)
        self._loop.register(bus)

    def _await_drained(self, linger: float) -> None:
        deadline = concurrency.monotonic() + linger
        while concurrency.monotonic() < deadline:
            busy = [bus for bus in self._buses.values() if bus.is_linked() and bus.unfinished()]
            if not busy:
                return
            concurrency.pause(0.02)

    def _hello(self) -> messages.Hello:
        store = self._store
        return messages.Hello(
            oldest_version=session.OLDEST_VERSION,
            newest_version=messages.PROTOCOL_VERSION,
            peer=self._peer,
            outbox=store.outbox_id,
            epoch=store.epoch,
            nonce=store.nonce,
            host=self._settings.host,
            service=self._settings.service,
            window_messages=WINDOW_MESSAGES,
            window_bytes=WINDOW_BYTES,
        )
