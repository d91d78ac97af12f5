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

TURN = 16
"""Pushes that a session is given before it is the turn of the next one."""

MAX_BYTES = 16 * 1024 * 1024
"""Bytes of what a session has put in at most."""

PER_ADDRESS = 64
"""Bytes that an address counts for beside its own."""

Key = bytes


class LimitExceeded(Exception):
    """A session asked the directory to hold more than it may."""


@dataclasses.dataclass(slots=True)
class _Entries:
    """What one session has put into the directory."""

    listeners: dict[int, messages.Listen] = dataclasses.field(default_factory=dict)
    addresses: int = 0
    size: int = 0
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
        self._pushes: collections.OrderedDict[Key, dict[str, None]] = collections.OrderedDict()
        self._held: dict[Key, dict[str, None]] = {}

    def listen(
        self,
        key: Key,
        peer: bytes,
        inbox: bytes,
        message: messages.Listen,
        most: int = MAX_BYTES,
    ) -> None:
        """Enter a listener; one with the same number is replaced.

        :param most: bytes that the session may have put in
        :raises LimitExceeded: when that would be more than a session may have
        """
        entries = self._sessions.setdefault(key, _Entries())
        self._remove(key, entries, message.listener)
        added = len(message.addresses) + len(message.fanouts)
        if len(entries.listeners) >= self._max_listeners:
            raise LimitExceeded(f"more than {self._max_listeners} listeners")
        if entries.addresses + added > self._max_addresses:
            raise LimitExceeded(f"more than {self._max_addresses} addresses")
        self._grow(entries, _size_of_listener(message), most)
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

    def lookup(self, key: Key, address: str, most: int = MAX_BYTES) -> None:
        """Tell this session soon who takes *address*, and again when that changes.

        :param most: bytes that the session may have put in
        :raises LimitExceeded: when the session wants to know of too many
        """
        entries = self._sessions.setdefault(key, _Entries())
        if address not in entries.interests:
            if len(entries.interests) >= self._max_interests:
                raise LimitExceeded(f"more than {self._max_interests} addresses looked up")
            self._grow(entries, _size(address), most)
            entries.interests.add(address)
            turn = self._turns.get(address, 0)
            self._turns[address] = turn + 1
            self._interests.setdefault(address, {})[key] = turn
        self._push(key, address)

    def forget(self, key: Key, address: str) -> None:
        """Tell the session of no more changes of *address*."""
        entries = self._sessions.get(key)
        if entries is not None and address in entries.interests:
            entries.interests.discard(address)
            entries.size -= _size(address)
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
        self._pushes.pop(key, None)
        self._held.pop(key, None)

    def fanout_keys(self, address: str) -> list[Key]:
        """The sessions with a listener that takes fanouts to this topic."""
        return list(self._fanouts.get(address, ()))

    def interested_in(self, addresses: collections.abc.Iterable[str]) -> int:
        """How many are told when these change."""
        return sum(len(self._interests.get(address, ())) for address in addresses)

    def listened_to(self, key: Key, listener: int) -> list[str]:
        """The addresses that a listener takes."""
        entries = self._sessions.get(key)
        entered = entries.listeners.get(listener) if entries is not None else None
        return [] if entered is None else entered.addresses

    @property
    def changed(self) -> bool:
        """Whether there are changes that :meth:`schedule` has not yet seen."""
        return bool(self._changed)

    @property
    def interested(self) -> int:
        """How many pushes the changes so far will make."""
        return self.interested_in(self._changed)

    @property
    def pushing(self) -> bool:
        """Whether :meth:`pushes` has something to give."""
        return bool(self._pushes)

    def schedule(self) -> None:
        """Turn the changes since the last call into pushes, one a session and address."""
        for address in self._changed:
            for key in self._interests.get(address, ()):
                self._push(key, address)
        self._changed.clear()

    def _push(self, key: Key, address: str) -> None:
        waiting = self._held if key in self._held else self._pushes
        waiting.setdefault(key, {})[address] = None

    def pushes(
        self,
        limit: int,
        is_held: collections.abc.Callable[[Key], bool] = lambda key: False,
    ) -> collections.abc.Iterator[tuple[Key, messages.Routes]]:
        """Give at most *limit* of the pushes due, each as the directory is now.

        The sessions take turns.

        :param is_held: tells who is given none until :meth:`resume`
        """
        while self._pushes and limit > 0:
            key, due = self._pushes.popitem(last=False)
            for _ in range(min(TURN, limit, len(due))):
                if is_held(key):
                    break
                address = next(iter(due))
                del due[address]
                limit -= 1
                if key in self._interests.get(address, ()):
                    yield key, self._routes(key, address)
            if due:
                (self._held if is_held(key) else self._pushes)[key] = due

    def resume(self, key: Key) -> None:
        """Give this session again what has waited for it."""
        held = self._held.pop(key, None)
        if held:
            self._pushes[key] = held

    def _routes(self, key: Key, address: str) -> messages.Routes:
        consumers = list(self._consumers.get(address, {}).values())
        if len(consumers) > 1:
            first = self._interests[address][key] % len(consumers)
            consumers = (consumers[first:] + consumers[:first])[:MAX_CONSUMERS]
        return messages.Routes(address, consumers)

    def _grow(self, entries: _Entries, size: int, most: int) -> None:
        if entries.size + size > most:
            raise LimitExceeded(f"more than {most} bytes of addresses")
        entries.size += size

    def _remove(self, key: Key, entries: _Entries, listener: int) -> None:
        message = entries.listeners.pop(listener, None)
        if message is None:
            return
        entries.size -= _size_of_listener(message)
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


def _size(text: str) -> int:
    """Bytes that a text counts for: what is not ASCII may take four times its length."""
    return PER_ADDRESS + (len(text) if text.isascii() else 4 * len(text))


def _size_of_listener(message: messages.Listen) -> int:
    texts = (message.pool, *message.addresses, *message.fanouts)
    return sum(map(_size, texts))
