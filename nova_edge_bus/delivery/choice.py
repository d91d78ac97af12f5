# SPDX-License-Identifier: Apache-2.0
"""Which consumer gets an item.

What has never left this process may go to anybody, in turns. What may have reached a consumer goes
to that one again, because only that one can tell whether it had it. When that consumer is gone
and stays away for ``grace`` seconds, entries and repeatable calls go to another one; a call that
may not be repeated is left to time out.
"""

from nova_edge_bus import addressing
from nova_edge_bus.delivery import directory as directory_module
from nova_edge_bus.delivery import streams
from nova_edge_bus.protocol import messages


class Chooser:
    """Chooses consumers out of a directory.

    :param grace: seconds
    """

    def __init__(self, directory: directory_module.Directory, grace: float) -> None:
        self._directory = directory
        self._grace = grace

    def choose(
        self, stream: streams.Stream, item: streams.Item, now: float
    ) -> messages.Consumer | None:
        """The consumer for *item*, or None while there is none that it may go to."""
        if self._has_one_taker(stream, item):
            takers = self._directory.consumers(stream.address, stream.pool)
            return takers[-1] if takers else None
        if item.pin is None and item.consumer is None:
            return self._pick(stream, item)
        bound = self._bound(stream, item)
        if bound is not None:
            item.lost_at = None
            return bound
        if item.lost_at is None:
            item.lost_at = now
        if now - item.lost_at < self._grace or (item.is_call and not item.repeatable):
            return None
        self.forget(item)
        return self._pick(stream, item)

    def forget(self, item: streams.Item) -> None:
        """No consumer has *item*, or can tell: it is as if it had never been shipped."""
        self.release(item)
        item.pin = None
        item.consumer = None
        item.lost_at = None
        item.in_doubt = False
        item.attempts = 0

    def release(self, item: streams.Item) -> None:
        """*item* does not tie its group to a consumer any more."""
        if item.bound:
            item.bound = False
            self._directory.release(streams.split_key(item.key)[0], item.group)

    def needs_pin(self, stream: streams.Stream, item: streams.Item) -> bool:
        """Whether the consumer must be on disk before *item* is shipped."""
        return not (item.is_call or item.pin is not None or self._has_one_taker(stream, item))

    @staticmethod
    def _has_one_taker(stream: streams.Stream, item: streams.Item) -> bool:
        """Entries for one server go to whichever process is that server, the youngest first."""
        return not item.is_call and addressing.is_server_directed(stream.address)

    def _bound(self, stream: streams.Stream, item: streams.Item) -> messages.Consumer | None:
        if item.pin is not None:
            return self._directory.by_inbox(stream.address, item.pin, stream.pool)
        if item.consumer is not None:
            return self._directory.by_peer(stream.address, item.consumer.peer)
        return None

    def _pick(self, stream: streams.Stream, item: streams.Item) -> messages.Consumer | None:
        group = "" if item.is_call else item.group
        consumer = self._directory.pick(stream.address, group, stream.pool)
        item.bound = consumer is not None and bool(group)
        return consumer
