# SPDX-License-Identifier: Apache-2.0
"""Tells the service manager of a loop, from the loop itself: from a stuck one nothing comes."""

import collections.abc

from nova_edge_bus import systemd
from nova_edge_bus.transport import timed


class Watchdog(timed.Timed):
    """A service on a loop; its first turn says that the daemon is ready.

    :param status: gives what there is to say of the daemon in a line
    """

    def __init__(
        self, manager: systemd.Manager, status: collections.abc.Callable[[], str]
    ) -> None:
        self._manager = manager
        self._status = status
        self._is_ready = False
        self._due = 0.0

    def next_deadline(self) -> float | None:
        """See :class:`~nova_edge_bus.transport.loop.Service`."""
        return self._due

    def tick(self, now: float) -> None:
        """See :class:`~nova_edge_bus.transport.loop.Service`."""
        if now < self._due:
            return
        self._due = now + self._manager.interval
        if self._is_ready:
            self._manager.alive(self._status())
        else:
            self._is_ready = True
            self._manager.ready(self._status())
