# SPDX-License-Identifier: Apache-2.0
"""Tells endpoints how this process and its journals are, so that they can show the whole fleet.

There are many peers to an endpoint, and most have nothing to tell. So little is said, at moments
that are spread: when a session is new, when the state has changed, and now and then when a figure
has. The figures are read on the journals' threads; what one last said stands in for one that does
not answer.
"""

import functools
import random
import time
from collections.abc import Callable
from collections.abc import Iterable

import nova_edge_bus
from nova_edge_bus import concurrency
from nova_edge_bus.autonomy import states
from nova_edge_bus.journal import holdings
from nova_edge_bus.journal import journal as journal_module
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import bus as bus_module
from nova_edge_bus.runtime import link as link_module
from nova_edge_bus.runtime import store as store_module
from nova_edge_bus.transport import timed

LOG = concurrency.NativeLogger(__name__)

LOOK_SECONDS = 1.0
"""How often it is looked whether there is anything to tell."""
SOON_SECONDS = 4.0
"""The time over which those tell that begin a session, or whose state has changed."""
INTERVAL = (60.0, 75.0)
"""Seconds after which other changes are told, as chance will have it."""

_STATES = {
    states.State.LINKED: messages.PeerState.LINKED,
    states.State.CUT_OFF: messages.PeerState.CUT_OFF,
    states.State.CATCHING_UP: messages.PeerState.CATCHING_UP,
}
_Figures = tuple[holdings.Held, int]


class _Told:
    """What one endpoint was told in one session, and when it is told again."""

    def __init__(self, up_at: float, due: float) -> None:
        self.up_at = up_at
        self.due = due
        self.is_read = False
        self.is_urgent = True
        self.state: messages.PeerState | None = None
        self.last: tuple[object, ...] | None = None


class Telling(timed.Timed):
    """A service on the process's loop.

    :param stores: gives the journals that this process ships from
    :param buses: gives all buses of the process
    """

    def __init__(
        self,
        stores: Callable[[], list[store_module.Store]],
        buses: Callable[[], Iterable[bus_module.Bus]],
    ) -> None:
        self._stores = stores
        self._buses = buses
        self._told: dict[link_module.Link, _Told] = {}
        self._figures: dict[bytes, _Figures] = {}
        self._reading: set[bytes] = set()
        self._look_at = 0.0

    def next_deadline(self) -> float | None:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        return self._look_at

    def tick(self, now: float) -> None:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        for bus in self._buses():
            state = _STATES[states.State.LINKED if bus.autonomy is None else bus.autonomy.worst]
            for link in bus.links.values():
                if link.is_up:
                    self._look(link, state, now)

    def _look(self, link: link_module.Link, state: messages.PeerState, now: float) -> None:
        told = self._told.get(link)
        if told is None or told.up_at != link.up_at:
            told = self._told[link] = _Told(link.up_at, now + random.uniform(0.0, SOON_SECONDS))
        if told.state is not None and state is not told.state and not told.is_urgent:
            told.is_urgent = True
            told.due = min(told.due, now + random.uniform(0.0, SOON_SECONDS))
        if now < told.due:
            return
        if not told.is_read:
            told.is_read = True
            self._read()
        elif self._figures:
            told.is_read = told.is_urgent = False
            told.due = now + random.uniform(*INTERVAL)
            self._tell(link, told, state)

    def _tell(self, link: link_module.Link, told: _Told, state: messages.PeerState) -> None:
        held = [figures for figures, _ in self._figures.values()]
        oldest_at = min((each.oldest_at for each in held if each.oldest_at is not None), default=0)
        counts = (
            sum(each.dead for each in held),
            sum(each.conflicts for each in held),
            sum(each.fenced for each in held),
            max(fill for _, fill in self._figures.values()),
            nova_edge_bus.__version__,
        )
        pending = sum(each.pending for each in held)
        saying = (state, pending, oldest_at, *counts)
        if saying == told.last:
            return
        told.state, told.last = state, saying
        age = max(0.0, time.time() - oldest_at) if oldest_at else 0.0
        link.queue(messages.Report(state, pending, round(age * 1000), *counts))

    def _read(self) -> None:
        """Ask the journals for their figures; the answers are here by the next look, mostly."""
        stores = {store.outbox_id: store for store in self._stores()}
        self._figures = {key: each for key, each in self._figures.items() if key in stores}
        for key, store in stores.items():
            if key not in self._reading:
                self._reading.add(key)
                store.run(_measure, functools.partial(self._measured, key))

    def _measured(self, key: bytes, figures: _Figures | None, error: Exception | None) -> None:
        self._reading.discard(key)
        if figures is not None:
            self._figures[key] = figures
        elif error is not None:
            LOG.debug("outbox=%s cannot be measured: %s", key.hex(), error)


def _measure(journal: journal_module.Journal) -> _Figures:
    usage = journal.usage()
    return journal.holdings.read(), 100 * usage.used // max(1, usage.used + usage.free)
