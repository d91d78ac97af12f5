# SPDX-License-Identifier: Apache-2.0
"""Ships journals that have no process, from any machine that reaches an endpoint."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator

from nova_edge_bus import concurrency
from nova_edge_bus import errors
from nova_edge_bus import settings as settings_module
from nova_edge_bus.journal import journal as journal_module
from nova_edge_bus.journal import slots
from nova_edge_bus.journal import work
from nova_edge_bus.runtime import runtime as runtime_module
from nova_edge_bus.runtime import store as store_module

LOOK_SECONDS = 0.2


class Replayer:
    """A process of its own kind: it owns nothing, takes nothing, and ships what others left.

    It has a journal like any peer, which is empty and goes when it is closed.

    :param settings: how to reach the endpoints, and who ships
    :raises EdgeBusError: when the runtime cannot be made
    """

    def __init__(self, settings: settings_module.Settings) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="nova-edge-bus-replay-")
        settings = dataclasses.replace(
            settings,
            journal_dir=self._scratch.name,
            autonomy="off",
            listen="",
            # Nothing else is adopted by this one.
            adoption_interval=float(1 << 31),
        )
        try:
            self._runtime = runtime_module.Runtime(settings)
        except Exception:
            self._scratch.cleanup()
            raise

    def close(self) -> None:
        """Give back what was taken, drained or not."""
        self._runtime.close(0.0)
        self._scratch.cleanup()

    def ship(self, path: str, link: str | None, patience: float) -> Iterator[int]:
        """Ship a journal, and yield how many of its entries are pending, again and again.

        It ends when none is, or when none was settled for *patience* seconds. What is left then
        stays where it is. The journal is given back in either case.

        :param link: the endpoints to use in place of those that its entries are bound to
        :raises JournalLocked: when its process lives
        :raises NotLinked: when no endpoint was linked when it gave up
        :raises JournalFenced: when receivers know a newer opening of it
        :raises JournalError: when it cannot be opened or read
        """
        store = self._runtime.adopter.adopt(slots.take_file(path), link)
        last, since = -1, concurrency.monotonic()
        while store.path in self._runtime.adopter.paths():
            pending = _pending(store)
            if pending is None:
                return
            now = concurrency.monotonic()
            if pending != last:
                last, since = pending, now
            yield pending
            if now - since > patience:
                if not self._runtime.adopter.is_linked(store.path):
                    raise errors.NotLinked(
                        "linked to no endpoint: none can be reached, or none admits this key"
                    )
                return
            concurrency.pause(LOOK_SECONDS)
        if work.has_pending(path):
            raise errors.JournalFenced(
                f"journal {path} is an old copy: its process has opened the journal again since, "
                "and ships what is left here by itself"
            )
        yield 0


def _pending(store: store_module.Store) -> int | None:
    """How many entries are pending; None when the journal was given back meanwhile."""

    def count(journal: journal_module.Journal) -> int:
        return sum(stream.entries for stream in journal.outbox.streams())

    try:
        return store.wait(count)
    except errors.JournalError:
        return None
