# SPDX-License-Identifier: Apache-2.0
"""Shipping: what happens to the items of a stream whenever it is worth a look."""

import collections
import functools
from collections.abc import Iterable

from nova_edge_bus.delivery import backlog as backlog_module
from nova_edge_bus.delivery import choice
from nova_edge_bus.delivery import directory as directory_module
from nova_edge_bus.delivery import ordering as ordering_module
from nova_edge_bus.delivery import permits
from nova_edge_bus.delivery import streams
from nova_edge_bus.delivery import surroundings
from nova_edge_bus.protocol import messages

DISTRUST_SECONDS = 60.0
"""How long it is remembered at least that something went unanswered on a way."""

_ANY = b""
"""Stands for every consumer."""


class Shipper:
    """Brings the waiting items of a stream as far as they can go."""

    def __init__(
        self,
        directory: directory_module.Directory,
        port: surroundings.Port,
        chooser: choice.Chooser,
        ordering: ordering_module.Ordering,
        backlog: backlog_module.Backlog,
        identity: tuple[bytes | None, int],
        allowed: permits.Permits,
    ) -> None:
        self._directory = directory
        self._port = port
        self._chooser = chooser
        self._ordering = ordering
        self._backlog = backlog
        self._outbox, self._epoch = identity
        self._permits = allowed
        self._distrusted: dict[tuple[object, bytes], float] = {}

    def ship(self, stream: streams.Stream, now: float) -> list[streams.Item]:
        """Ship what can be shipped, and read more of the stream when there is room for it.

        :returns: the mandatory calls that nobody takes
        """
        if not self._directory.answered(stream.address):
            self._port.lookup(stream.address)
        self._chooser.observe(stream)
        if not stream.calls:
            if not self._is_taken(stream):
                stream.note_untaken(now)
                stream.tidy()
                return []
            stream.untaken_since = None
            self._permits.keep(stream, self._takers(stream))
        waiting, stream.waiting = stream.waiting, type(stream.waiting)()
        kept: list[streams.Item] = []
        pins: list[tuple[int, bytes]] = []
        hopeless: list[streams.Item] = []
        for item in waiting:
            if item.state is not streams.State.WAITING:
                continue
            if self._is_hopeless(stream, item):
                hopeless.append(item)
            elif not self._advance(stream, item, pins, now):
                kept.append(item)
        if stream.waiting:
            stream.line_up()
        else:
            stream.waiting.extend(kept)
        if pins:
            self._port.pin(pins)
        if not stream.calls:
            self._ask(stream, now)
        self._load(stream)
        return hopeless

    def distrust(self, ways: Iterable[tuple[object, bytes]], now: float) -> None:
        """What went by these endpoints to these peers went unanswered: avoid them.

        An endpoint may take a while longer than we do to notice that a consumer is silent.
        """
        silent = dict.fromkeys(ways, now)
        if silent:
            recent = {
                way: since
                for way, since in self._distrusted.items()
                if now - since < DISTRUST_SECONDS
            }
            self._distrusted = recent | silent

    # Backlogs.

    def _ask(self, stream: streams.Stream, now: float) -> None:
        """Ask for credit for what stands in line, and give back what is of no use."""
        takers = self._takers(stream)
        admitting = {taker.peer for taker in takers if taker.admits}
        needs: dict[bytes, int] = {}
        if admitting and stream.backlog_through:
            found = self._needs(stream, takers)
            needs = {peer: entries for peer, entries in found.items() if peer in admitting}
        way = functools.partial(self._endpoint_to, stream)
        self._permits.ask(stream, needs, way, now)

    def _needs(self, stream: streams.Stream, takers: list[messages.Consumer]) -> dict[bytes, int]:
        """How much of the backlog that stands in line could be shipped to each consumer now.

        Those of one group follow each other to one of them, whichever that will be.
        """
        needs: collections.Counter[bytes] = collections.Counter()
        reach: dict[int, bytes] = {}
        free = 0
        for item in stream.waiting:
            if not stream.is_backlog(item):
                continue
            peer = self._only_taker(stream, item, reach)
            if item.permit is not None:
                if item.permit == peer:
                    continue
                # It was of a process that has ended.
                item.permit = None
            if peer is None:
                continue
            reach[item.number] = peer
            if peer == _ANY:
                free += 1
            else:
                needs[peer] += 1
        if free:
            for taker in takers[: permits.ASKED_CONSUMERS]:
                needs[taker.peer] += free
        return needs

    def _only_taker(
        self, stream: streams.Stream, item: streams.Item, reach: dict[int, bytes]
    ) -> bytes | None:
        """The one peer that *item* can go to now, ``_ANY``, or None.

        :param reach: what was found for the items before it in line
        """
        if item.pin is None and not stream.has_one_taker:
            before = self._ordering.predecessor(item)
            if before:
                earlier = stream.items.get(before)
                if _is_under_way(earlier):
                    assert earlier is not None
                    assert earlier.consumer is not None
                    return earlier.consumer.peer
                return reach.get(before)
        bound = self._chooser.bound(stream, item)
        if bound is not None:
            return bound.peer
        return _ANY if item.pin is None else None

    def _may_go(
        self, stream: streams.Stream, item: streams.Item, consumer: messages.Consumer
    ) -> bool:
        """Whether *consumer* lets *item* come."""
        if item.permit == consumer.peer or not stream.is_backlog(item):
            return True
        return self._permits.is_open(stream, consumer)

    def _take_permit(
        self, stream: streams.Stream, item: streams.Item, consumer: messages.Consumer
    ) -> None:
        if stream.is_backlog(item) and item.permit != consumer.peer:
            self._permits.spend(stream, consumer)
            item.permit = consumer.peer

    def _takers(self, stream: streams.Stream) -> list[messages.Consumer]:
        return self._directory.consumers(stream.address, stream.pool)

    def _is_taken(self, stream: streams.Stream) -> bool:
        """Whether anybody takes what is in *stream*; thousands may wait for those who are away."""
        return bool(self._takers(stream)) or self._is_pooled(stream)

    def _load(self, stream: streams.Stream) -> None:
        if not stream.more_on_disk or stream.loading or self._backlog.is_full(stream):
            return
        stream.loading = True
        self._port.load(stream.key, stream.cursor)

    def _is_hopeless(self, stream: streams.Stream, item: streams.Item) -> bool:
        return (
            item.mandatory
            and not item.may_have_arrived
            and self._directory.answered(stream.address)
            and not self._directory.consumers(stream.address, stream.pool)
        )

    def _advance(
        self,
        stream: streams.Stream,
        item: streams.Item,
        pins: list[tuple[int, bytes]],
        now: float,
    ) -> bool:
        """Bring *item* one step further; False leaves it waiting.

        While a consumer is being written down for one entry of a stream, later ones wait: they
        would overtake it.
        """
        if item.goes_last and not self._ordering.enter(item):
            # It came into line before what it has to wait for was written.
            return True
        if self._is_to_be_copied(stream, item):
            self._pause(stream, item)
            self._port.expand(item, self._directory.pools(stream.address))
            return True
        after = self._ordering.predecessor(item)
        is_open = None
        if stream.is_backlog(item):
            if after and item.pin is None and not _is_under_way(stream.items.get(after)):
                return False
            is_open = functools.partial(self._permits.is_open, stream)
        consumer = self._chooser.choose(stream, item, now, is_open)
        if consumer is None or not self._may_go(stream, item, consumer):
            return False
        if self._chooser.needs_pin(stream, item):
            self._take_permit(stream, item, consumer)
            self._pause(stream, item)
            pins.append((item.number, consumer.inbox))
            return True
        if stream.pinning:
            return False
        if after and not _is_on_its_way(stream.items.get(after), consumer):
            return False
        return self._transmit(stream, item, consumer, after, now)

    def _is_to_be_copied(self, stream: streams.Stream, item: streams.Item) -> bool:
        """Whether *item* is a notification for several pools, and certainly in none of them."""
        return item.expires is not None and not item.may_have_arrived and self._is_pooled(stream)

    def _is_pooled(self, stream: streams.Stream) -> bool:
        """Whether notifications of *stream* are to be copied for listener pools."""
        if streams.POOL_MARK in stream.key or stream.calls:
            return False
        return bool(self._directory.pools(stream.address))

    @staticmethod
    def _pause(stream: streams.Stream, item: streams.Item) -> None:
        item.state = streams.State.PINNING
        stream.pinning += 1

    def _transmit(
        self,
        stream: streams.Stream,
        item: streams.Item,
        consumer: messages.Consumer,
        after: int,
        now: float,
    ) -> bool:
        endpoint = self._endpoint_to(stream, consumer.peer)
        if endpoint is None:
            return False
        self._take_permit(stream, item, consumer)
        item.permit = None
        item.state = streams.State.IN_FLIGHT
        item.consumer = consumer
        item.endpoint = endpoint
        item.shipped_at = now
        item.attempts += 1
        self._backlog.in_flight[item] = None
        self._port.transmit(endpoint, self._deliver(stream, item, after, now))
        return True

    def _endpoint_to(self, stream: streams.Stream, peer: bytes) -> object | None:
        """An endpoint that can take something for *peer* now, the least suspect one first."""
        endpoints = self._directory.endpoints_to(stream.address, peer)
        if self._distrusted:
            endpoints = sorted(endpoints, key=lambda each: self._distrusted.get((each, peer), 0.0))
        for endpoint in endpoints:
            if self._port.can_transmit(endpoint):
                return endpoint
        return None

    def _deliver(
        self,
        stream: streams.Stream,
        item: streams.Item,
        after: int,
        now: float,
    ) -> messages.Deliver:
        consumer = item.consumer
        assert consumer is not None
        remaining = 0
        if item.is_call and item.expires is not None:
            remaining = max(1, int((item.expires - now) * 1000))
        return messages.Deliver(
            to=consumer.peer,
            listener=consumer.listener,
            reply_to=None,
            outbox=None if item.is_call else self._outbox,
            epoch=self._epoch,
            kind=int(item.kind),
            number=item.wire_number,
            floor=self._backlog.floor(stream),
            after=after,
            group=item.group,
            address=stream.key,
            remaining=remaining,
            monitor=int(item.monitor * 1000),
            body=item.body,
        )


def _is_on_its_way(
    earlier: streams.Item | None, consumer: messages.Consumer | None = None
) -> bool:
    """Whether the predecessor of an item is in flight, to this consumer if one is given."""
    return (
        earlier is not None
        and earlier.state is streams.State.IN_FLIGHT
        and earlier.consumer is not None
        and (consumer is None or earlier.consumer.peer == consumer.peer)
    )


def _is_under_way(earlier: streams.Item | None) -> bool:
    """Whether the predecessor of an item has its consumer: what follows it goes there too."""
    return (
        earlier is not None
        and earlier.state in (streams.State.IN_FLIGHT, streams.State.PINNING)
        and earlier.consumer is not None
    )
