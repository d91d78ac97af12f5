# SPDX-License-Identifier: Apache-2.0
"""A sender and a receiver, each alone with a port that remembers what was asked of it."""

import itertools
from collections.abc import Iterable
from typing import Any

from nova_edge_bus.delivery import directory
from nova_edge_bus.delivery import origins
from nova_edge_bus.delivery import receiver
from nova_edge_bus.delivery import sender
from nova_edge_bus.delivery import streams
from nova_edge_bus.protocol import messages

Kind = messages.Kind
Refusal = messages.Refusal
TOPIC = "v/e/conductor"
SERVER = "v/e/compute/edge-7"
OUTBOX = b"outbox-1"
ACK_TIMEOUT = 5.0
GRACE = 10.0


def consumer(
    name: str, *, inbox: str = "", listener: int = 1, pool: str = "", admits: bool = False
) -> Any:
    """A consumer in the process *name*; its inbox is called after it unless something is said."""
    return messages.Consumer(
        name.encode().ljust(8, b"-"),
        listener,
        (inbox or name).encode().ljust(8, b"+"),
        pool,
        admits,
    )


A = consumer("a")
B = consumer("b")
C = consumer("c")


class SenderRig:
    """A sender whose journal answers when it is told to; endpoints have room unless *full*."""

    def __init__(self, limits: sender.Limits | None = None) -> None:
        self.now = 100.0
        self.full: set[object] = set()
        self.shipped: list[tuple[object, messages.Deliver]] = []
        self.questions: list[tuple[object, messages.Want]] = []
        self.pins: list[tuple[int, bytes]] = []
        self.outcomes: list[tuple[int, str]] = []
        self.loads: list[tuple[str, int]] = []
        self.lookups: list[str] = []
        self.expansions: list[tuple[streams.Item, set[str]]] = []
        self.answers: list[tuple[streams.Item, int, bytes]] = []
        self.heartbeats: list[streams.Item] = []
        self.hopeless: list[streams.Item] = []
        self.unheard: list[str] = []
        self.heard_from: list[str] = []
        self.was_fenced = False
        self.auto_pin = True
        self.directory = directory.Directory()
        self.sender = sender.Sender(
            self.directory,
            self,
            outbox=OUTBOX,
            epoch=3,
            limits=limits or sender.Limits(ack_timeout=ACK_TIMEOUT, consumer_grace=GRACE),
        )
        self._seqs = itertools.count(1)

    # What the test does

    def routes(self, *consumers: Any, endpoint: str = "e1", address: str = TOPIC) -> None:
        self.directory.update(endpoint, address, consumers)
        self.sender.routes_changed(address)

    def link(self, *endpoints: str, life: bytes = b"first") -> None:
        """Link to these endpoints, which are all that there are."""
        for endpoint in endpoints:
            self.directory.expect(endpoint, True)
            self.directory.linked(endpoint, life)

    def endpoint_down(self, endpoint: str = "e1") -> None:
        self.directory.forget_endpoint(endpoint)
        self.sender.endpoint_down(endpoint)

    def item(self, kind: Kind, group: str = "", key: str = TOPIC, **more: Any) -> streams.Item:
        more.setdefault("number", next(self._seqs))
        return streams.Item(kind=kind, key=key, group=group, body=b"body", **more)

    def record(self, group: str = "", key: str = TOPIC, **more: Any) -> streams.Item:
        item = self.item(Kind.RECORD, group, key, **more)
        self.sender.committed(item)
        return item

    def command(self, group: str = "", key: str = TOPIC, **more: Any) -> streams.Item:
        item = self.item(Kind.COMMAND, group, key, **more)
        self.sender.committed(item)
        return item

    def call(self, group: str = "", key: str = TOPIC, **more: Any) -> streams.Item:
        item = self.item(Kind.REQUEST, group, key, **more)
        self.sender.call(item)
        return item

    def ship(self) -> list[messages.Deliver]:
        """Ship what can be, and give it."""
        before = len(self.shipped)
        self.sender.ship(self.now)
        while self.pins and self.auto_pin:
            pins, self.pins = self.pins, []
            self.sender.pinned(pins)
            self.sender.ship(self.now)
        return [message for _, message in self.shipped[before:]]

    def wait(self, seconds: float) -> list[messages.Deliver]:
        """Let time pass, tick by tick, and give what is shipped meanwhile."""
        shipped = []
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.25)
            self.sender.tick(self.now)
            shipped += self.ship()
        return shipped

    def applied(self, *items: streams.Item) -> None:
        for item in items:
            self.sender.replied(item.kind, item.wire_number, 0, b"reply")

    def asked(self) -> dict[bytes, int]:
        """What each peer has been asked for since this was last asked for, the last word only."""
        questions, self.questions = self.questions, []
        return {message.to: message.entries for _, message in questions}

    def grant(self, taker: Any, entries: int, *, patience: float = 5.0, key: str = TOPIC) -> None:
        """A consumer grants so many entries."""
        message = messages.Grant(
            b"me------", taker.peer, OUTBOX, key, entries, int(1000 * patience)
        )
        self.sender.granted(message, self.now)

    def accepted(self, *items: streams.Item) -> None:
        self.sender.accepted([[item.number, item.number] for item in items])

    def refused(self, code: int, *items: streams.Item) -> None:
        for item in items:
            self.sender.refused(item.kind, [item.wire_number], code)

    def durable(self) -> None:
        """All outcomes are on disk now."""
        self.sender.settled([seq for seq, _ in self.outcomes])

    # sender.Port

    def can_transmit(self, endpoint: object) -> bool:
        return endpoint not in self.full

    def transmit(self, endpoint: object, message: messages.Deliver | messages.Want) -> None:
        if isinstance(message, messages.Want):
            self.questions.append((endpoint, message))
        else:
            self.shipped.append((endpoint, message))

    def lookup(self, address: str) -> None:
        self.lookups.append(address)

    def settle(self, seq: int, outcome: str) -> None:
        self.outcomes.append((seq, outcome))

    def pin(self, pins: list[tuple[int, bytes]]) -> None:
        self.pins += pins

    def load(self, key: str, after: int) -> None:
        self.loads.append((key, after))

    def expand(self, item: streams.Item, pools: set[str]) -> None:
        self.expansions.append((item, pools))

    def answer(self, item: streams.Item, status: int, body: bytes) -> None:
        self.answers.append((item, status, body))

    def at_work(self, item: streams.Item, *, monitor: bool) -> None:
        if monitor:
            self.heartbeats.append(item)

    def unanswered(self, address: str) -> None:
        self.unheard.append(address)

    def heard(self, address: str) -> None:
        self.heard_from.append(address)

    def undeliverable(self, item: streams.Item) -> None:
        self.hopeless.append(item)

    def fenced(self) -> None:
        self.was_fenced = True


class ReceiverRig:
    """A receiver whose inbox answers at once, unless *holds_back*."""

    def __init__(self, backlog_slots: int = 0) -> None:
        self.now = 100.0
        self.sent: list[tuple[object, Any]] = []
        self.dispatched: list[origins.Inbound] = []
        self.inbox: set[tuple[bytes, int]] = set()
        self.writes: list[origins.Inbound] = []
        self.withdrawals: list[origins.Inbound] = []
        self.forgotten: list[tuple[bytes, str, int]] = []
        self.crowded: set[int] = set()
        self.holds_back = False
        self.receiver = receiver.Receiver(self, holding_interval=2.0, backlog_slots=backlog_slots)
        self.receiver.listen(1, [TOPIC], [TOPIC])

    # What the test does

    def deliver(
        self, kind: Kind, number: int, *, via: str = "e1", **more: Any
    ) -> list[origins.Inbound]:
        """Have a delivery arrive, and give what is dispatched."""
        fields: dict[str, Any] = {
            "to": b"me------",
            "listener": 1,
            "reply_to": b"sender-1",
            "outbox": OUTBOX,
            "epoch": 1,
            "floor": 1,
            "after": 0,
            "group": "",
            "address": TOPIC,
            "remaining": 0,
            "monitor": 0,
            "body": b"body",
        }
        before = len(self.dispatched)
        self.receiver.deliver(
            messages.Deliver(kind=kind, number=number, **(fields | more)), via, self.now
        )
        return self.dispatched[before:]

    def record(self, number: int, **more: Any) -> list[origins.Inbound]:
        return self.deliver(Kind.RECORD, number, **more)

    def command(self, number: int, **more: Any) -> list[origins.Inbound]:
        return self.deliver(Kind.COMMAND, number, **more)

    def call(self, number: int, **more: Any) -> list[origins.Inbound]:
        return self.deliver(Kind.REQUEST, number, **more)

    def finish(self, *items: origins.Inbound, body: bytes = b"reply") -> None:
        for item in items:
            self.receiver.finished(item, 0, body)

    def write(self) -> None:
        """The inbox answers all that it was asked."""
        while self.writes:
            item = self.writes.pop(0)
            key = (item.origin, item.number)
            fresh = key not in self.inbox
            self.inbox.add(key)
            self.receiver.accepted(item, fresh=fresh)
        while self.withdrawals:
            item = self.withdrawals.pop(0)
            self.inbox.remove((item.origin, item.number))
            self.receiver.withdrawn(item)

    def wait(self, seconds: float) -> None:
        """Let time pass, tick by tick."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1.0)
            self.receiver.tick(self.now)

    def said(self, cls: type[Any]) -> list[Any]:
        """What has been sent of one class since it was last asked for, acknowledged or not."""
        self.receiver.flush(self.now)
        found = [message for _, message in self.sent if isinstance(message, cls)]
        self.sent = [each for each in self.sent if not isinstance(each[1], cls)]
        return found

    def acks(self) -> list[int]:
        """The numbers that have been acknowledged since this was last asked for."""
        return [
            number
            for message in self.said(messages.Accept)
            for first, last in message.numbers
            for number in range(first, last + 1)
        ]

    def refusals(self) -> list[tuple[int, int]]:
        """The numbers that have been refused since this was last asked for, and why."""
        said: Iterable[messages.Refuse] = self.said(messages.Refuse)
        return [(number, message.code) for message in said for number in message.numbers]

    # receiver.Port

    def transmit(self, via: object, message: messages.Message) -> None:
        self.sent.append((via, message))

    def accept(self, item: origins.Inbound) -> None:
        self.writes.append(item)
        if not self.holds_back:
            self.write()

    def withdraw(self, item: origins.Inbound) -> None:
        self.withdrawals.append(item)
        if not self.holds_back:
            self.write()

    def dispatch(self, item: origins.Inbound) -> None:
        self.dispatched.append(item)

    def is_crowded(self, listener: int, identity: str) -> bool:
        return listener in self.crowded

    def forget(self, origin: bytes, address: str, floor: int) -> None:
        self.forgotten.append((origin, address, floor))
