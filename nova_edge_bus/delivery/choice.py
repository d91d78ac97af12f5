# SPDX-License-Identifier: Apache-2.0
"""Which consumer gets an item.

What has never left this process may go to anybody, in turns. What may have reached a consumer goes
to that one again, because only that one can tell whether it had it. When that consumer is gone
and stays away for ``grace`` seconds while others are there, entries go to another one.

A record does so after ``REPEAT_AFTER`` where all endpoints say that the consumer has left:
whatever became of it there, the database that it changes knows. A command waits, for the inbox
that may have it is known to its next process alone. A call that is repeatable needs nobody to tell
and waits for ``REPEAT_AFTER`` at the most; one that is not is left to time out.

Where nobody can be reached it is this side that is cut off, and no consumer is taken for lost.
"""

import math
from collections.abc import Callable

from nova_edge_bus.delivery import directory as directory_module
from nova_edge_bus.delivery import streams
from nova_edge_bus.protocol import messages

REPEAT_AFTER = 1.0
"""Seconds for which a repeatable call, or a record whose consumer has left, waits for it.

They are for the consumers that come back one by one after an endpoint was lost: the first one must
not get the calls of all.
"""


Open = Callable[[messages.Consumer], bool]


class Chooser:
    """Chooses consumers out of a directory.

    :param grace: seconds
    """

    def __init__(self, directory: directory_module.Directory, grace: float) -> None:
        self._directory = directory
        self._grace = grace

    def observe(self, stream: streams.Stream) -> None:
        """Take note of the lost consumers that are back; call it before choosing."""
        if not stream.lost:
            return
        if not self._directory.consumers(stream.address, stream.pool):
            stream.lost.clear()
        for identity in list(stream.lost):
            if self._find(stream, identity) is not None:
                del stream.lost[identity]

    def choose(
        self,
        stream: streams.Stream,
        item: streams.Item,
        now: float,
        is_open: Open | None = None,
    ) -> messages.Consumer | None:
        """The consumer for *item*, or None while there is none that it may go to.

        :param is_open: tells which consumers may be chosen for what is bound to none
        """
        takers = self._directory.consumers(stream.address, stream.pool)
        if not takers:
            return None
        if stream.has_one_taker:
            return takers[-1]
        identity = _bound_to(item)
        if identity is None:
            return self._pick(stream, item, is_open)
        if item.consumer in takers:
            return item.consumer
        bound = self._find(stream, identity)
        if bound is not None:
            return bound
        if item.may_have_arrived:
            lost_at = stream.lost.setdefault(identity, now)
            if now - lost_at < self._patience(stream, item):
                return None
            self.forget(item)
            item.in_doubt = True
        else:
            self.forget(item)
        return self._pick(stream, item, is_open)

    def bound(self, stream: streams.Stream, item: streams.Item) -> messages.Consumer | None:
        """The one consumer that an entry can go to for the time being, if there is but one."""
        takers = self._directory.consumers(stream.address, stream.pool)
        if takers and (stream.has_one_taker or len(takers) == 1):
            return takers[-1]
        if item.pin is not None:
            return self._find(stream, item.pin)
        return self._directory.own(stream.address, item.group, stream.pool)

    def _patience(self, stream: streams.Stream, item: streams.Item) -> float:
        """Seconds for which *item* waits for the consumer that may have it."""
        if not item.is_call:
            return self._patience_of_entry(stream, item)
        if not item.repeatable:
            return math.inf
        return 0.0 if self.is_outlived(stream, item) else min(self._grace, REPEAT_AFTER)

    def _patience_of_entry(self, stream: streams.Stream, item: streams.Item) -> float:
        """A record is known by its effect, whoever applies it; a command by its inbox alone."""
        is_record = item.kind == messages.Kind.RECORD
        if is_record and item.pin and self._directory.has_left(stream.address, item.pin):
            return min(self._grace, REPEAT_AFTER)
        return self._grace

    def is_outlived(self, stream: streams.Stream, item: streams.Item) -> bool:
        """Whether the process that has *item* is gone, and another one has its inbox now."""
        consumer = item.consumer
        if consumer is None or not consumer.inbox:
            return False
        heir = self._directory.by_inbox(stream.address, consumer.inbox, stream.pool)
        if heir is None or heir.peer == consumer.peer:
            return False
        return self._directory.by_peer(stream.address, consumer.peer) is None

    def is_local(self, item: streams.Item) -> bool:
        """Whether *item* goes to a listener of this process."""
        return self.is_local_address(streams.split_key(item.key)[0])

    def is_local_address(self, address: str) -> bool:
        """Whether a listener of this process takes *address*."""
        return self._directory.is_local(address)

    def forget(self, item: streams.Item) -> None:
        """No consumer has *item*: it is as if it had never been shipped."""
        self.release(item)
        item.pin = None
        item.permit = None
        item.consumer = None
        item.in_doubt = False
        item.attempts = 0

    def release(self, item: streams.Item) -> None:
        """*item* does not tie its group to a consumer any more."""
        if item.bound:
            item.bound = False
            address, pool = streams.split_key(item.key)
            self._directory.release(address, item.group, pool or "")

    def needs_pin(self, stream: streams.Stream, item: streams.Item) -> bool:
        """Whether the consumer must be on disk before *item* is shipped."""
        return not (stream.calls or item.pin is not None or stream.has_one_taker)

    def _find(self, stream: streams.Stream, identity: bytes) -> messages.Consumer | None:
        if stream.calls:
            return self._directory.by_peer(stream.address, identity)
        return self._directory.by_inbox(stream.address, identity, stream.pool)

    def _pick(
        self, stream: streams.Stream, item: streams.Item, is_open: Open | None
    ) -> messages.Consumer | None:
        """Take a turn; the item keeps it, for several listeners may share an inbox."""
        group = "" if item.is_call else item.group
        consumer = self._directory.pick(stream.address, group, stream.pool, is_open)
        item.bound = consumer is not None and bool(group)
        item.consumer = consumer
        return consumer


def _bound_to(item: streams.Item) -> bytes | None:
    """The inbox of an entry, or the peer of a call, that has *item* or is to get it."""
    if item.is_call:
        return item.consumer.peer if item.consumer is not None else None
    return item.pin
