# SPDX-License-Identifier: Apache-2.0
"""Journals of this host that have lost their process: a live one finishes what they hold."""

import dataclasses
import os
import pathlib
import random
import time
from collections.abc import Callable
from typing import NamedTuple

from nova_edge_bus import concurrency
from nova_edge_bus import errors
from nova_edge_bus import events
from nova_edge_bus import settings as settings_module
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import slots
from nova_edge_bus.journal import work
from nova_edge_bus.runtime import bus as bus_module
from nova_edge_bus.runtime import outgoing
from nova_edge_bus.runtime import store as store_module
from nova_edge_bus.transport import loop as loop_module
from nova_edge_bus.transport import timed

LOG = concurrency.NativeLogger(__name__)

GIVE_BACK_INTERVAL = 1.0
"""Seconds between two looks whether an adopted journal is drained."""


class _Found(NamedTuple):
    """An orphan that has been opened, and what it holds."""

    store: store_module.Store
    left: dict[str, store_module.LeftOver]
    undone: list[entries.Received]


@dataclasses.dataclass
class _Adopted:
    """A journal in our care, and what ships from it on each bus."""

    store: store_module.Store
    shipping: list[tuple[bus_module.Bus, outgoing.Outgoing]]


class Adopter(timed.Timed):
    """Looks for orphaned slots from time to time and drains them.

    A service that restarts takes its own slot back, so only journals that nothing has been
    written to for a whole interval are adopted. Opening one waits for the disk and runs in a
    thread of its own. A journal is given back as soon as nothing in it can be done here.

    :param bus: gives the bus for some settings
    """

    def __init__(
        self,
        settings: settings_module.Settings,
        bus: Callable[[settings_module.Settings], bus_module.Bus],
        loop: loop_module.Loop,
    ) -> None:
        self._settings = settings
        self._bus = bus
        self._loop = loop
        self._adopted: list[_Adopted] = []
        self._searching = False
        self._search_at = concurrency.monotonic() + self._interval()
        self._give_back_at = 0.0

    def paths(self) -> list[str]:
        """The files of the journals in our care."""
        return [adopted.store.path for adopted in self._adopted]

    def is_linked(self, path: str) -> bool:
        """Whether any endpoint is linked by which a journal in our care is shipped."""
        return any(
            bus.is_linked()
            for adopted in list(self._adopted)
            for bus, _ in adopted.shipping
            if adopted.store.path == path
        )

    def stores(self) -> list[store_module.Store]:
        """The journals in our care."""
        return [adopted.store for adopted in self._adopted]

    def next_deadline(self) -> float | None:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        deadlines = [adopted.store.next_deadline() for adopted in self._adopted]
        if self._adopted:
            deadlines.append(self._give_back_at)
        return min([self._search_at, *(each for each in deadlines if each is not None)])

    def tick(self, now: float) -> None:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        for adopted in self._adopted:
            adopted.store.tick(now)
        if now >= self._give_back_at:
            self._give_back_at = now + GIVE_BACK_INTERVAL
            self._give_back()
        if now >= self._search_at and not self._searching:
            self._searching = True
            concurrency.spawn("edge-bus-adopt", self._search)

    def close(self) -> None:
        """Give every journal back, drained or not; after the loop has ended."""
        for adopted in self._adopted:
            adopted.store.close()
        self._adopted = []

    def _interval(self) -> float:
        """Seconds until the next search, spread so that processes do not search together."""
        return self._settings.adoption_interval * random.uniform(0.7, 1.3)

    def _search(self) -> None:
        """In a thread of its own."""
        found: list[_Found] = []
        try:
            for slot in slots.orphans(
                pathlib.Path(self._settings.journal_dir), self._settings.host, self._is_wanted
            ):
                orphan = self._open(slot)
                if orphan is not None:
                    found.append(orphan)
        except (OSError, errors.JournalError) as error:
            LOG.warning("cannot look for orphaned journals: %s", error)
        self._loop.call_soon_threadsafe(lambda: self._begin(found))

    def _open(self, slot: slots.Slot) -> _Found | None:
        if not self._is_wanted(slot.path):
            slot.release()
            return None
        try:
            store = store_module.Store(slot, self._settings, self._loop.call_soon_threadsafe)
            return _Found(store, store.left_over(), store.undone())
        except errors.JournalError as error:
            LOG.warning("cannot adopt journal %s: %s", slot.path, error)
            slot.release()
            return None

    def _is_wanted(self, path: str) -> bool:
        """Whether the journal holds something, and nothing was written to it of late."""
        try:
            return not self._is_fresh(path) and work.has_work(path)
        except (OSError, errors.JournalError) as error:
            LOG.warning("cannot look into journal %s: %s", path, error)
            return False

    def _is_fresh(self, path: str) -> bool:
        """Whether the journal's own service may be about to come back."""
        written = max(
            (os.path.getmtime(name) for name in (path, f"{path}-wal") if os.path.exists(name)),
            default=0.0,
        )
        return time.time() - written < self._settings.adoption_interval

    def adopt(self, slot: slots.Slot, link: str | None = None) -> store_module.Store:
        """Drain the journal of a slot that the caller has taken; from another thread.

        It may be a copy of one whose process lives elsewhere, and keeps its epoch.

        :param link: the endpoints to use in place of those that the entries are bound to
        :raises JournalError: when it cannot be opened; the slot is given back then
        """
        store = store_module.Store(
            slot, self._settings, self._loop.call_soon_threadsafe, take_epoch=False
        )
        try:
            if link is not None:
                store.wait(lambda journal: journal.outbox.bindings.rebind(link))
            found = _Found(store, store.left_over(), store.undone())
        except Exception:
            store.close()
            raise
        begun = concurrency.native.threading.Event()

        def begin() -> None:
            self._take([found])
            begun.set()

        self._loop.call_soon_threadsafe(begin)
        concurrency.wait(begun, store_module.OPEN_TIMEOUT)
        return store

    def _begin(self, found: list[_Found]) -> None:
        self._searching = False
        self._search_at = concurrency.monotonic() + self._interval()
        self._take(found)

    def _take(self, found: list[_Found]) -> None:
        for store, left, undone in found:
            LOG.info(events.JOURNAL_ADOPTED, store.path, store.outbox_id.hex())
            shipping = []
            for link, held in left.items():
                bus = self._bus(settings_module.for_link(self._settings, link))
                sender = bus.adopt(store)
                sender.restore(held.records, held.streams)
                shipping.append((bus, sender))
            self._bus(self._settings).incoming.adopt(store, undone)
            self._adopted.append(_Adopted(store, shipping))

    def _give_back(self) -> None:
        handling = self._bus(self._settings).incoming
        for adopted in list(self._adopted):
            if any(each.sender.unfinished() for _, each in adopted.shipping):
                continue
            if handling.holds(adopted.store):
                continue
            self._adopted.remove(adopted)
            for bus, _ in adopted.shipping:
                bus.release(adopted.store.outbox_id)
            LOG.info(events.JOURNAL_DRAINED, adopted.store.path)
            concurrency.spawn("edge-bus-give-back", adopted.store.close)
