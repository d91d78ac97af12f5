# SPDX-License-Identifier: Apache-2.0
"""Which consumers have left, by the word of the endpoints.

That an endpoint does not list a consumer may mean that the consumer has not found its way there
yet, or cannot. An endpoint that has listed it before, and does not any more, knows that it has
left: its session there has ended, or it takes nothing more. That knowledge outlasts a cut between
this side and the endpoint, and ends with the endpoint.
"""

from collections.abc import Hashable
from collections.abc import Iterable

from nova_edge_bus.protocol import messages

MOST_INBOXES = 256
"""Inboxes of an address that are remembered for an endpoint; the oldest make way."""

_Inboxes = dict[bytes, None]


class Departures:
    """What each endpoint has ever listed, as long as it lives."""

    def __init__(self) -> None:
        self._lives: dict[Hashable, bytes] = {}
        self._listed: dict[Hashable, dict[str, _Inboxes]] = {}

    def linked(self, endpoint: Hashable, life: bytes) -> None:
        """There is a link to *endpoint*; its *life* is another one after each of its starts."""
        if self._lives.get(endpoint) != life:
            self._lives[endpoint] = life
            self._listed[endpoint] = {}

    def listed(
        self, endpoint: Hashable, address: str, consumers: Iterable[messages.Consumer]
    ) -> None:
        """*endpoint* lists these consumers of *address*."""
        addresses = self._listed.get(endpoint)
        if addresses is None:
            return
        inboxes = addresses.setdefault(address, {})
        inboxes.update(dict.fromkeys(each.inbox for each in consumers))
        for oldest in list(inboxes)[:-MOST_INBOXES]:
            del inboxes[oldest]

    def has_listed(self, endpoint: Hashable, address: str, inbox: bytes) -> bool:
        """Whether *endpoint* has ever listed a consumer of *address* with this inbox."""
        return inbox in self._listed.get(endpoint, {}).get(address, ())
