# SPDX-License-Identifier: Apache-2.0
"""How much of each sender a receiver holds in memory: what waits, and answers that are kept.

The credit of a session comes back when the receiver has looked at a delivery, which may then have
to wait; so what it holds is bounded here. Where keys tell who the senders are each identity has
its bound, and nobody's deliveries keep out those of another.
"""

import collections

from nova_edge_bus.delivery import origins

MOST_BYTES = 512 * 1024 * 1024
"""Bytes held of all senders together."""
MOST_OF_A_COMPUTE = 64 * 1024 * 1024
"""Bytes held of one that is a compute."""
MOST_OF_A_CENTRE = 256 * 1024 * 1024
"""Bytes held of another identity; its host has many processes."""
FAIR_SHARE = 1024 * 1024
"""Bytes that an identity may have held whatever is held of others."""
OVERHEAD = 1024
"""Bytes that each delivery counts for beside its body."""
MOST_REPLIES = 0.5
"""How much of that kept answers may be; the oldest make way."""


class _Holder:
    __slots__ = ("kept", "replies", "size")

    def __init__(self) -> None:
        self.size = 0
        self.replies: collections.OrderedDict[origins.Inbound, int] = collections.OrderedDict()
        self.kept = 0


class Holdings:
    """What one receiver holds."""

    def __init__(self) -> None:
        self._holders: dict[str, _Holder] = {}
        self._sizes: dict[origins.Inbound, int] = {}
        self._total = 0

    @property
    def total(self) -> int:
        """Bytes that are held."""
        return self._total

    def objection_to(self, item: origins.Inbound) -> str:
        """Why *item* cannot be held as well; empty when it can."""
        holder = self._holders.get(item.identity)
        size = OVERHEAD + len(item.body)
        held = 0 if holder is None else holder.size
        if held and held + size > _most(item.identity):
            return "too much of this sender is held"
        if held + size > FAIR_SHARE and self._total + size > MOST_BYTES:
            return "too much is held"
        return ""

    def add(self, item: origins.Inbound) -> None:
        """*item* is held from now on."""
        self.remove(item)
        self._count(item, OVERHEAD + len(item.body))

    def keep_reply(self, item: origins.Inbound, size: int) -> list[origins.Inbound]:
        """The answer to *item* is held; give those whose answers have to make way for it."""
        self.remove(item)
        self._count(item, OVERHEAD + size)
        holder = self._holders[item.identity]
        holder.replies[item] = OVERHEAD + size
        holder.kept += OVERHEAD + size
        over: list[origins.Inbound] = []
        kept = holder.kept
        for oldest, its_size in holder.replies.items():
            if kept <= MOST_REPLIES * _most(item.identity) or oldest is item:
                break
            over.append(oldest)
            kept -= its_size
        return over

    def remove(self, item: origins.Inbound) -> None:
        """*item* is not held any more; one that was not is ignored."""
        size = self._sizes.pop(item, None)
        if size is None:
            return
        holder = self._holders[item.identity]
        holder.size -= size
        self._total -= size
        holder.kept -= holder.replies.pop(item, 0)
        if not holder.size:
            del self._holders[item.identity]

    def _count(self, item: origins.Inbound, size: int) -> None:
        self._sizes[item] = size
        holder = self._holders.get(item.identity)
        if holder is None:
            holder = self._holders[item.identity] = _Holder()
        holder.size += size
        self._total += size


def _most(identity: str) -> int:
    if not identity:
        return MOST_BYTES
    return MOST_OF_A_COMPUTE if identity.startswith("compute:") else MOST_OF_A_CENTRE
