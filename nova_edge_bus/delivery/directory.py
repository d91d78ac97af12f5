# SPDX-License-Identifier: Apache-2.0
"""The consumers of each address as the linked endpoints report them, and whose turn it is.

The sender, not the endpoint, chooses the consumer of a message. The choice can then be written
into the journal together with the entry, and a re-ship after the death of an endpoint or of the
sender goes to the same inbox, which recognises what it has had before.
"""

import contextlib
import dataclasses
from collections.abc import Hashable
from collections.abc import Iterable
from typing import Any

from nova_edge_bus.protocol import messages

EndpointKey = Hashable


@dataclasses.dataclass(slots=True)
class _Affinity:
    """The consumer that a group's messages go to while any of them is in flight."""

    consumer: messages.Consumer
    in_flight: int


class Directory:
    """Consumers by address; every method is cheap and none blocks.

    :param lock: a context manager that serialises callers, where there is more than one thread
    """

    def __init__(self, lock: contextlib.AbstractContextManager[Any] | None = None) -> None:
        self._lock = lock or contextlib.nullcontext()
        self._routes: dict[str, dict[EndpointKey, list[messages.Consumer]]] = {}
        self._merged: dict[tuple[str, str], list[messages.Consumer]] = {}
        self._turns: dict[tuple[str, str], int] = {}
        self._inbox_turns: dict[tuple[str, bytes], int] = {}
        self._affinities: dict[tuple[str, str], _Affinity] = {}

    def update(
        self, endpoint: EndpointKey, address: str, consumers: Iterable[messages.Consumer]
    ) -> None:
        """Take over what *endpoint* says about *address*."""
        with self._lock:
            self._routes.setdefault(address, {})[endpoint] = list(consumers)
            self._merged.clear()

    def forget_endpoint(self, endpoint: EndpointKey) -> None:
        """The link to *endpoint* is down: nothing is reachable through it."""
        with self._lock:
            for routes in self._routes.values():
                routes.pop(endpoint, None)
            self._merged.clear()

    def answered(self, address: str) -> bool:
        """Tell whether any linked endpoint has said who takes *address*, even if nobody does."""
        return bool(self._routes.get(address))

    def consumers(self, address: str, pool: str = "") -> list[messages.Consumer]:
        """All consumers of *address* in *pool* that some linked endpoint reaches, each once."""
        with self._lock:
            return self._consumers(address, pool)

    def _consumers(self, address: str, pool: str) -> list[messages.Consumer]:
        merged = self._merged.get((address, pool))
        if merged is not None:
            return merged
        seen: dict[tuple[bytes, int], messages.Consumer] = {}
        for listed in self._routes.get(address, {}).values():
            for consumer in listed:
                if consumer.pool == pool:
                    seen.setdefault((consumer.peer, consumer.listener), consumer)
        merged = list(seen.values())
        self._merged[(address, pool)] = merged
        return merged

    def pools(self, address: str) -> set[str]:
        """The listener pools, besides the default one, that take copies of *address*."""
        with self._lock:
            listed = self._routes.get(address, {}).values()
            return {consumer.pool for consumers in listed for consumer in consumers} - {""}

    def endpoints_to(self, address: str, peer: bytes) -> list[EndpointKey]:
        """The endpoints through which *peer* takes *address*, in a stable order."""
        with self._lock:
            return [
                endpoint
                for endpoint, consumers in self._routes.get(address, {}).items()
                if any(consumer.peer == peer for consumer in consumers)
            ]

    def by_inbox(self, address: str, inbox: bytes, pool: str = "") -> messages.Consumer | None:
        """A consumer of *address* whose inbox is *inbox*, in turns, if one is reachable."""
        with self._lock:
            sharing = [
                consumer
                for consumer in self._consumers(address, pool)
                if consumer.inbox == inbox
            ]
            if len(sharing) < 2:
                return sharing[0] if sharing else None
            turn = self._inbox_turns.get((address, inbox), 0)
            self._inbox_turns[(address, inbox)] = turn + 1
            return sharing[turn % len(sharing)]

    def by_peer(self, address: str, peer: bytes) -> messages.Consumer | None:
        """A consumer of *address* in the process *peer*, if it is reachable."""
        with self._lock:
            for listed in self._routes.get(address, {}).values():
                for consumer in listed:
                    if consumer.peer == peer:
                        return consumer
        return None

    def pick(self, address: str, group: str = "", pool: str = "") -> messages.Consumer | None:
        """Choose the next consumer in strict turns, or the group's own while it is in flight.

        With a *group* each pick must be matched by one :meth:`release`. Returns None, and binds
        nothing, when nobody takes the address.
        """
        with self._lock:
            candidates = self._consumers(address, pool)
            return self._choose(candidates, address, group, pool) if candidates else None

    def _choose(
        self, candidates: list[messages.Consumer], address: str, group: str, pool: str
    ) -> messages.Consumer:
        affinity = self._affinities.get((address, group)) if group else None
        if affinity is not None and affinity.consumer in candidates:
            affinity.in_flight += 1
            return affinity.consumer
        turn = self._turns.get((address, pool), 0)
        self._turns[(address, pool)] = turn + 1
        chosen = candidates[turn % len(candidates)]
        if group:
            in_flight = affinity.in_flight + 1 if affinity else 1
            self._affinities[(address, group)] = _Affinity(chosen, in_flight)
        return chosen

    def release(self, address: str, group: str) -> None:
        """One message of *group*, picked before, is settled."""
        with self._lock:
            affinity = self._affinities.get((address, group))
            if affinity is None:
                return
            affinity.in_flight -= 1
            if affinity.in_flight <= 0:
                del self._affinities[(address, group)]
