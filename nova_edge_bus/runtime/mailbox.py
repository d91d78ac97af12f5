# SPDX-License-Identifier: Apache-2.0
"""A listener's mailbox: deliveries wait here until the server polls for them."""

import collections
import threading
import time

from nova_edge_bus.delivery import origins


class Mailbox:
    """A queue between the bus and one server, on the callers' side."""

    def __init__(self) -> None:
        self._items: collections.deque[origins.Inbound] = collections.deque()
        self._changed = threading.Condition()
        self._stopped = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: origins.Inbound) -> None:
        """Add a delivery and wake the server."""
        with self._changed:
            self._items.append(item)
            self._changed.notify()

    def stop(self) -> None:
        """Let polls return at once, with what is here until it is used up."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def poll(
        self, timeout: float | None, batch_size: int, batch_timeout: float | None
    ) -> list[origins.Inbound]:
        """Wait for up to *batch_size* deliveries.

        :param timeout: seconds to wait for the first one, None for as long as it takes
        :param batch_timeout: seconds to wait, from the first one on, for the rest
        :returns: the deliveries, oldest first; fewer than asked for after a time-out or a stop
        """
        with self._changed:
            self._wait_for(1, timeout)
            if not self._items:
                return []
            if batch_size > 1:
                self._wait_for(batch_size, batch_timeout)
            count = min(batch_size, len(self._items))
            return [self._items.popleft() for _ in range(count)]

    def _wait_for(self, count: int, timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while len(self._items) < count and not self._stopped:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            self._changed.wait(left)
