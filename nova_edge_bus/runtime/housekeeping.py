# SPDX-License-Identifier: Apache-2.0
"""What a process's own journal needs from time to time."""

import functools
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from nova_edge_bus import concurrency
from nova_edge_bus.autonomy import forward
from nova_edge_bus.journal import dead
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import bus as bus_module
from nova_edge_bus.runtime import figures as figures_module
from nova_edge_bus.runtime import store as store_module
from nova_edge_bus.transport import timed

LOG = concurrency.NativeLogger(__name__)

EXPIRE_INTERVAL = 5.0
"""Seconds between two looks for entries that have outlived their time, or are to be requeued."""
REPEAT_WARNING = 60.0
"""Seconds after which a warning about something that goes on is repeated."""


class Housekeeping(timed.Timed):
    """Commits lazy outcomes in time, ends entries whose time has passed, takes dead letters up.

    :param buses: gives all buses that ship from the journal
    :param bus: gives the one for a set of endpoints, as the journal names it; on any thread
    :param figures: where what happens is counted
    """

    def __init__(
        self,
        store: store_module.Store,
        buses: Callable[[], Iterable[bus_module.Bus]],
        bus: Callable[[str], bus_module.Bus],
        figures: figures_module.Figures,
    ) -> None:
        self._store = store
        self._buses = buses
        self._bus = bus
        self._figures = figures
        self._expire_at = 0.0

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
            self._take_up()
            self._store.submit(lambda journal: forward.bring(journal, self._note), self._forwarded)

    def _expired(self, ended: list[tuple[int, str]] | None, error: Exception | None) -> None:
        if error is not None:
            LOG.error("cannot expire entries of journal %s: %s", self._store.path, error)
        elif ended:
            LOG.info("expired %s entries of journal %s", len(ended), self._store.path)
            self._figures.expired += len(ended)
            for bus in self._buses():
                bus.own.ended([seq for seq, _ in ended])

    def _take_up(self) -> None:
        """See what an operator wants shipped again."""
        self._store.submit(lambda journal: journal.outbox.dead.take_up(), self._taken_up)

    def _taken_up(self, taken: list[dead.TakenUp] | None, error: Exception | None) -> None:
        """On the journal's thread, where entries are handed on in the order of their numbers."""
        if error is not None:
            LOG.warning_once_in(
                REPEAT_WARNING,
                "cannot requeue dead letters of journal %s: %s",
                self._store.path,
                error,
            )
        if not taken:
            return
        for was, entry in taken:
            LOG.info(
                "requeued outbox=%s seq=%s as seq=%s", self._store.outbox_id.hex(), was, entry.seq
            )
            bus = self._bus(entry.link)
            if bus.autonomy is not None and entry.kind == messages.Kind.RECORD:
                bus.autonomy.committed(entry.address, entry.seq, entry.body)
            self._store.call_soon(functools.partial(bus.own.appended, entry))
        self._store.call_soon(functools.partial(self._count, len(taken)))
        if len(taken) == dead.TAKEN_UP:
            self._take_up()

    def _note(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is known here of the row that a message is about to change."""
        for bus in self._buses():
            if bus.autonomy is not None:
                return bus.autonomy.keeper.known(message)
        return forward.nothing_known(message)

    def _forwarded(self, moved: list[forward.Moved] | None, error: Exception | None) -> None:
        """On the journal's thread, as above."""
        if error is not None:
            LOG.warning_once_in(
                REPEAT_WARNING,
                "cannot bring forward the lost entries of journal %s: %s",
                self._store.path,
                error,
            )
        for each in moved or ():
            LOG.info(
                "outbox=%s seq=%s is brought forward by seq=%s",
                self._store.outbox_id.hex(),
                each.was,
                each.seq,
            )
            bus = self._bus(each.entry.link)
            if bus.autonomy is not None:
                bus.autonomy.forwarded(each.entry.address, [each])
            self._store.call_soon(functools.partial(bus.own.forwarded, [each]))

    def _count(self, requeued: int) -> None:
        self._figures.requeued += requeued
