# SPDX-License-Identifier: Apache-2.0
"""What a process's own journal needs from time to time."""

import time
from collections.abc import Callable
from collections.abc import Iterable

import zmq

from nova_edge_bus import concurrency
from nova_edge_bus.runtime import bus as bus_module
from nova_edge_bus.runtime import store as store_module

LOG = concurrency.NativeLogger(__name__)

EXPIRE_INTERVAL = 5.0
"""Seconds between two looks for entries that have outlived their time."""


class Housekeeping:
    """Commits lazy outcomes in time, and ends entries whose time has passed.

    :param buses: gives all buses that ship from the journal
    """

    def __init__(
        self, store: store_module.Store, buses: Callable[[], Iterable[bus_module.Bus]]
    ) -> None:
        self._store = store
        self._buses = buses
        self._expire_at = 0.0

    def sockets(self) -> list["zmq.Socket[bytes]"]:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        return []

    def on_readable(self, socket: "zmq.Socket[bytes]", now: float) -> None:
        """See :class:`nova_edge_bus.transport.loop.Service`."""

    def next_deadline(self) -> float | None:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        lazy = self._store.next_deadline()
        return self._expire_at if lazy is None else min(lazy, self._expire_at)

    def tick(self, now: float) -> None:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        self._store.tick(now)
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_INTERVAL
            self._store.run(lambda journal: journal.outbox.expire(time.time()), self._expired)

    def _expired(self, ended: list[tuple[int, str]] | None, error: Exception | None) -> None:
        if error is not None:
            LOG.error("cannot expire entries of journal %s: %s", self._store.path, error)
        elif ended:
            LOG.info("expired %s entries of journal %s", len(ended), self._store.path)
            for bus in self._buses():
                bus.own.ended([seq for seq, _ in ended])
