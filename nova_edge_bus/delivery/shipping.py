# SPDX-License-Identifier: Apache-2.0
"""Shipping: what happens to the items of a stream whenever it is worth a look."""

from collections.abc import Iterable

from nova_edge_bus.delivery import backlog as backlog_module
from nova_edge_bus.delivery import choice
from nova_edge_bus.delivery import directory as directory_module
from nova_edge_bus.delivery import ordering as ordering_module
from nova_edge_bus.delivery import streams
from nova_edge_bus.delivery import surroundings
from nova_edge_bus.protocol import messages

DISTRUST_SECONDS = 60.0
"""How long it is remembered at least that something went unanswered on a way."""


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
    ) -> None:
        self._directory = directory
        self._port = port
        self._chooser = chooser
        self._ordering = ordering
        self._backlog = backlog
        self._outbox, self._epoch = identity
        self._distrusted: dict[tuple[object, bytes], float] = {}

    def ship(self, stream: streams.Stream, now: float) -> list[streams.Item]:
        """Ship what can be shipped, and read more of the stream when there is room for it.

        :returns: the mandatory calls that nobody takes
        """
        if not self._directory.answered(stream.address):
            self._port.lookup(stream.address)
        self._chooser.observe(stream)
        if not stream.calls and not self._is_taken(stream):
            stream.tidy()
            return []
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
        self._load(stream)
        return hopeless

    def distrust(self, items: Iterable[streams.Item], now: float) -> None:
        """These went unanswered: avoid the endpoints by which they went to their consumers.

        An endpoint may take a while longer than we do to notice that a consumer is silent.
        """
        ways = {
            (item.endpoint, item.consumer.peer): now for item in items if item.consumer is not None
        }
        if ways:
            recent = {
                way: since
                for way, since in self._distrusted.items()
                if now - since < DISTRUST_SECONDS
            }
            self._distrusted = recent | ways

    def _is_taken(self, stream: streams.Stream) -> bool:
        """Whether anybody takes what is in *stream*; thousands may wait for those who are away."""
        taken = self._directory.consumers(stream.address, stream.pool)
        return bool(taken) or self._is_pooled(stream)

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
        consumer = self._chooser.choose(stream, item, now)
        if consumer is None:
            return False
        if self._chooser.needs_pin(stream, item):
            self._pause(stream, item)
            pins.append((item.number, consumer.inbox))
            return True
        if stream.pinning:
            return False
        after = self._ordering.predecessor(item)
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


def _is_on_its_way(earlier: streams.Item | None, consumer: messages.Consumer) -> bool:
    """Whether the predecessor of an item is in flight to the same consumer."""
    return (
        earlier is not None
        and earlier.state is streams.State.IN_FLIGHT
        and earlier.consumer is not None
        and earlier.consumer.peer == consumer.peer
    )
