# SPDX-License-Identifier: Apache-2.0
"""The endpoint's directory: who takes which address now, and who wants to know.

Sessions are named by the router's keys. Everything a session put in leaves with it.
"""

import collections
import collections.abc
import dataclasses

from nova_edge_bus.protocol import messages

MAX_CONSUMERS = 64
"""Consumers of an address that one ROUTES lists at most."""

Key = bytes


class LimitExceeded(Exception):
    """A session asked the directory to hold more than it may."""


@dataclasses.dataclass(slots=True)
class _Entries:
    """What one session has put into the directory."""

    listeners: dict[int, messages.Listen] = dataclasses.field(default_factory=dict)
    addresses: int = 0
    interests: set[str] = dataclasses.field(default_factory=set)


class RouteTable:
    """Addresses to consumers, in the order of their announcement.

    :param max_listeners: listeners of a session at most
    :param max_addresses: addresses and fanout topics of a session at most
    :param max_interests: addresses at most that a session has looked up and not forgotten
    """

    def __init__(self, *, max_listeners: int, max_addresses: int, max_interests: int) -> None:
        self._max_listeners = max_listeners
        self._max_addresses = max_addresses
        self._max_interests = max_interests
        self._consumers: dict[str, dict[tuple[Key, int], messages.Consumer]] = {}
        self._fanouts: dict[str, dict[Key, set[int]]] = {}
        self._interests: dict[str, dict[Key, int]] = {}
        self._sessions: dict[Key, _Entries] = {}
        self._turns: dict[str, int] = {}
        self._changed: dict[str, None] = {}
        self._pushes: collections.OrderedDict[tuple[Key, str], None] = collections.OrderedDict()

    def listen(self, key: Key, peer: bytes, inbox: bytes, message: messages.Listen) -> None:
        """Enter a listener; one with the same number is replaced.

        :raises LimitExceeded: when that would be more than a session may have
        """
        entries = self._sessions.setdefault(key, _Entries())
        self._remove(key, entries, message.listener)
        added = len(message.addresses) + len(message.fanouts)
        if len(entries.listeners) >= self._max_listeners:
            raise LimitExceeded(f"more than {self._max_listeners} listeners")
        if entries.addresses + added > self._max_addresses:
            raise LimitExceeded(f"more than {self._max_addresses} addresses")
        entries.listeners[message.listener] = message
        entries.addresses += added
        consumer = messages.Consumer(peer, message.listener, inbox, message.pool, message.admits)
        for address in message.addresses:
            self._consumers.setdefault(address, {})[key, message.listener] = consumer
            self._note_change(address)
        for address in message.fanouts:
            self._fanouts.setdefault(address, {}).setdefault(key, set()).add(message.listener)

    def unlisten(self, key: Key, listener: int) -> None:
        """Take a listener out; one that is not there is ignored."""
        entries = self._sessions.get(key)
        if entries is not None:
            self._remove(key, entries, listener)

    def lookup(self, key: Key, address: str) -> messages.Routes:
        """Answer who takes *address*, and remember that this session wants to know of changes.

        :raises LimitExceeded: when the session wants to know of too many
        """
        entries = self._sessions.setdefault(key, _Entries())
        if address not in entries.interests:
            if len(entries.interests) >= self._max_interests:
                raise LimitExceeded(f"more than {self._max_interests} addresses looked up")
            entries.interests.add(address)
            turn = self._turns.get(address, 0)
            self._turns[address] = turn + 1
            self._interests.setdefault(address, {})[key] = turn
        return self._routes(key, address)

    def forget(self, key: Key, address: str) -> None:
        """Tell the session of no more changes of *address*."""
        entries = self._sessions.get(key)
        if entries is not None and address in entries.interests:
            entries.interests.discard(address)
            self._discard_interest(key, address)

    def drop(self, key: Key) -> None:
        """Forget all that a session has put in."""
        entries = self._sessions.pop(key, None)
        if entries is None:
            return
        for listener in list(entries.listeners):
            self._remove(key, entries, listener)
        for address in entries.interests:
            self._discard_interest(key, address)

    def fanout_keys(self, address: str) -> list[Key]:
        """The sessions with a listener that takes fanouts to this topic."""
        return list(self._fanouts.get(address, ()))

    @property
    def changed(self) -> bool:
        """Whether there are changes that :meth:`schedule` has not yet seen."""
        return bool(self._changed)

    @property
    def interested(self) -> int:
        """How many pushes the changes so far will make."""
        return sum(len(self._interests.get(address, ())) for address in self._changed)

    @property
    def pushing(self) -> bool:
        """Whether :meth:`pushes` has something to give."""
        return bool(self._pushes)

    def schedule(self) -> None:
        """Turn the changes since the last call into pushes, one a session and address."""
        for address in self._changed:
            for key in self._interests.get(address, ()):
                self._pushes[key, address] = None
        self._changed.clear()

    def pushes(self, limit: int) -> collections.abc.Iterator[tuple[Key, messages.Routes]]:
        """Give at most *limit* of the pushes due, each as the directory is now."""
        for _ in range(min(limit, len(self._pushes))):
            (key, address), _ = self._pushes.popitem(last=False)
            if key in self._interests.get(address, ()):
                yield key, self._routes(key, address)

    def _routes(self, key: Key, address: str) -> messages.Routes:
        consumers = list(self._consumers.get(address, {}).values())
        if len(consumers) > 1:
            first = self._interests[address][key] % len(consumers)
            consumers = (consumers[first:] + consumers[:first])[:MAX_CONSUMERS]
        return messages.Routes(address, consumers)

    def _remove(self, key: Key, entries: _Entries, listener: int) -> None:
        message = entries.listeners.pop(listener, None)
        if message is None:
            return
        entries.addresses -= len(message.addresses) + len(message.fanouts)
        for address in message.addresses:
            consumers = self._consumers.get(address, {})
            if consumers.pop((key, listener), None) is not None:
                self._note_change(address)
            if not consumers:
                self._consumers.pop(address, None)
        for address in message.fanouts:
            takers = self._fanouts.get(address, {})
            takers.get(key, set()).discard(listener)
            if not takers.get(key):
                takers.pop(key, None)
            if not takers:
                self._fanouts.pop(address, None)

    def _note_change(self, address: str) -> None:
        if address in self._interests:
            self._changed[address] = None

    def _discard_interest(self, key: Key, address: str) -> None:
        interested = self._interests[address]
        del interested[key]
        if not interested:
            del self._interests[address]
            self._turns.pop(address, None)
