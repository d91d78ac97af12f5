# SPDX-License-Identifier: Apache-2.0
"""A listener's mailbox: deliveries wait here until the server polls for them.

Senders of different identities take turns, so that nobody stands behind all that another one sent.
"""

import collections
import threading
import time

from nova_edge_bus.delivery import origins

LIMIT = 4096
"""Deliveries that may wait before senders are told to try again later."""
LIMIT_BYTES = 64 * 1024 * 1024
"""Bytes of their bodies that may wait."""
LIMIT_OF_AN_IDENTITY = 1024
"""Deliveries of one identity that may wait."""
FAIR_SHARE = 16
"""Deliveries of one identity that may wait whatever waits of others."""


class Mailbox:
    """A queue between the bus and one server, on the callers' side."""

    def __init__(self) -> None:
        self._queues: collections.OrderedDict[str, collections.deque[origins.Inbound]]
        self._queues = collections.OrderedDict()
        self._count = 0
        self._bytes = 0
        self._changed = threading.Condition()
        self._stopped = False

    def __len__(self) -> int:
        return self._count

    def is_crowded(self, identity: str) -> bool:
        """Whether as much waits as should of senders of this identity, empty for none."""
        is_full = self._count > LIMIT or self._bytes > LIMIT_BYTES
        if not identity:
            return is_full
        own = len(self._queues.get(identity, ()))
        return own >= LIMIT_OF_AN_IDENTITY or (is_full and own >= FAIR_SHARE)

    def put(self, item: origins.Inbound) -> None:
        """Add a delivery and wake the server."""
        with self._changed:
            self._queues.setdefault(item.identity, collections.deque()).append(item)
            self._count += 1
            self._bytes += len(item.body)
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
            if not self._count:
                return []
            if batch_size > 1:
                self._wait_for(batch_size, batch_timeout)
            return [self._take() for _ in range(min(batch_size, self._count))]

    def _take(self) -> origins.Inbound:
        identity, queue = self._queues.popitem(last=False)
        item = queue.popleft()
        if queue:
            self._queues[identity] = queue
        self._count -= 1
        self._bytes -= len(item.body)
        return item

    def _wait_for(self, count: int, timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._count < count and not self._stopped:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            self._changed.wait(left)
