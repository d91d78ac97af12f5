# SPDX-License-Identifier: Apache-2.0
"""A receiver's surroundings: the links of a bus, the inbox, and the listeners' mailboxes."""

import enum
import functools
import time
from collections.abc import Callable
from collections.abc import Sequence

from nova_edge_bus import concurrency
from nova_edge_bus import settings as settings_module
from nova_edge_bus.delivery import directory
from nova_edge_bus.delivery import origins
from nova_edge_bus.delivery import receiver as receiver_module
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal as journal_module
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import figures as figures_module
from nova_edge_bus.runtime import links as links_module
from nova_edge_bus.runtime import mailbox
from nova_edge_bus.runtime import pending
from nova_edge_bus.runtime import store as store_module

LOG = concurrency.NativeLogger(__name__)

REPEAT_WARNING = 60.0
"""Seconds after which a warning about something that goes on is repeated."""


class _Taken(enum.Enum):
    """What became of a command that was to be accepted."""

    FRESH = True
    KNOWN = False
    FENCED = "fenced"
    """Its outbox has been opened again since."""


class Incoming:
    """The port of the :class:`~nova_edge_bus.delivery.receiver.Receiver`, and the receiver.

    :param on_arrival: is given the body of each command and call of others
    :param figures: where what happens is counted
    """

    def __init__(
        self,
        links: links_module.Links,
        store: store_module.Store,
        settings: settings_module.Settings,
        on_arrival: Callable[[bytes], None] | None = None,
        figures: figures_module.Figures | None = None,
    ) -> None:
        self._figures = figures or figures_module.Figures()
        self._on_arrival = on_arrival
        self._links = links
        self._store = store
        self._mailboxes: dict[int, mailbox.Mailbox] = {}
        self._foreign: dict[origins.Inbound, store_module.Store] = {}
        self._call_soon = store.call_soon
        self._accepting = store.combiner(_accept)
        self._begun = store.combiner(_mark_dispatched)
        self.receiver = receiver_module.Receiver(
            self,
            holding_interval=settings.link_timeout / 3,
            backlog_slots=settings.backlog_at_once,
        )

    def restore(self, stored: list[entries.Received]) -> list[entries.Received]:
        """Dispatch what the last life accepted and a listener here takes; return the rest."""
        items, rest = self._split(stored)
        self.receiver.restore(items)
        return rest

    def adopt(self, store: store_module.Store, stored: list[entries.Received]) -> None:
        """Dispatch the commands of an adopted inbox for which there is a listener here.

        The others stay in that inbox for a process that listens for them.
        """
        items, _ = self._split(stored)
        for item in items:
            self._foreign[item] = store
        self.receiver.restore(items)

    def _split(
        self, stored: list[entries.Received]
    ) -> tuple[list[origins.Inbound], list[entries.Received]]:
        items: list[origins.Inbound] = []
        rest: list[entries.Received] = []
        for row in stored:
            item = _stored_item(row)
            if self.receiver.takes(item):
                items.append(item)
            else:
                rest.append(row)
        return items, rest

    def holds(self, store: store_module.Store) -> bool:
        """Whether commands of an adopted inbox are still being handled here."""
        return store in self._foreign.values()

    def listen(self, announcement: messages.Listen, box: mailbox.Mailbox) -> None:
        """Take deliveries for a listener into *box* from now on."""
        self._mailboxes[announcement.listener] = box
        self.receiver.listen(
            announcement.listener,
            announcement.addresses,
            announcement.fanouts,
            announcement.pool,
        )

    def unlisten(self, number: int) -> None:
        """Put nothing more into the mailbox of this listener."""
        self.receiver.unlisten(number)
        self._mailboxes.pop(number, None)

    def begin(self, item: origins.Inbound) -> None:
        """A command is about to be dispatched: it will not be, a second time.

        Blocks the caller, the dispatching thread, until that is on disk.

        :raises JournalError: when it cannot be written
        """
        if item.kind != messages.Kind.COMMAND:
            return
        waiter = pending.Pending()

        def done(_: object, error: Exception | None) -> None:
            if error is not None:
                concurrency.post(functools.partial(waiter.fail, error))
            else:
                concurrency.post(functools.partial(waiter.resolve, 0, b""))

        foreign = self._foreign.get(item)
        begun = self._begun if foreign is None else foreign.combiner(_mark_dispatched)
        begun.add((item.origin, item.number), done)
        waiter.wait(store_module.OPEN_TIMEOUT)

    def finish(self, item: origins.Inbound, status: int, body: bytes) -> None:
        """*item* has been handled; on the I/O thread."""
        self._figures.handled += 1
        self._figures.recorded += status == messages.Status.RECORDED
        if item.kind == messages.Kind.COMMAND:
            self._foreign.get(item, self._store).lazily(_mark_done, self._done, item)
        elif item.kind is not None:
            self.receiver.finished(item, status, body)

    def fenced(self, item: origins.Inbound, epoch: int) -> None:
        """*item* has no effect: its outbox was opened again since *epoch*; on the I/O thread.

        Whoever opened it may have shipped the same entry meanwhile, and then ships it again.
        """
        is_over = item.epoch == epoch
        code = messages.Refusal.FENCED if is_over else messages.Refusal.BUSY
        self.receiver.not_taken(item, code, receiver_module.OPENED_SINCE)

    def _done(self, items: list[origins.Inbound]) -> None:
        for item in items:
            self._foreign.pop(item, None)

    # receiver.Port

    def transmit(self, via: object, message: messages.Message) -> None:
        """See :class:`nova_edge_bus.delivery.receiver.Port`."""
        self._links.transmit(via, message)

    def accept(self, item: origins.Inbound) -> None:
        """See :class:`nova_edge_bus.delivery.receiver.Port`."""
        row = entries.Received(
            origin=item.origin,
            seq=item.number,
            epoch=item.epoch,
            address=item.address,
            group=item.group,
            body=item.body,
            received_at=time.time(),
            identity=item.identity,
        )

        def done(taken: _Taken | None, error: Exception | None) -> None:
            if error is not None or taken is None:
                LOG.warning_once_in(
                    REPEAT_WARNING,
                    "cannot accept commands, first outbox=%s seq=%s: %s",
                    item.origin.hex(),
                    item.number,
                    error,
                )
                busy = messages.Refusal.BUSY
                self.receiver.not_taken(item, busy, "the inbox cannot be written")
            elif taken is _Taken.FENCED:
                self.fenced(item, row.epoch)
            else:
                self.receiver.accepted(item, fresh=taken is _Taken.FRESH)

        self._accepting.add(
            row, lambda taken, error: self._call_soon(functools.partial(done, taken, error))
        )

    def withdraw(self, item: origins.Inbound) -> None:
        """See :class:`nova_edge_bus.delivery.receiver.Port`."""

        def done(_: object, error: Exception | None) -> None:
            if error is None:
                self.receiver.withdrawn(item)
            else:
                LOG.error("cannot take a command out of the inbox: %s", error)

        self._store.run(lambda journal: journal.inbox.withdraw(item.origin, item.number), done)

    def dispatch(self, item: origins.Inbound) -> None:
        """See :class:`nova_edge_bus.delivery.receiver.Port`."""
        if self._on_arrival is not None and item.via not in (None, directory.LOCAL):
            self._on_arrival(item.body)
        box = self._mailboxes[item.listener]
        concurrency.post(functools.partial(box.put, item))

    def is_crowded(self, listener: int, identity: str) -> bool:
        """Whether the mailbox of *listener* has no room for what such a sender sends."""
        box = self._mailboxes.get(listener)
        return box is not None and box.is_crowded(identity)

    def forget(self, origin: bytes, address: str, floor: int) -> None:
        """See :class:`nova_edge_bus.delivery.receiver.Port`."""
        self._store.lazily(_forget, _nothing, (origin, address, floor))


def _accept(journal: journal_module.Journal, rows: Sequence[entries.Received]) -> Sequence[_Taken]:
    newest: dict[bytes, int] = {}
    for row in rows:
        newest[row.origin] = max(row.epoch, newest.get(row.origin, 0))
    for origin, epoch in newest.items():
        newest[origin] = journal.inbox.newest_epoch(origin, epoch)
    current = [row for row in rows if row.epoch == newest[row.origin]]
    fresh = iter(journal.inbox.accept_many(current))
    return [
        _Taken.FENCED if row.epoch < newest[row.origin] else _Taken(next(fresh)) for row in rows
    ]


def _mark_dispatched(journal: journal_module.Journal, keys: Sequence[tuple[bytes, int]]) -> None:
    journal.inbox.mark_dispatched_many(keys)


def _mark_done(journal: journal_module.Journal, items: list[origins.Inbound]) -> None:
    journal.inbox.mark_done_many((item.origin, item.number) for item in items)


def _forget(journal: journal_module.Journal, floors: list[tuple[bytes, str, int]]) -> None:
    for origin, address, floor in floors:
        journal.inbox.forget_below(origin, address, floor)


def _nothing(_: list[object]) -> None:
    """Nobody waits for it."""


def _stored_item(row: entries.Received) -> origins.Inbound:
    return origins.Inbound(
        kind=messages.Kind.COMMAND,
        number=row.seq,
        origin=row.origin,
        reply_to=b"",
        via=None,
        address=row.address,
        body=row.body,
        group=row.group,
        identity=row.identity,
    )
