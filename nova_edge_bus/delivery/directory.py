# SPDX-License-Identifier: Apache-2.0
"""The consumers of each address as the linked endpoints report them, and whose turn it is.

The sender, not the endpoint, chooses the consumer of a message. The choice can then be written
into the journal together with the entry, and a re-ship after the death of an endpoint or of the
sender goes to the same inbox, which recognises what it has had before.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from typing import Any

from nova_edge_bus.delivery import departures
from nova_edge_bus.protocol import messages

EndpointKey = Hashable

LOCAL = "local"
"""Stands for the way to a listener of this very process, which needs no endpoint."""


@dataclasses.dataclass(slots=True)
class _Affinity:
    """The consumer that a group's messages go to while any of them is in flight."""

    consumer: messages.Consumer
    in_flight: int


class _View:
    """What the endpoints say about one address, each consumer once, as the lookups need it."""

    __slots__ = ("consumers", "endpoints", "inboxes", "peers")

    def __init__(self, routes: dict[EndpointKey, list[messages.Consumer]]) -> None:
        self.consumers: dict[str, list[messages.Consumer]] = {}
        self.inboxes: dict[tuple[bytes, str], messages.Consumer] = {}
        self.peers: dict[bytes, messages.Consumer] = {}
        self.endpoints: dict[bytes, list[EndpointKey]] = {}
        seen: set[tuple[bytes, int]] = set()
        own = routes.get(LOCAL, [])
        for endpoint, listed in routes.items():
            for consumer in listed:
                through = self.endpoints.setdefault(consumer.peer, [])
                if endpoint not in through:
                    # The local way is the first choice.
                    through.insert(0 if endpoint == LOCAL else len(through), endpoint)
                if (consumer.peer, consumer.listener) not in seen:
                    seen.add((consumer.peer, consumer.listener))
                    self.consumers.setdefault(consumer.pool, []).append(consumer)
                    self.inboxes.setdefault((consumer.inbox, consumer.pool), consumer)
                    self.peers.setdefault(consumer.peer, consumer)
        for consumer in own:
            # An endpoint may still list our last life; the last of a list is the newest.
            takers = self.consumers[consumer.pool]
            takers.append(takers.pop(takers.index(consumer)))


_NOBODY = _View({})


class Directory:
    """Consumers by address; every method is cheap and none blocks.

    :param lock: a context manager that serialises callers, where there is more than one thread
    """

    def __init__(self, lock: contextlib.AbstractContextManager[Any] | None = None) -> None:
        self._lock = lock or contextlib.nullcontext()
        self._routes: dict[str, dict[EndpointKey, list[messages.Consumer]]] = {}
        self._views: dict[str, _View] = {}
        self._turns: dict[tuple[str, str], int] = {}
        self._affinities: dict[tuple[str, str, str], _Affinity] = {}
        self._expected: set[EndpointKey] = set()
        self._used: set[str] = set()
        self._all: set[EndpointKey] = set()
        self._departures = departures.Departures()

    def update(
        self, endpoint: EndpointKey, address: str, consumers: Iterable[messages.Consumer]
    ) -> None:
        """Take over what *endpoint* says about *address*."""
        with self._lock:
            listed = self._routes.setdefault(address, {})[endpoint] = list(consumers)
            self._departures.listed(endpoint, address, listed)
            self._views.pop(address, None)

    def linked(self, endpoint: EndpointKey, life: bytes) -> None:
        """There is a link to *endpoint*, which has this id in its present life."""
        with self._lock:
            self._departures.linked(endpoint, life)

    def expect(self, endpoint: EndpointKey, expected: bool) -> None:
        """*endpoint* is linked or about to be, or else its last attempt failed."""
        self._all.add(endpoint)
        if expected:
            self._expected.add(endpoint)
        else:
            self._expected.discard(endpoint)

    def forget_endpoint(self, endpoint: EndpointKey) -> None:
        """The link to *endpoint* is down: nothing is reachable through it."""
        with self._lock:
            for address, routes in list(self._routes.items()):
                if routes.pop(endpoint, None) is not None:
                    self._views.pop(address, None)
                if not routes:
                    del self._routes[address]

    def forget_address(self, address: str) -> None:
        """The endpoints tell of changes of *address* no more; what is local stays."""
        with self._lock:
            routes = self._routes.get(address, {})
            for endpoint in [each for each in routes if each != LOCAL]:
                del routes[endpoint]
            if not routes:
                self._routes.pop(address, None)
            self._views.pop(address, None)

    def take_used(self) -> set[str]:
        """The addresses that somebody wanted to send to since this was last asked."""
        with self._lock:
            used, self._used = self._used, set()
            return used

    def answered(self, address: str) -> bool:
        """Tell whether all that can say who takes *address* have, even if nobody does."""
        with self._lock:
            routes = self._routes.get(address, {})
            return bool(routes) and self._expected <= routes.keys()

    def reaches(self, address: str) -> bool:
        """Tell whether anybody takes *address* behind an endpoint that is linked."""
        with self._lock:
            routes = self._routes.get(address, {})
            return any(listed for endpoint, listed in routes.items() if endpoint != LOCAL)

    def is_local(self, address: str) -> bool:
        """Tell whether a listener of this process takes *address*."""
        with self._lock:
            return bool(self._routes.get(address, {}).get(LOCAL))

    def consumers(self, address: str, pool: str = "") -> list[messages.Consumer]:
        """All consumers of *address* in *pool* that some linked endpoint reaches, each once."""
        with self._lock:
            return self._view(address).consumers.get(pool, [])

    def _view(self, address: str) -> _View:
        self._used.add(address)
        view = self._views.get(address)
        if view is None:
            routes = self._routes.get(address)
            if routes is None:
                return _NOBODY
            view = self._views[address] = _View(routes)
        return view

    def pools(self, address: str) -> set[str]:
        """The listener pools, besides the default one, that take copies of *address*."""
        with self._lock:
            return self._view(address).consumers.keys() - {""}

    def endpoints_to(self, address: str, peer: bytes) -> list[EndpointKey]:
        """The endpoints through which *peer* takes *address*, in a stable order."""
        with self._lock:
            return self._view(address).endpoints.get(peer, [])

    def by_inbox(self, address: str, inbox: bytes, pool: str = "") -> messages.Consumer | None:
        """The consumer of *address* whose inbox is *inbox*, if it is reachable."""
        with self._lock:
            return self._view(address).inboxes.get((inbox, pool))

    def has_left(self, address: str, inbox: bytes) -> bool:
        """Whether every endpoint that there is says that this consumer of *address* has left.

        An endpoint that is not linked says nothing: the consumer may well be behind it.
        """
        with self._lock:
            routes = self._routes.get(address, {})
            return bool(self._all) and all(
                endpoint in routes
                and all(each.inbox != inbox for each in routes[endpoint])
                and self._departures.has_listed(endpoint, address, inbox)
                for endpoint in self._all
            )

    def by_peer(self, address: str, peer: bytes) -> messages.Consumer | None:
        """A consumer of *address* in the process *peer*, if it is reachable."""
        with self._lock:
            return self._view(address).peers.get(peer)

    def pick(
        self,
        address: str,
        group: str = "",
        pool: str = "",
        is_open: Callable[[messages.Consumer], bool] | None = None,
    ) -> messages.Consumer | None:
        """Choose the next consumer in strict turns, or the group's own while it is in flight.

        With a *group* each pick must be matched by one :meth:`release`. Returns None, and binds
        nothing, when nobody takes the address.

        :param is_open: tells which consumers may be chosen
        """
        with self._lock:
            view = self._view(address)
            candidates = view.consumers.get(pool)
            if not candidates:
                return None
            affinity = self._affinities.get((address, pool, group)) if group else None
            chosen = self._own(affinity, view, pool) if affinity else None
            if chosen is None:
                if is_open is not None:
                    candidates = [each for each in candidates if is_open(each)]
                if not candidates:
                    return None
                chosen = self._next(address, pool, candidates)
            elif is_open is not None and not is_open(chosen):
                return None
            if group:
                in_flight = affinity.in_flight if affinity else 0
                self._affinities[(address, pool, group)] = _Affinity(chosen, in_flight + 1)
            return chosen

    def own(self, address: str, group: str, pool: str = "") -> messages.Consumer | None:
        """The consumer that *group* stays with for the time being, if it is reachable."""
        with self._lock:
            view = self._view(address)
            affinity = self._affinities.get((address, pool, group))
            if affinity is None or pool not in view.consumers:
                return None
            return self._own(affinity, view, pool)

    def _next(
        self, address: str, pool: str, candidates: list[messages.Consumer]
    ) -> messages.Consumer:
        if len(candidates) == 1:
            return candidates[0]
        turn = self._turns.get((address, pool), 0)
        self._turns[(address, pool)] = turn + 1
        return candidates[turn % len(candidates)]

    @staticmethod
    def _own(affinity: _Affinity, view: _View, pool: str) -> messages.Consumer | None:
        """The group's own consumer, or the process that has its inbox now."""
        if affinity.consumer in view.consumers[pool]:
            return affinity.consumer
        return view.inboxes.get((affinity.consumer.inbox, pool))

    def release(self, address: str, group: str, pool: str = "") -> None:
        """One message of *group*, picked before, is settled."""
        with self._lock:
            affinity = self._affinities.get((address, pool, group))
            if affinity is None:
                return
            affinity.in_flight -= 1
            if affinity.in_flight <= 0:
                del self._affinities[(address, pool, group)]
