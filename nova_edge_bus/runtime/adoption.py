# SPDX-License-Identifier: Apache-2.0
"""Journals of this host that have lost their process: a live one ships what they still hold."""

import dataclasses
import pathlib
import random
from collections.abc import Callable

import zmq

from nova_edge_bus import concurrency
from nova_edge_bus import errors
from nova_edge_bus import settings as settings_module
from nova_edge_bus.journal import journal as journal_module
from nova_edge_bus.journal import slots
from nova_edge_bus.runtime import bus as bus_module
from nova_edge_bus.runtime import outgoing
from nova_edge_bus.runtime import store as store_module
from nova_edge_bus.transport import loop as loop_module

LOG = concurrency.NativeLogger(__name__)


@dataclasses.dataclass
class _Adopted:
    """A journal in our care, and what ships from it on each bus."""

    store: store_module.Store
    shipping: list[tuple[bus_module.Bus, outgoing.Outgoing]]


class Adopter:
    """Looks for orphaned slots from time to time and drains them.

    Opening a journal waits for the disk, so that runs in a thread of its own. A journal is given
    back as soon as it is empty, or when its own service takes up work again under another slot.

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
        self._due = concurrency.monotonic() + self._interval()

    def sockets(self) -> list["zmq.Socket[bytes]"]:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        return []

    def on_readable(self, socket: "zmq.Socket[bytes]", now: float) -> None:
        """See :class:`nova_edge_bus.transport.loop.Service`."""

    def next_deadline(self) -> float | None:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        return self._due

    def tick(self, now: float) -> None:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        if now < self._due:
            return
        self._due = now + self._interval()
        self._give_back()
        if not self._searching:
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
        found = []
        try:
            for slot in slots.orphans(
                pathlib.Path(self._settings.journal_dir), self._settings.host
            ):
                adopted = self._open(slot)
                if adopted is not None:
                    found.append(adopted)
        except OSError as error:
            LOG.warning("cannot look for orphaned journals: %s", error)
        self._loop.call_soon_threadsafe(lambda: self._begin(found))

    def _open(self, slot: slots.Slot) -> tuple[store_module.Store, store_module.LeftOver] | None:
        try:
            if not journal_module.has_pending(slot.path):
                slot.release()
                return None
            store = store_module.Store(slot, self._settings, self._loop.call_soon_threadsafe)
            return store, store.left_over()
        except errors.JournalError as error:
            LOG.warning("cannot adopt journal %s: %s", slot.path, error)
            slot.release()
            return None

    def _begin(self, found: list[tuple[store_module.Store, store_module.LeftOver]]) -> None:
        self._searching = False
        for store, left in found:
            LOG.info("adopting journal %s outbox=%s", store.path, store.outbox_id.hex())
            shipping = []
            for link, (records, streams) in left.items():
                bus = self._bus(settings_module.for_link(self._settings, link))
                sender = bus.adopt(store)
                sender.restore(records, streams)
                shipping.append((bus, sender))
            self._adopted.append(_Adopted(store, shipping))

    def _give_back(self) -> None:
        for adopted in list(self._adopted):
            if any(sender.sender.unfinished() for _, sender in adopted.shipping):
                continue
            self._adopted.remove(adopted)
            for bus, _ in adopted.shipping:
                bus.release(adopted.store.outbox_id)
            LOG.info("journal %s is drained", adopted.store.path)
            concurrency.spawn("edge-bus-give-back", adopted.store.close)
