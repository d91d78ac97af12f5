# SPDX-License-Identifier: Apache-2.0
"""A process of the model world: what the runtime is around the delivery core, without I/O."""

import collections
import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

from nova_edge_bus.delivery import directory
from nova_edge_bus.delivery import origins
from nova_edge_bus.delivery import receiver
from nova_edge_bus.delivery import sender
from nova_edge_bus.delivery import streams
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol.states import State
from tests.unit.delivery import journals
from tests.unit.delivery import ledger as ledgers
from tests.unit.delivery import receiving
from tests.unit.delivery import wires

PAGE = 3
BACKLOG = 6
NOTIFICATIONS = "v/e/notifications.info"
FAR = 1e9
SLOTS = 1
_peer_ids = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Listening:
    """What a process listens to when it listens."""

    number: int
    addresses: list[str]
    pool: str = ""


class Process:
    """One life of a process; the journal outlives it.

    It is its sender's and its receiver's port at once.
    """

    def __init__(
        self,
        name: str,
        journal: journals.Journal,
        listenings: list[Listening],
        endpoints: list[wires.Endpoint],
        ledger: ledgers.Ledger,
        limits: sender.Limits,
        now: float,
    ) -> None:
        journal.open()
        self.name = name
        self.journal = journal
        self.peer = next(_peer_ids).to_bytes(8, "big")
        self.now = now
        self.blocked: set[str] = set()
        self.links: dict[str, wires.Connection | None] = {each.name: None for each in endpoints}
        self.mailboxes: dict[int, collections.deque[origins.Inbound]] = {}
        self.working: list[origins.Inbound] = []
        self._endpoints = {each.name: each for each in endpoints}
        self._listenings = {each.number: each for each in listenings}
        self._interest: list[str] = []
        self._up: set[str] = set()
        self.ledger = ledger
        ledger.inboxes[self.peer] = journal.outbox_id
        self._calls = itertools.count(1)
        self.directory = directory.Directory()
        self.sender = sender.Sender(
            self.directory,
            self,
            outbox=journal.outbox_id,
            epoch=journal.epoch,
            limits=limits,
        )
        self.receiver = receiver.Receiver(
            receiving.ReceiverPort(self), holding_interval=2.0, backlog_slots=SLOTS
        )
        self.sender.restore(*journal.left_over())
        self.receiver.restore(journal.undone())
        self._handlers: dict[type, Callable[[str, Any], None]] = {
            messages.Routes: self._on_routes,
            messages.Listening: lambda link, message: None,
            messages.Deliver: lambda link, message: self.receiver.deliver(message, link, self.now),
            messages.Accept: lambda link, message: self.sender.accepted(message.numbers),
            messages.Reply: lambda link, message: self.sender.replied(*message[2:6]),
            messages.Holding: self._on_holding,
            messages.Refuse: lambda link, message: self.sender.refused(*message[2:5]),
            messages.Want: lambda link, message: self.receiver.want(message, link, self.now),
            messages.Grant: lambda link, message: self.sender.granted(message, self.now),
        }

    # What it is told to do

    def listen(self, number: int) -> None:
        listening = self._listenings[number]
        self.mailboxes[number] = collections.deque()
        self.receiver.listen(number, listening.addresses, [], listening.pool)
        self._tell_all(self._announcement(number))

    def listen_to_all(self) -> None:
        for number in sorted(self._listenings.keys() - self.mailboxes.keys()):
            self.listen(number)

    def cut_off(self, name: str) -> None:
        """Cut the way to an endpoint, until it is unblocked."""
        self.blocked.add(name)
        link = self.links[name]
        if link is not None:
            link.cut()

    def unlisten(self, number: int) -> None:
        """Take no more; what has been taken is still worked off."""
        self.receiver.unlisten(number)
        self._tell_all(messages.Unlisten(number))
        for item in self.mailboxes.pop(number):
            self.begin(item)

    def append(
        self, kind: messages.Kind, key: str, group: str, expires: float | None = None
    ) -> None:
        """Journal an entry as the client does: the consumer is chosen with the append."""
        address, pool = streams.split_key(key)
        consumer = None
        if address.count("/") < 3:
            consumer = self.directory.pick(address, group, pool or "")
        entry = journals.Entry(0, kind, key, group, b"", consumer and consumer.inbox, expires)

        def run() -> int:
            seq = self.journal.append(entry)
            self.ledger.appended(self.journal.outbox_id, seq, kind, key, group)
            return seq

        def then(seq: int) -> None:
            item = journals.as_item(entry)
            item.in_doubt = False
            item.bound = consumer is not None and bool(group)
            self.ledger.registered(self.journal.outbox_id, seq)
            self.sender.committed(item)

        self.journal.submit(run, then)

    def notify(self) -> None:
        """Journal a notification as the client does: a copy for each pool that is known."""
        pools = self.directory.pools(NOTIFICATIONS)
        keys = [NOTIFICATIONS]
        if pools:
            keys = [streams.stream_key(NOTIFICATIONS, pool) for pool in ("", *sorted(pools))]
        for key in keys:
            self.append(messages.Kind.COMMAND, key, "", expires=FAR)

    def call(self, key: str, group: str, *, repeatable: bool) -> None:
        number = next(self._calls)
        item = streams.Item(
            kind=messages.Kind.REQUEST,
            number=number,
            key=key,
            group=group,
            body=self.peer + number.to_bytes(8, "big"),
            repeatable=repeatable,
        )
        outbox = self.journal.outbox_id
        self.ledger.called(item.body, outbox, group, repeatable=repeatable)
        self.sender.call(item)

    def open_calls(self) -> list[int]:
        """The calls that are neither answered nor cancelled."""
        return [
            int.from_bytes(name[8:], "big")
            for name, call in self.ledger.calls.items()
            if name.startswith(self.peer) and not (call.answered or call.cancelled)
        ]

    def cancel(self, number: int) -> None:
        self.ledger.cancelled(self.peer + number.to_bytes(8, "big"))
        self.sender.cancel(number)

    def start_work(self, number: int) -> None:
        """Take the first delivery out of a mailbox; a command is dispatched for good with that."""
        item = self.mailboxes[number].popleft()
        self.begin(item)

    def begin(self, item: origins.Inbound) -> None:
        if item.kind != messages.Kind.COMMAND:
            self.ledger.executed(item)
            self.working.append(item)
            return

        def run() -> None:
            states = journals.InboxState
            self.journal.mark(item, states.ACCEPTED, states.DISPATCHED)
            self.ledger.dispatched(item, self.journal.outbox_id)

        self.journal.submit(run, lambda result: self.working.append(item))

    def finish_work(self, index: int) -> None:
        item = self.working.pop(index)
        if item.kind != messages.Kind.COMMAND:
            self.receiver.finished(item, 0, item.body)
        else:
            states = journals.InboxState
            self.journal.lazily(
                lambda: self.journal.mark(item, states.DISPATCHED, states.DONE),
                lambda result: None,
            )

    # Turns of its loop

    def turn(self, now: float) -> None:
        """What the runtime does in each turn of its loop."""
        self.now = now
        for name in self.links:
            self._look_at_link(name)
        self.sender.ship(now)
        self.receiver.flush(now)
        for link in self.links.values():
            if link is not None:
                link.write()

    def look_after(self, now: float) -> None:
        """What the runtime does from time to time."""
        self.now = now
        self.journal.flush_lazy()
        self.sender.tick(now)
        self.receiver.tick(now)

    def carry(self, name: str, now: float) -> None:
        """Take one packet from an endpoint."""
        self.now = now
        link = self.links[name]
        assert link is not None
        for message in link.carry_down(now):
            self._handlers[type(message)](name, message)
            link.session.consumed(message)

    def _look_at_link(self, name: str) -> None:
        link = self.links[name]
        if link is not None:
            link.session.tick(self.now)
            if link.over:
                link.write()
                self.links[name] = link = None
        is_up = link is not None and link.session.state is State.UP
        self.directory.expect(name, is_up)
        if is_up != (name in self._up):
            self._link_changed(name, is_up)
        endpoint = self._endpoints[name]
        if link is None and endpoint.router is not None and name not in self.blocked:
            hello = messages.Hello(
                1,
                1,
                self.peer,
                self.journal.outbox_id,
                self.journal.epoch,
                self.peer,
                self.name,
                "nova",
                *wires.WINDOW,
            )
            self.links[name] = wires.Connection(endpoint, hello, self.now)

    def _link_changed(self, name: str, is_up: bool) -> None:
        if is_up:
            self._up.add(name)
            for number in self.mailboxes:
                self._tell(name, self._announcement(number))
            if self._interest:
                self._tell(name, messages.Lookup(list(self._interest)))
        else:
            self._up.discard(name)
            self.directory.forget_endpoint(name)
            self.sender.endpoint_down(name)

    def _announcement(self, number: int) -> messages.Listen:
        listening = self._listenings[number]
        return messages.Listen(number, listening.addresses, [], listening.pool, admits=True)

    def _tell(self, name: str, message: messages.Message) -> None:
        link = self.links[name]
        assert link is not None
        link.session.queue(message)

    def _tell_all(self, message: messages.Message) -> None:
        for name in self._up:
            self._tell(name, message)

    def _on_routes(self, link: str, message: messages.Routes) -> None:
        consumers = [messages.Consumer(*consumer) for consumer in message.consumers]
        self.directory.update(link, message.address, consumers)
        self.sender.routes_changed(message.address)

    def _on_holding(self, link: str, message: messages.Holding) -> None:
        kind, numbers, monitor = message[2:5]
        self.sender.holding(kind, numbers, self.now, monitor=monitor)

    # sender.Port

    def can_transmit(self, endpoint: object) -> bool:
        link = self.links.get(str(endpoint))
        return endpoint in self._up and link is not None and link.session.backlog[0] < BACKLOG

    def transmit(self, endpoint: object, message: messages.Message) -> None:
        if isinstance(message, messages.Deliver):
            self.ledger.shipped(message, self.journal)
        if endpoint in self._up:
            self._tell(str(endpoint), message)
        elif self._up:
            self._tell(min(self._up), message)

    def lookup(self, address: str) -> None:
        if address not in self._interest:
            self._interest.append(address)
            self._tell_all(messages.Lookup([address]))

    def settle(self, seq: int, outcome: str) -> None:
        self.journal.lazily(
            lambda: self.journal.settle(seq, outcome),
            lambda result: self.sender.settled([seq]),
        )

    def pin(self, pins: list[tuple[int, bytes]]) -> None:
        self.journal.submit(
            lambda: self.journal.pin(pins), lambda result: self.sender.pinned(pins)
        )

    def load(self, key: str, after: int) -> None:
        self.journal.submit(
            lambda: self.journal.page(key, after, PAGE),
            lambda page: self.sender.loaded(
                key, [journals.as_item(entry) for entry in page], more=bool(page)
            ),
        )

    def expand(self, item: streams.Item, pools: set[str]) -> None:
        keys = [streams.stream_key(item.key, pool) for pool in ("", *sorted(pools))]
        copies = [
            journals.Entry(0, item.kind, key, item.group, item.body, None, item.expires)
            for key in keys
        ]

        def run() -> None:
            self.journal.settle(item.number, "expanded")
            self.ledger.expanded(self.journal.outbox_id, item.number)
            for copy in copies:
                seq = self.journal.append(copy)
                outbox = self.journal.outbox_id
                self.ledger.appended(outbox, seq, copy.kind, copy.key, copy.group)

        def then(result: object) -> None:
            items = [journals.as_item(copy) for copy in copies]
            self.sender.expanded(item, items)

        self.journal.submit(run, then)

    def answer(self, item: streams.Item, status: int, body: bytes) -> None:
        if item.is_call:
            assert body == item.body, "the answer to another call"
            self.ledger.answered(item.body)

    def at_work(self, item: streams.Item, *, monitor: bool) -> None:
        assert not monitor, "no call of this world is monitored"

    def unanswered(self, address: str) -> None:
        """Nothing is made of it here."""

    def heard(self, address: str) -> None:
        """Nor of this."""

    def undeliverable(self, item: streams.Item) -> None:
        raise AssertionError("no call of this world is mandatory")

    def fenced(self) -> None:
        raise AssertionError("the current life was fenced")
