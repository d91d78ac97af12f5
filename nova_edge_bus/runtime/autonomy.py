# SPDX-License-Identifier: Apache-2.0
"""Which destinations of a bus can be relied on, for a process that goes on without them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from nova_edge_bus import concurrency
from nova_edge_bus import events
from nova_edge_bus.autonomy import forward
from nova_edge_bus.autonomy import keeper as keeper_module
from nova_edge_bus.autonomy import local_write
from nova_edge_bus.autonomy import states
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import auditor as auditor_module
from nova_edge_bus.runtime import figures as figures_module
from nova_edge_bus.runtime import prefetcher as prefetcher_module
from nova_edge_bus.runtime import store as store_module

LOG = concurrency.NativeLogger(__name__)

LOOK_SECONDS = 0.25
"""Seconds between two looks at whether the destinations can be reached."""
CATCHING_UP_SECONDS = 0.02
"""The same while one of them catches up, for commands wait until it has."""
NEWS_SECONDS = 0.02
"""The same while the keeper has not taken in what it heard: a little often, or callers feel it."""
SAVE_SECONDS = 1.0
"""How often the snapshot is written down while something changes."""


class Outgoing(auditor_module.Calls, Protocol):
    """Ships what this process owns."""

    def forwarded(self, moved: list[forward.Moved]) -> None:
        """Ship what was appended to bring the centre forward."""


class Autonomy:
    """The destinations of one bus, and the keeper of what can be said in their stead.

    :param unsettled: by address, the seqs of the records that an earlier life has left
    """

    def __init__(
        self,
        keeper: keeper_module.Keeper,
        store: store_module.Store,
        link_timeout: float,
        unsettled: dict[str, set[int]],
        figures: figures_module.Figures | None = None,
    ) -> None:
        self.keeper = keeper
        self.figures = figures or figures_module.Figures()
        self._store = store
        self._link_timeout = link_timeout
        self._lock = concurrency.native.threading.Lock()
        self._destinations: dict[str, states.Destination] = {}
        self._takers: set[str] = set()
        self._last: dict[str, states.State] = {}
        self._prefetcher: prefetcher_module.Prefetcher | None = None
        self._auditor: auditor_module.Auditor | None = None
        self._takers_of: Callable[[str], list[messages.Consumer]] = lambda _: []
        self._candidates: dict[local_write.MergeKey, local_write.Mergeable] = {}
        self._look_at = 0.0
        self._save_at = 0.0
        self._is_tending = False
        for address, seqs in unsettled.items():
            self._takers.add(address)
            self._destinations[address] = self._make(set(seqs))

    def _make(self, unsettled: set[int]) -> states.Destination:
        lock = concurrency.native.threading.Lock()
        return states.Destination(self._link_timeout, lock, unsettled, concurrency.monotonic())

    def attach(
        self,
        next_call: Callable[[], int],
        send: prefetcher_module.Send,
        cancel: Callable[[int], None],
    ) -> None:
        """Let the keeper make calls of its own; see :class:`prefetcher.Prefetcher`."""
        self._prefetcher = prefetcher_module.Prefetcher(
            self.keeper, self._store, next_call, send, cancel
        )

    def audit(
        self,
        link: str,
        outgoing: Outgoing,
        takers: Callable[[str], list[messages.Consumer]],
    ) -> None:
        """Compare now and then what the centre has with what it was given.

        :param takers: tells who answers at an address
        """
        self._takers_of = takers

        def forwarded(address: str, moved: list[forward.Moved]) -> None:
            self.forwarded(address, moved)
            self._store.call_soon(lambda: outgoing.forwarded(moved))

        self._auditor = auditor_module.Auditor(link, self._store, self.keeper, outgoing, forwarded)

    def forwarded(self, address: str, moved: list[forward.Moved]) -> None:
        """These were just appended to bring the centre forward; on the journal's thread."""
        self.destination(address, takes_records=True).fall_behind(each.seq for each in moved)
        for each in moved:
            self.keeper.wrote(each.seq, each.entry.body)

    def destination(self, address: str, *, takes_records: bool = False) -> states.Destination:
        """The destination with this address; any thread may ask.

        :param takes_records: whether it is about to be sent a record
        """
        with self._lock:
            found = self._destinations.get(address)
            if found is None:
                found = self._destinations[address] = self._make(set())
            if takes_records:
                self._takers.add(address)
            return found

    def candidates(
        self, destination: states.Destination
    ) -> dict[local_write.MergeKey, local_write.Mergeable] | None:
        """The entries that a save may take up: those of this cut, which nobody else has seen."""
        return self._candidates if destination.state is states.State.CUT_OFF else None

    # On the I/O thread.

    @property
    def holds_commands(self) -> bool:
        """Whether what the centre sends has to wait until all that was written here is there."""
        return self.worst is not states.State.LINKED

    @property
    def worst(self) -> states.State:
        """The worst state of a destination that is sent records."""
        found = {
            self._last.get(address, each.state)
            for address, each in list(self._destinations.items())
            if address in self._takers
        }
        order = (states.State.CUT_OFF, states.State.CATCHING_UP)
        return next((state for state in order if state in found), states.State.LINKED)

    def next_deadline(self) -> float:
        """Monotonic seconds at which :meth:`is_due` becomes true."""
        return self._look_at

    def is_due(self, now: float) -> bool:
        """Whether it is time to look at the destinations."""
        return now >= self._look_at

    def look(self, reachable: set[str], heard_at: float, now: float) -> None:
        """Judge every destination anew.

        :param reachable: the addresses that somebody takes
        :param heard_at: when anything was last heard from any endpoint
        """
        pause = LOOK_SECONDS
        for address, each in list(self._destinations.items()):
            state = each.look(reachable=address in reachable, heard_at=heard_at, now=now)
            if state is states.State.CATCHING_UP:
                pause = CATCHING_UP_SECONDS
            if state is not self._last.get(address, states.State.LINKED):
                self._changed(address, state)
            self._last[address] = state
            if state is states.State.LINKED and address in self._takers and self._prefetcher:
                self._prefetcher.tick(address, now)
            if state is states.State.LINKED and address in self._takers and self._auditor:
                takers = frozenset(self._takers_of(address))
                self._auditor.tick(address, takers, now)
        if self.keeper.has_news:
            pause = min(pause, NEWS_SECONDS)
        self._look_at = now + pause
        self._tend(now)

    @property
    def lacks(self) -> int | None:
        """How many answers the snapshot lacked when that was last looked at, while linked."""
        return None if self._prefetcher is None else self._prefetcher.lacks

    def state(self, address: str) -> states.State | None:
        """The state of a destination; None for an address that is none."""
        found = self._destinations.get(address)
        return None if found is None else found.state

    def addresses(self) -> list[str]:
        """The addresses of the destinations."""
        return list(self._destinations)

    def _changed(self, address: str, state: states.State) -> None:
        if state is states.State.CUT_OFF:
            self.figures.cuts += 1
            LOG.warning(events.CUT_OFF, address)
            self._save_at = 0.0
            if self._prefetcher is not None:
                self._prefetcher.interrupt()
            if self._auditor is not None:
                self._auditor.interrupt()
        elif state is states.State.CATCHING_UP:
            self._candidates.clear()
            LOG.info(events.CATCHING_UP, address)
        else:
            LOG.info(events.LINKED, address)

    def _tend(self, now: float) -> None:
        """Let the keeper take in what it heard, and now and then write it down."""
        if self._is_tending:
            return
        if now >= self._save_at:
            self._is_tending = True
            self._save_at = now + SAVE_SECONDS
            self._store.submit(self.keeper.save, self._saved)
        elif self.keeper.has_news:
            self._is_tending = True
            self._store.submit(lambda _: self.keeper.digest(wholly=False), self._digested)

    def _saved(self, is_written: bool | None, error: Exception | None) -> None:
        if is_written:
            self.keeper.saved()
        if error is not None:
            LOG.error("cannot keep the snapshot in journal %s: %s", self._store.path, error)
        self._is_tending = False

    def _digested(self, _: object, error: Exception | None) -> None:
        self._is_tending = False

    def unanswered(self, address: str, now: float) -> None:
        """What was shipped there was not acknowledged in time."""
        if address in self._destinations:
            self._destinations[address].unanswered(now)
            self._look_at = now

    def heard(self, address: str) -> None:
        """A consumer there has answered, or said that it is at work."""
        if address in self._destinations:
            self._destinations[address].heard()

    def answered(self, number: int) -> None:
        """A call has been answered."""
        if self._prefetcher is not None:
            self._prefetcher.answered(number)

    def committed(self, address: str, seq: int, body: bytes) -> None:
        """A record that makes the round trip is in the journal; told by the writer."""
        self.destination(address, takes_records=True).committed(seq)
        self.keeper.wrote(seq, body)

    def settled(self, address: str, seq: int) -> None:
        """A record is applied, merged or expired."""
        if address in self._destinations:
            self._destinations[address].settled(seq)
