# SPDX-License-Identifier: Apache-2.0
"""The sender: ships what this side owns, in order, until the other side has settled it.

Shipping a fresh entry, going on after a reconnect and replaying a backlog after hours are one and
the same thing here: each stream is read from the journal behind its cursor, and whatever is not
settled is shipped. What is in flight when its endpoint is lost is shipped again to the same
consumer by another endpoint; the consumer knows it by its number.
"""

import collections
from collections.abc import Iterable
from collections.abc import Sequence

from nova_edge_bus.delivery import choice
from nova_edge_bus.delivery import directory as directory_module
from nova_edge_bus.delivery import ordering
from nova_edge_bus.delivery import streams
from nova_edge_bus.delivery import surroundings
from nova_edge_bus.protocol import messages

Key = tuple[bool, str]

Limits = surroundings.Limits
Port = surroundings.Port


class Sender:
    """Ships the entries of one outbox and, for the process's own outbox, the calls.

    Not thread-safe. After any call that may have made something shippable, call :meth:`ship`.
    """

    def __init__(
        self,
        directory: directory_module.Directory,
        port: Port,
        *,
        outbox: bytes | None = None,
        epoch: int = 0,
        limits: Limits | None = None,
    ) -> None:
        self._directory = directory
        self._port = port
        self._outbox = outbox
        self._epoch = epoch
        self._limits = limits or Limits()
        self._chooser = choice.Chooser(directory, self._limits.consumer_grace)
        self._ordering = ordering.Ordering()
        self._streams: dict[Key, streams.Stream] = {}
        self._by_address: collections.defaultdict[str, set[Key]] = collections.defaultdict(set)
        self._items: dict[tuple[bool, int], streams.Item] = {}
        self._in_flight: dict[streams.Item, None] = {}
        self._settling: dict[int, str] = {}
        self._ready: dict[Key, None] = {}
        self._stopped = False

    def depth(self) -> int:
        """How many items are held in memory, shipped or not."""
        return len(self._items)

    def unfinished(self) -> bool:
        """Whether any item, in memory or on disk, is not settled."""
        return bool(self._items or self._settling) or any(
            stream.more_on_disk for stream in self._streams.values()
        )

    # What this side adds.

    def restore(
        self, records: Iterable[tuple[int, str]], stored: Iterable[tuple[str, int]]
    ) -> None:
        """Take up an outbox as its last life left it.

        :param records: ``(seq, group)`` of every unsettled record, in order
        :param stored: ``(stream key, first unsettled seq)`` of every stream
        """
        for seq, group in records:
            self._ordering.register_record(seq, group)
        for key, first in stored:
            stream = self._stream((False, key))
            stream.cursor = first - 1
            stream.more_on_disk = True
            self._ready[(False, key)] = None

    def committed(self, item: streams.Item) -> None:
        """An entry is in the journal: ship it, or leave it there until there is room for it."""
        stream = self._stream((False, item.key))
        if item.kind == messages.Kind.RECORD:
            self._ordering.register_record(item.number, item.group)
        if stream.more_on_disk or self._is_full(stream):
            stream.more_on_disk = True
            self._chooser.release(item)
            self._ready[(False, item.key)] = None
        else:
            self._hold(stream, item)

    def call(self, item: streams.Item) -> None:
        """Make an unjournaled call."""
        self._hold(self._stream((True, item.key)), item)

    def cancel(self, number: int) -> None:
        """Nobody waits for this call any more."""
        item = self._items.get((True, number))
        if item is not None:
            self._finish(item)

    # What the journal answers.

    def pinned(self, pins: Iterable[tuple[int, bytes]]) -> None:
        """The consumers of these entries are on disk: they can be shipped."""
        for seq, inbox in pins:
            item = self._items.get((False, seq))
            if item is not None and item.state is streams.State.PINNING:
                item.pin = inbox
                self._streams[(False, item.key)].pinning -= 1
                self._wait(item)

    def loaded(self, key: str, items: Sequence[streams.Item], *, more: bool) -> None:
        """Take over entries read from the journal; *more* of the stream are still there."""
        stream = self._stream((False, key))
        stream.loading = False
        stream.more_on_disk = more
        for item in items:
            if item.number > stream.cursor:
                self._hold(stream, item)

    def settled(self, seqs: Iterable[int]) -> None:
        """The outcomes of these entries are on disk."""
        by_key: collections.defaultdict[str, set[int]] = collections.defaultdict(set)
        for seq in seqs:
            key = self._settling.pop(seq, None)
            if key is not None:
                by_key[key].add(seq)
        for key, numbers in by_key.items():
            self._streams[(False, key)].end_settling(numbers)

    def expanded(self, item: streams.Item, copies: Sequence[streams.Item]) -> None:
        """A notification has been replaced by *copies*, one for each listener pool."""
        self._finish(item)
        for copy in copies:
            self.committed(copy)

    def expired(self, seqs: Iterable[int]) -> None:
        """These entries have outlived their time and are settled so."""
        for seq in seqs:
            item = self._items.get((False, seq))
            if item is not None:
                self._finish(item)

    # What the other side says.

    def routes_changed(self, address: str) -> None:
        """The directory has news about *address*."""
        for key in self._by_address[address]:
            self._ready[key] = None

    def credit(self) -> None:
        """A link has come up or has credit again, or time has passed."""
        for key, stream in self._streams.items():
            if stream.waiting or stream.more_on_disk:
                self._ready[key] = None

    def endpoint_down(self, endpoint: object) -> None:
        """What was in flight through *endpoint* must go another way, to the same consumers."""
        for item in [item for item in self._in_flight if item.endpoint == endpoint]:
            self._take_back(item)

    def accepted(self, numbers: Iterable[Sequence[int]]) -> None:
        """The receiver has made these commands durable: they are its own now.

        :param numbers: inclusive ranges ``[first, last]``
        """
        for first, last in numbers:
            for seq in range(first, last + 1):
                item = self._items.get((False, seq))
                if item is not None and item.kind == messages.Kind.COMMAND:
                    self._settle(item, "accepted")

    def replied(self, kind: int, number: int, status: int, body: bytes) -> None:
        """A call or a record has been applied; an answer to what is settled is ignored."""
        item = self._find(kind, number)
        if item is None:
            return
        if item.is_call:
            self._finish(item)
        else:
            self._settle(item, "applied")
        self._port.answer(item, status, body)

    def holding(self, kind: int, numbers: Iterable[int], now: float, *, monitor: bool) -> None:
        """The receiver is still at work on these."""
        for number in numbers:
            item = self._find(kind, number)
            if item is not None:
                item.heard_at = now
                if monitor:
                    self._port.heartbeat(item)

    def refused(self, kind: int, numbers: Iterable[int], code: int) -> None:
        """The receiver or an endpoint did not take these; they are still ours.

        Only the refusal of a first attempt proves that no consumer has the item.
        """
        if code == messages.Refusal.FENCED:
            self._stopped = True
            self._port.fenced()
            return
        for number in numbers:
            item = self._find(kind, number)
            if item is None or item.state is not streams.State.IN_FLIGHT:
                continue
            elsewhere = code != messages.Refusal.BUSY and item.attempts == 1 and not item.in_doubt
            if elsewhere:
                self._chooser.forget(item)
            self._take_back(item, at_once=elsewhere)

    # Time.

    def tick(self, now: float) -> None:
        """Look after what has waited too long; call it a few times a second."""
        limit = self._limits.ack_timeout
        for item in list(self._in_flight):
            if now - max(item.shipped_at, item.heard_at) > limit:
                self._take_back(item)
        self.credit()

    def ship(self, now: float) -> None:
        """Ship all that can be shipped now."""
        while self._ready and not self._stopped:
            ready, self._ready = self._ready, {}
            for key in ready:
                stream = self._streams.get(key)
                if stream is not None:
                    self._ship_stream(stream, now)

    def _ship_stream(self, stream: streams.Stream, now: float) -> None:
        if not self._directory.answered(stream.address):
            self._port.lookup(stream.address)
        kept: list[streams.Item] = []
        pins: list[tuple[int, bytes]] = []
        while stream.waiting:
            item = stream.waiting.popleft()
            if item.state is streams.State.WAITING and not self._advance(stream, item, pins, now):
                kept.append(item)
        stream.waiting.extend(kept)
        if pins:
            self._port.pin(pins)
        if stream.more_on_disk and not stream.loading and not self._is_full(stream):
            if self._directory.consumers(stream.address, stream.pool):
                stream.loading = True
                self._port.load(stream.key, stream.cursor)

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
        pools = self._new_pools(stream, item)
        if pools:
            item.state = streams.State.PINNING
            stream.pinning += 1
            self._port.expand(item, pools)
            return True
        consumer = self._chooser.choose(stream, item, now)
        if consumer is None:
            if not (item.mandatory and self._directory.answered(stream.address)):
                return False
            self._finish(item)
            self._port.undeliverable(item)
            return True
        if self._chooser.needs_pin(stream, item):
            item.state = streams.State.PINNING
            stream.pinning += 1
            pins.append((item.number, consumer.inbox))
            return True
        if stream.pinning or not self._ordering.may_ship(stream, item, consumer):
            return False
        return self._transmit(stream, item, consumer, now)

    def _new_pools(self, stream: streams.Stream, item: streams.Item) -> set[str]:
        """The listener pools that a notification has yet to be copied for."""
        if item.is_call or item.expires is None or streams.POOL_MARK in stream.key:
            return set()
        return self._directory.pools(stream.address)

    def _transmit(
        self,
        stream: streams.Stream,
        item: streams.Item,
        consumer: messages.Consumer,
        now: float,
    ) -> bool:
        for endpoint in self._directory.endpoints_to(stream.address, consumer.peer):
            if self._port.can_transmit(endpoint):
                break
        else:
            return False
        item.state = streams.State.IN_FLIGHT
        item.consumer = consumer
        item.endpoint = endpoint
        item.shipped_at = now
        item.attempts += 1
        self._in_flight[item] = None
        self._port.transmit(endpoint, self._deliver(stream, item, consumer, now))
        return True

    def _deliver(
        self,
        stream: streams.Stream,
        item: streams.Item,
        consumer: messages.Consumer,
        now: float,
    ) -> messages.Deliver:
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
            number=item.number,
            floor=stream.floor,
            after=self._ordering.predecessor(stream, item),
            group=item.group,
            address=stream.key,
            remaining=remaining,
            monitor=int(item.monitor * 1000),
            body=item.body,
        )

    def _stream(self, key: Key) -> streams.Stream:
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = streams.Stream(key[1])
            self._by_address[stream.address].add(key)
        return stream

    def _is_full(self, stream: streams.Stream) -> bool:
        limits = self._limits
        return len(stream.items) >= limits.window_messages or stream.size >= limits.window_bytes

    def _hold(self, stream: streams.Stream, item: streams.Item) -> None:
        stream.add(item)
        self._items[(item.is_call, item.number)] = item
        if self._ordering.enter(item):
            self._wait(item)

    def _wait(self, item: streams.Item) -> None:
        """*item* stands in line, in the place that its number gives it."""
        key = (item.is_call, item.key)
        stream = self._streams[key]
        item.state = streams.State.WAITING
        if stream.waiting and stream.waiting[-1].number > item.number:
            stream.line_up()
        else:
            stream.waiting.append(item)
        self._ready[key] = None

    def _take_back(self, item: streams.Item, *, at_once: bool = True) -> None:
        """*item* is not in flight any more: it stands in line again."""
        self._in_flight.pop(item, None)
        item.endpoint = None
        item.state = streams.State.WAITING
        key = (item.is_call, item.key)
        self._streams[key].line_up()
        if at_once:
            self._ready[key] = None

    def _settle(self, item: streams.Item, outcome: str) -> None:
        stream = self._streams[(False, item.key)]
        stream.begin_settling(item.number)
        self._settling[item.number] = item.key
        self._finish(item)
        self._port.settle(item.number, outcome)

    def _finish(self, item: streams.Item) -> None:
        """*item* is settled or given up: let go of it and of whatever waited for it."""
        key = (item.is_call, item.key)
        stream = self._streams[key]
        stream.remove(item)
        if item.state is streams.State.PINNING:
            stream.pinning -= 1
        self._items.pop((item.is_call, item.number), None)
        self._in_flight.pop(item, None)
        self._chooser.release(item)
        item.state = streams.State.SETTLED
        for released in self._ordering.leave(item):
            self._wait(released)
        if stream.waiting or stream.more_on_disk:
            self._ready[key] = None
        elif item.is_call and not stream.items:
            del self._streams[key]
            self._by_address[stream.address].discard(key)

    def _find(self, kind: int, number: int) -> streams.Item | None:
        return self._items.get((kind == messages.Kind.REQUEST, number))
