# SPDX-License-Identifier: Apache-2.0
"""The way from a process to its own listeners, which is there however the links are."""

import collections

from nova_edge_bus import addressing
from nova_edge_bus.delivery import directory as directory_module
from nova_edge_bus.protocol import messages


class Loopback:
    """What a process sends to itself, as an endpoint would pass it on. For the I/O thread.

    :param peer: this process's peer id
    :param outbox: its outbox id
    """

    def __init__(self, directory: directory_module.Directory, peer: bytes, outbox: bytes) -> None:
        self._directory = directory
        self._peer = peer
        self._outbox = outbox
        self._listeners: dict[int, messages.Listen] = {}
        self._queue: collections.deque[messages.Message] = collections.deque()

    def listen(self, announcement: messages.Listen) -> list[str]:
        """A listener is here; return the addresses that name it alone."""
        self._listeners[announcement.listener] = announcement
        return self._update(announcement)

    def unlisten(self, number: int) -> list[str]:
        """A listener is gone; return the addresses that named it alone."""
        announcement = self._listeners.pop(number, None)
        return self._update(announcement) if announcement is not None else []

    def _update(self, changed: messages.Listen) -> list[str]:
        addresses = [each for each in changed.addresses if addressing.is_server_directed(each)]
        for address in addresses:
            takers = [
                messages.Consumer(self._peer, number, self._outbox, listen.pool)
                for number, listen in self._listeners.items()
                if address in listen.addresses
            ]
            self._directory.update(directory_module.LOCAL, address, takers)
        return addresses

    def send(self, message: messages.Message) -> None:
        """Pass *message* on at the next :meth:`take`."""
        if isinstance(message, messages.Deliver):
            message = message._replace(reply_to=self._peer, outbox=message.outbox or self._outbox)
        self._queue.append(message)

    def take(self) -> list[messages.Message]:
        """Return what was sent since the last time."""
        taken, self._queue = list(self._queue), collections.deque()
        return taken

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be taken."""
        return not self._queue
