# SPDX-License-Identifier: Apache-2.0
"""The listeners of a process: which of them takes a delivery, and which a fanout."""

import collections
import typing
from collections.abc import Iterable
from collections.abc import Iterator

from nova_edge_bus.delivery import origins
from nova_edge_bus.delivery import streams
from nova_edge_bus.protocol import messages

FANOUT_MEMORY = 4096
"""How many fanouts are remembered, to know the second copy of one."""


class _Listener(typing.NamedTuple):
    addresses: frozenset[str]
    fanouts: frozenset[str]
    pool: str

    def takes(self, address: str, pool: str) -> bool:
        return self.pool == pool and address in self.addresses


class Listeners:
    """Listeners by their numbers."""

    def __init__(self) -> None:
        self._listeners: dict[int, _Listener] = {}
        self._fanouts: collections.OrderedDict[tuple[bytes, int], None] = collections.OrderedDict()

    def add(
        self, number: int, addresses: Iterable[str], fanouts: Iterable[str], pool: str
    ) -> None:
        """A listener takes these addresses, and fanouts to these topics."""
        self._listeners[number] = _Listener(frozenset(addresses), frozenset(fanouts), pool)

    def remove(self, number: int) -> None:
        """The listener takes nothing more; one that is not there is ignored."""
        self._listeners.pop(number, None)

    def taker(self, item: origins.Inbound) -> int | None:
        """The listener that the sender chose, or else any other of this address and pool."""
        address, pool = streams.split_key(item.address)
        chosen = self._listeners.get(item.listener)
        if chosen is not None and chosen.takes(address, pool or ""):
            return item.listener
        for number, listener in self._listeners.items():
            if listener.takes(address, pool or ""):
                return number
        return None

    def takes(self, key: str) -> bool:
        """Whether anybody takes what is sent under this stream key."""
        address, pool = streams.split_key(key)
        return any(each.takes(address, pool or "") for each in self._listeners.values())

    def takers(self, message: messages.Fanout) -> Iterator[int]:
        """The listeners that take a fanout; nobody takes the second copy of one."""
        key = (message.sender or b"", message.number)
        if key in self._fanouts:
            return
        self._fanouts[key] = None
        if len(self._fanouts) > FANOUT_MEMORY:
            self._fanouts.popitem(last=False)
        for number, listener in list(self._listeners.items()):
            if message.address in listener.fanouts:
                yield number
