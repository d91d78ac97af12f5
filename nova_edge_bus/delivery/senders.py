# SPDX-License-Identifier: Apache-2.0
"""What a receiver remembers of each numbering of each sender, and for how long.

A sender may name as many addresses as it likes, and begin as many lives. So what is remembered is
bounded for all who are of one identity; they take room from each other and from nobody else.
"""

import collections
from collections.abc import Iterator

from nova_edge_bus.delivery import origins
from nova_edge_bus.protocol import messages

IDLE_RETENTION = 600.0
"""Seconds after which a sender with nothing under way is forgotten."""
MOST_OF_AN_IDENTITY = 4096
"""Numberings, and outboxes, of one identity that are remembered."""
MOST_OF_ANYBODY = 262_144
"""The same of all senders together where nothing is authenticated."""
_LOOKED_AT = 16

_Key = tuple[bytes, str]


class Senders:
    """The origins of one receiver, and the newest epoch of each outbox."""

    def __init__(self) -> None:
        self._origins: dict[_Key, origins.Origin] = {}
        self._epochs: dict[bytes, int] = {}
        self._keys: dict[str, collections.OrderedDict[_Key, None]] = {}
        self._outboxes: dict[str, collections.OrderedDict[bytes, None]] = {}

    def values(self) -> Iterator[origins.Origin]:
        """All that is remembered."""
        return iter(self._origins.values())

    def of(self, item: origins.Inbound) -> origins.Origin:
        """What is remembered of the numbering that *item* belongs to."""
        key = (item.origin, "" if item.kind == messages.Kind.REQUEST else item.address)
        origin = self._origins.get(key)
        if origin is None:
            origin = self._origins[key] = origins.Origin()
            keys = self._keys.setdefault(item.identity, collections.OrderedDict())
            keys[key] = None
            if len(keys) > _most(item.identity):
                self._forget_one(keys)
        return origin

    def is_fenced(self, item: origins.Inbound) -> bool:
        """Whether the outbox of *item* has been opened again since it was written."""
        newest = self._epochs.get(item.origin)
        if newest is None or item.epoch > newest:
            self._epochs[item.origin] = item.epoch
        if newest is None:
            outboxes = self._outboxes.setdefault(item.identity, collections.OrderedDict())
            outboxes[item.origin] = None
            if len(outboxes) > _most(item.identity):
                del self._epochs[outboxes.popitem(last=False)[0]]
        return newest is not None and item.epoch < newest

    def sweep(self, now: float) -> None:
        """Forget those of whom nothing was heard for long and nothing is under way."""
        for identity, keys in list(self._keys.items()):
            for key in list(keys):
                origin = self._origins[key]
                if not origin.items and now - origin.heard_at > IDLE_RETENTION:
                    del self._origins[key], keys[key]
            if not keys:
                del self._keys[identity]

    def _forget_one(self, keys: collections.OrderedDict[_Key, None]) -> None:
        """The oldest with nothing under way, if there is one among the first few."""
        for _ in range(_LOOKED_AT):
            key, _ = keys.popitem(last=False)
            if not self._origins[key].items:
                del self._origins[key]
                return
            keys[key] = None


def _most(identity: str) -> int:
    return MOST_OF_AN_IDENTITY if identity else MOST_OF_ANYBODY
