# SPDX-License-Identifier: Apache-2.0
"""What a sender holds in memory: its streams, the items in them, and what is worth a look."""

import collections
from collections.abc import Iterable

from nova_edge_bus.delivery import streams
from nova_edge_bus.delivery import surroundings
from nova_edge_bus.protocol import messages

_Key = tuple[bool, str]


class Backlog:
    """Streams by their keys and items by their numbers.

    A stream of entries is bounded by *limits*, and a stream with nothing in it is forgotten.
    """

    def __init__(self, limits: surroundings.Limits) -> None:
        self.in_flight: dict[streams.Item, None] = {}
        self._limits = limits
        self._streams: dict[_Key, streams.Stream] = {}
        self._by_address: dict[str, dict[_Key, streams.Stream]] = {}
        self._entries: dict[int, streams.Item] = {}
        self._calls: collections.OrderedDict[int, streams.Item] = collections.OrderedDict()
        self._by_maker: dict[int, streams.Item] = {}
        self._last_call = 0
        self._ready: dict[streams.Stream, None] = {}

    def __len__(self) -> int:
        return len(self._entries) + len(self._calls)

    @property
    def unread(self) -> bool:
        """Whether the journal holds entries that are not in memory."""
        return any(stream.more_on_disk for stream in self._streams.values())

    def stream(self, key: str, *, calls: bool = False) -> streams.Stream:
        """The stream with this key, made when there is none."""
        stream = self._streams.get((calls, key))
        if stream is None:
            stream = self._streams[(calls, key)] = streams.Stream(key, calls)
            self._by_address.setdefault(stream.address, {})[(calls, key)] = stream
        return stream

    def entry_streams(self) -> list[streams.Stream]:
        """All streams of entries."""
        return [stream for stream in self._streams.values() if not stream.calls]

    def stream_of(self, item: streams.Item) -> streams.Stream:
        """The stream that *item* travels in."""
        return self.stream(item.key, calls=item.is_call)

    def is_full(self, stream: streams.Stream) -> bool:
        """Whether no more entries of *stream* are to be held."""
        limits = self._limits
        return len(stream.items) >= limits.window_messages or stream.size >= limits.window_bytes

    def add(self, item: streams.Item) -> None:
        """Hold *item*; a call is numbered by the order in which they come here."""
        if item.is_call:
            self._last_call += 1
            item.call_number = self._last_call
            self._calls[item.call_number] = item
            self._by_maker[item.number] = item
        else:
            self._entries[item.number] = item
        self.stream_of(item).add(item)

    def remove(self, item: streams.Item) -> None:
        """Let go of *item*."""
        if item.is_call:
            self._calls.pop(item.call_number, None)
            self._by_maker.pop(item.number, None)
        else:
            self._entries.pop(item.number, None)
        self.in_flight.pop(item, None)
        stream = self.stream_of(item)
        stream.remove(item)
        if stream.waiting or stream.more_on_disk:
            self.wake(stream)

    def entry(self, seq: int) -> streams.Item | None:
        """The entry with this seq, if it is held."""
        return self._entries.get(seq)

    def call_made(self, number: int) -> streams.Item | None:
        """The call that its maker knows by this number, if it is held."""
        return self._by_maker.get(number)

    def find(self, kind: int, number: int) -> streams.Item | None:
        """The item that a message of the other side speaks of, if it is held."""
        if kind == messages.Kind.REQUEST:
            return self._calls.get(number)
        item = self._entries.get(number)
        return item if item is not None and item.kind == kind else None

    def going_last(self) -> list[streams.Item]:
        """The entries held that go last."""
        return [item for item in self._entries.values() if item.goes_last]

    def unanswered(self, now: float) -> list[streams.Item]:
        """What is in flight and has not been heard of for the time that an answer may take."""
        limit = self._limits.ack_timeout
        return [
            item for item in self.in_flight if now - max(item.shipped_at, item.heard_at) > limit
        ]

    def entries_in(self, ranges: Iterable[tuple[int, int]]) -> list[streams.Item]:
        """The entries held whose seqs lie in these ranges, both ends included."""
        found: list[streams.Item] = []
        for first, last in ranges:
            if last - first < len(self._entries):
                held = (self._entries.get(seq) for seq in range(first, last + 1))
                found += [item for item in held if item is not None]
            else:
                found += [item for seq, item in self._entries.items() if first <= seq <= last]
        return found

    def floor(self, stream: streams.Stream) -> int:
        """The lowest number of the stream's numbering that is not settled for good.

        All calls share one numbering, whatever their addresses.
        """
        if stream.calls:
            return next(iter(self._calls), self._last_call + 1)
        return stream.floor

    def wake(self, stream: streams.Stream) -> None:
        """Something of *stream* may be ready to be shipped."""
        self._ready[stream] = None

    def streams_to(self, address: str) -> list[streams.Stream]:
        """The streams of all numberings and pools that go to *address*."""
        return list(self._by_address.get(address, {}).values())

    def addresses(self) -> set[str]:
        """The addresses that any stream goes to."""
        return set(self._by_address)

    def wake_address(self, address: str) -> None:
        """There is news about the consumers of *address*."""
        for stream in self.streams_to(address):
            self.wake(stream)

    def wake_all(self) -> None:
        """Look at everything that waits."""
        for stream in self._streams.values():
            if stream.waiting or stream.more_on_disk:
                self.wake(stream)

    def woken(self) -> list[streams.Stream]:
        """The streams that are worth a look, each once."""
        ready, self._ready = self._ready, {}
        return list(ready)

    def forget_if_idle(self, stream: streams.Stream) -> None:
        """Forget *stream* when there is nothing in it."""
        key = (stream.calls, stream.key)
        # Another one may have taken its place meanwhile.
        if stream.idle and self._streams.get(key) is stream:
            del self._streams[key]
            siblings = self._by_address[stream.address]
            del siblings[key]
            if not siblings:
                del self._by_address[stream.address]
