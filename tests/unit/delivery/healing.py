# SPDX-License-Identifier: Apache-2.0
"""A heal in simulated time: many senders with backlogs, some consumers, no endpoint between.

Messages take a fixed time, the sender's journal as well; a consumer applies on so many threads,
each of which takes a fixed time for an entry. So it can be told what the drain would take if no
thread ever waited, and what became of it.
"""

import collections
import dataclasses
import heapq
import itertools
from collections.abc import Callable
from typing import Any

from nova_edge_bus.delivery import directory
from nova_edge_bus.delivery import origins
from nova_edge_bus.delivery import receiver
from nova_edge_bus.delivery import sender
from nova_edge_bus.delivery import streams
from nova_edge_bus.protocol import messages

TOPIC = "v/e/conductor"
LINK = "endpoint"
PAGE = 128
SENDER_TICK = 0.25
RECEIVER_TICK = 1.0


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds: one way between processes, a commit of the journal, an apply."""

    way: float = 0.02
    commit: float = 0.005
    apply: float = 0.1


class World:
    """The clock and what is to happen by it."""

    def __init__(self, times: Times) -> None:
        self.times = times
        self.now = 100.0
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self.members: dict[bytes, Edge | Centre] = {}
        self.begun: list[tuple[bytes, str, int]] = []

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now + seconds, next(self._order), act))

    def send(self, to: bytes, message: Any, sent_by: bytes) -> None:
        """Carry a message as an endpoint does; who is not there any more gets none."""

        def arrive() -> None:
            member = self.members.get(to)
            if member is not None:
                member.take(message)

        if isinstance(message, messages.Deliver | messages.Want):
            message = message._replace(reply_to=sent_by)
        else:
            message = message._replace(sender=sent_by)
        self.after(self.times.way, arrive)

    def run(self, until: Callable[[], bool], limit: float) -> float:
        """Let things happen until something is so; returns the seconds that it took."""
        began = self.now
        while not until():
            assert self.now - began < limit, "it takes too long"
            self.now, _, act = heapq.heappop(self._agenda)
            act()
        return self.now - began


class Edge:
    """A host with a backlog, maybe of none; its port is itself."""

    def __init__(
        self, world: World, number: int, entries: list[streams.Item], limits: sender.Limits
    ) -> None:
        self._world = world
        self.peer = b"edge%04d" % number
        self.outbox = b"box-%04d" % number
        self._entries = {item.number: item for item in entries}
        self._turn_due = False
        self.settled: list[int] = []
        self.applied: list[int] = []
        self.calls: dict[int, tuple[float, float | None]] = {}
        self.directory = directory.Directory()
        self.sender = sender.Sender(
            self.directory, self, outbox=self.outbox, epoch=1, limits=limits
        )
        records = [item for item in entries if item.kind == messages.Kind.RECORD]
        self.sender.restore(
            [(item.number, item.group) for item in records],
            [(key, min(self._entries)) for key in {item.key for item in entries}],
        )
        world.members[self.peer] = self
        self._tick()

    @property
    def is_drained(self) -> bool:
        return not self.sender.unfinished()

    def _tick(self) -> None:
        if self._world.members.get(self.peer) is self:
            self.sender.tick(self._world.now)
            self.turn()
            self._world.after(SENDER_TICK, self._tick)

    def turn(self) -> None:
        """Ship once for all that happens at this moment."""
        if not self._turn_due:
            self._turn_due = True
            self._world.after(0.0, self._ship)

    def _ship(self) -> None:
        self._turn_due = False
        self.sender.ship(self._world.now)

    def call(self, number: int, group: str = "") -> None:
        item = streams.Item(messages.Kind.REQUEST, number, TOPIC, group, b"", repeatable=True)
        self.calls[number] = (self._world.now, None)
        self.sender.call(item)
        self.turn()

    def routes(self, consumers: list[messages.Consumer]) -> None:
        self.directory.update(LINK, TOPIC, consumers)
        self.sender.routes_changed(TOPIC)
        self.turn()

    def take(self, message: Any) -> None:
        now = self._world.now
        match message:
            case messages.Accept():
                self.sender.accepted(message.numbers, message.sender)
            case messages.Reply():
                self.sender.replied(*message[2:6], message.sender)
            case messages.Holding():
                kind, numbers, monitor = message[2:5]
                self.sender.holding(kind, numbers, now, monitor=monitor, peer=message.sender)
            case messages.Refuse():
                self.sender.refused(*message[2:5], message.sender)
            case messages.Grant():
                self.sender.granted(message, now)
        self.turn()

    # sender.Port

    def can_transmit(self, endpoint: object) -> bool:
        return True

    def transmit(self, endpoint: object, message: Any) -> None:
        if message.outbox is None and getattr(message, "kind", None) != messages.Kind.REQUEST:
            message = message._replace(outbox=self.outbox)
        self._world.send(message.to, message, self.peer)

    def lookup(self, address: str) -> None:
        pass

    def settle(self, seq: int, outcome: str) -> None:
        self._entries.pop(seq)
        self.applied.append(seq)
        self._after_commit(lambda: self.sender.settled([seq]))

    def pin(self, pins: list[tuple[int, bytes]]) -> None:
        self._after_commit(lambda: self.sender.pinned(pins))

    def load(self, key: str, after: int) -> None:
        def read() -> None:
            left = (item for item in self._entries.values() if item.key == key)
            page = list(itertools.islice((item for item in left if item.number > after), PAGE))
            self.sender.loaded(key, page, more=bool(page))

        self._after_commit(read)

    def _after_commit(self, act: Callable[[], None]) -> None:
        def then() -> None:
            act()
            self.turn()

        self._world.after(self._world.times.commit, then)

    def answer(self, item: streams.Item, status: int, body: bytes) -> None:
        if item.is_call:
            self.calls[item.number] = (self.calls[item.number][0], self._world.now)

    def at_work(self, item: streams.Item, *, monitor: bool) -> None:
        pass

    def unanswered(self, address: str) -> None:
        pass

    def heard(self, address: str) -> None:
        pass


class Centre:
    """A consumer with *threads* that take what comes in its order; its port is itself."""

    def __init__(self, world: World, number: int, threads: int, slots: int) -> None:
        self._world = world
        self._threads = threads
        self.peer = b"cent%04d" % number
        self._queue: collections.deque[origins.Inbound] = collections.deque()
        self.at_work: set[origins.Inbound] = set()
        self.busy_seconds = 0.0
        self.receiver = receiver.Receiver(self, holding_interval=5 / 3, backlog_slots=slots)
        self.receiver.listen(1, [TOPIC], [])
        self.consumer = messages.Consumer(self.peer, 1, b"in--%04d" % number, "", slots > 0)
        world.members[self.peer] = self
        self._flush_due = False
        self._tick()

    def _tick(self) -> None:
        if self._world.members.get(self.peer) is self:
            self.receiver.tick(self._world.now)
            self._turn()
            self._world.after(RECEIVER_TICK, self._tick)

    def _turn(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._world.after(0.0, self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        self.receiver.flush(self._world.now)

    def take(self, message: Any) -> None:
        match message:
            case messages.Deliver():
                self.receiver.deliver(message, LINK, self._world.now)
            case messages.Want():
                self.receiver.want(message, LINK, self._world.now)
        self._turn()

    # receiver.Port

    def transmit(self, via: object, message: Any) -> None:
        self._world.send(message.to, message, self.peer)

    def accept(self, item: origins.Inbound) -> None:
        def then() -> None:
            self.receiver.accepted(item, fresh=True)
            self._turn()

        self._world.after(self._world.times.commit, then)

    def dispatch(self, item: origins.Inbound) -> None:
        self._queue.append(item)
        self._work()

    def _work(self) -> None:
        while self._queue and len(self.at_work) < self._threads:
            self._begin(self._queue.popleft())

    def _begin(self, item: origins.Inbound) -> None:
        self.at_work.add(item)
        if item.kind != messages.Kind.REQUEST:
            self._world.begun.append((item.origin, item.group, item.number))

        def end() -> None:
            if self._world.members.get(self.peer) is not self:
                return
            self.at_work.discard(item)
            self.busy_seconds += self._world.times.apply
            self.finish(item)
            self._work()
            self._turn()

        self._world.after(self._world.times.apply, end)

    def finish(self, item: origins.Inbound) -> None:
        if item.kind != messages.Kind.COMMAND:
            self.receiver.finished(item, 0, b"")

    def withdraw(self, item: origins.Inbound) -> None:
        raise AssertionError("no listener goes")

    def is_crowded(self, listener: int, identity: str) -> bool:
        return False

    def forget(self, origin: bytes, address: str, floor: int) -> None:
        pass


def records(count: int, groups: int, first: int = 1) -> list[streams.Item]:
    """A backlog of so many records of so many groups in turns."""
    return [
        streams.Item(messages.Kind.RECORD, number, TOPIC, f"group-{number % groups}", b"12")
        for number in range(first, first + count)
    ]
