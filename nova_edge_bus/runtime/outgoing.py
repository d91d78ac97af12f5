# SPDX-License-Identifier: Apache-2.0
"""A sender's surroundings: the links of a bus, a journal, and the callers who wait."""

import itertools
import json
import time
from collections.abc import Callable

from nova_edge_bus import concurrency
from nova_edge_bus import events
from nova_edge_bus.autonomy import bodies
from nova_edge_bus.autonomy import forward
from nova_edge_bus.autonomy import keeper
from nova_edge_bus.autonomy import notes
from nova_edge_bus.contracts import table
from nova_edge_bus.delivery import sender as sender_module
from nova_edge_bus.delivery import streams
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal as journal_module
from nova_edge_bus.journal import reasons
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import autonomy as autonomy_module
from nova_edge_bus.runtime import figures as figures_module
from nova_edge_bus.runtime import links as links_module
from nova_edge_bus.runtime import pending
from nova_edge_bus.runtime import store as store_module

LOG = concurrency.NativeLogger(__name__)

_GO_LAST = frozenset(row.name for row in table.ROWS if row.last)
REPEAT_WARNING = 60.0
"""Seconds after which a warning about something that goes on is repeated."""


class Outgoing:
    """The port of one :class:`~nova_edge_bus.delivery.sender.Sender`, and the sender itself.

    :param own: whether the outbox is this process's own rather than an adopted one
    :param autonomy: what is to hear of the replies, if anything
    :param figures: where what happens is counted
    """

    def __init__(
        self,
        links: links_module.Links,
        store: store_module.Store,
        limits: sender_module.Limits,
        *,
        own: bool,
        autonomy: autonomy_module.Autonomy | None = None,
        figures: figures_module.Figures | None = None,
    ) -> None:
        self._links = links
        self._figures = figures or figures_module.Figures()
        self._autonomy = autonomy
        self._moments: dict[int, keeper.Moment] = {}
        self._store = store
        self._call_numbers = itertools.count(1)
        self._waiting: dict[tuple[bool, int], pending.Pending] = {}
        self._refused: dict[int, str] = {}
        self._not_expanded: list[streams.Item] = []
        self._not_pinned: list[tuple[int, bytes]] = []
        self.sender = sender_module.Sender(
            links.directory,
            self,
            outbox=None if own else store.outbox_id,
            epoch=store.epoch,
            limits=limits,
        )

    def restore(self, records: list[tuple[int, str]], stored: list[tuple[str, int]]) -> None:
        """Take up what the journal holds for this bus."""
        self.sender.restore(records, stored)

    def next_call(self) -> int:
        """A number for a call; any thread may ask."""
        return next(self._call_numbers)

    def call(
        self,
        item: streams.Item,
        waiter: pending.Pending | None,
        moment: keeper.Moment | None = None,
    ) -> None:
        """Make a call whose answer *waiter* gets, and the snapshot if *moment* is given."""
        if waiter is not None:
            self._waiting[(True, item.number)] = waiter
        if moment is not None:
            self._moments[item.number] = moment
        self.sender.call(item)

    def committed(
        self, item: streams.Item, waiter: pending.Pending | None, absorbed: int | None = None
    ) -> None:
        """An entry is on disk; *waiter* gets the reply to a record.

        :param absorbed: the seq of the entry that this one stands for as well
        """
        if waiter is not None:
            self._waiting[(False, item.number)] = waiter
        self.sender.committed(item)
        # One that has been shipped may still be applied, so this one waits for its reply.
        if absorbed is not None and not self.sender.has_shipped(absorbed):
            self.ended([absorbed], item.key)

    def forwarded(self, moved: list[forward.Moved]) -> None:
        """These were appended to bring the centre forward; nobody waits for their replies."""
        for each in moved:
            self.appended(each.entry)

    def appended(self, entry: entries.Entry) -> None:
        """The journal has got an entry from elsewhere; nobody waits for its reply."""
        item = _stored_item(entry)
        item.in_doubt = False
        self.committed(item, None)

    def ended(self, seqs: list[int], address: str | None = None) -> None:
        """The journal has settled these entries by itself: merged, expired or dead.

        :param address: where they were to go; without one they are no records
        """
        self.sender.expired(seqs)
        if self._autonomy is not None and address is not None:
            for seq in seqs:
                self._autonomy.settled(address, seq)

    def tick(self, now: float) -> None:
        """Let the sender look after what has waited too long."""
        put_off, self._not_expanded = self._not_expanded, []
        for item in put_off:
            self.sender.not_expanded(item)
        pins, self._not_pinned = self._not_pinned, []
        if pins:
            self.pin(pins)
        self.sender.tick(now)

    def abandon(self, kind: messages.Kind, number: int) -> None:
        """Nobody waits any more; a record is shipped all the same."""
        is_call = kind == messages.Kind.REQUEST
        self._waiting.pop((is_call, number), None)
        if is_call:
            self._moments.pop(number, None)
            self.sender.cancel(number)

    # sender.Port

    def can_transmit(self, endpoint: object) -> bool:
        """See :class:`nova_edge_bus.delivery.sender.Port`."""
        return self._links.has_room(endpoint)

    def transmit(self, endpoint: object, message: messages.Deliver | messages.Want) -> None:
        """See :class:`nova_edge_bus.delivery.sender.Port`."""
        self._figures.shipped += 1
        self._links.transmit(endpoint, message)

    def lookup(self, address: str) -> None:
        """See :class:`nova_edge_bus.delivery.sender.Port`."""
        self._links.lookup(address)

    def settle(self, seq: int, outcome: str) -> None:
        """See :class:`nova_edge_bus.delivery.sender.Port`."""
        reason = self._refused.pop(seq, None)
        if reason is not None:
            outcome = entries.Outcome.DEAD
            self._figures.refused += 1
        elif outcome == entries.Outcome.ACCEPTED:
            self._figures.accepted += 1
        else:
            self._figures.applied += 1
        self._store.lazily(_settle, self._settled, (seq, outcome, reason))

    def _settled(self, settled: list[tuple[int, str, str | None]]) -> None:
        self.sender.settled([seq for seq, _, _ in settled])

    def pin(self, pins: list[tuple[int, bytes]]) -> None:
        """See :class:`nova_edge_bus.delivery.sender.Port`."""

        def done(_: object, error: Exception | None) -> None:
            if error is not None:
                LOG.warning_once_in(
                    REPEAT_WARNING,
                    "cannot bind %s entries to their consumers yet: %s",
                    len(pins),
                    error,
                )
                # Not shipped either: after a crash nobody would know who may have them.
                self._not_pinned += pins
                return
            self.sender.pinned(pins)

        self._store.run(lambda journal: journal.outbox.pin_many(list(pins)), done)

    def load(self, key: str, after: int) -> None:
        """See :class:`nova_edge_bus.delivery.sender.Port`."""

        def done(
            found: tuple[list[entries.Entry], list[int]] | None, error: Exception | None
        ) -> None:
            if found is None:
                LOG.error("cannot read outbox %s: %s", self._store.path, error)
                self.sender.loaded(key, [], more=True)
                return
            page, damaged = found
            if damaged:
                LOG.error("entries %s of %s are damaged", damaged, self._store.path)
                self.ended(damaged, key)
            self.sender.loaded(key, [_stored_item(entry) for entry in page], more=bool(page))

        link, autonomy = self._links.link, self._autonomy
        known = notes.nothing_known if autonomy is None else autonomy.keeper.known
        self._store.run(lambda journal: self._store.page(journal, key, after, link, known), done)

    def expand(self, item: streams.Item, pools: set[str]) -> None:
        """See :class:`nova_edge_bus.delivery.sender.Port`."""
        address, _ = streams.split_key(item.key)
        keys = [streams.stream_key(address, pool) for pool in ("", *sorted(pools))]
        wall = time.time()
        expires_at = wall + (item.expires or 0.0) - concurrency.monotonic()
        copies = [
            entries.NewEntry(
                link=self._links.link,
                address=key,
                kind=int(item.kind),
                group=item.group,
                method="",
                body=item.body,
                consumer=None,
                created_at=wall,
                expires_at=expires_at,
            )
            for key in keys
        ]

        def done(seqs: list[int] | None, error: Exception | None) -> None:
            if error is not None or seqs is None:
                LOG.error("cannot copy a notification to its pools: %s", error)
                self._not_expanded.append(item)
                return
            items = [
                streams.Item(item.kind, seq, key, item.group, item.body, expires=item.expires)
                for seq, key in zip(seqs, keys, strict=True)
            ]
            self.sender.expanded(item, items)

        def replace(journal: journal_module.Journal) -> list[int]:
            seqs = journal.outbox.append_many(copies)
            journal.outbox.settle_many([(item.number, "accepted", "copied to listener pools")])
            return seqs

        self._store.run(replace, done)

    def answer(self, item: streams.Item, status: int, body: bytes) -> None:
        """See :class:`nova_edge_bus.delivery.sender.Port`."""
        if status != messages.Status.OK and not item.is_call:
            self._note_refusal(item, body)
        if self._autonomy is not None:
            self._learn(self._autonomy, item, status, body)
        waiter = self._waiting.pop((item.is_call, item.number), None)
        if waiter is not None:
            self._post(lambda: waiter.resolve(status, body))

    def _note_refusal(self, item: streams.Item, body: bytes) -> None:
        """A record failed. Where its caller was told otherwise, it becomes a dead letter."""
        try:
            if bodies.request(item.body).note is None:
                return
            failure = json.loads(body)
            said = f"{failure.get('class')}: {failure.get('message')}"
            reason = reasons.refusal(said, failure.get("kwargs") or {})
        except (ValueError, AttributeError):
            reason = "refused with a reply that cannot be read"
        LOG.error(
            events.DEAD_LETTER,
            self._store.outbox_id.hex(),
            item.number,
            item.group,
            reason.partition("\n")[0],
        )
        self._refused[item.number] = reason

    def _learn(
        self, autonomy: autonomy_module.Autonomy, item: streams.Item, status: int, body: bytes
    ) -> None:
        autonomy.heard(item.key)
        if item.is_call:
            moment = self._moments.pop(item.number, None)
            if moment is not None:
                autonomy.keeper.heard_reply(item.body, moment, status, body)
            autonomy.answered(item.number)
        else:
            autonomy.keeper.heard_outcome(item.number, status, body)
            autonomy.settled(item.key, item.number)

    def at_work(self, item: streams.Item, *, monitor: bool) -> None:
        """See :class:`nova_edge_bus.delivery.sender.Port`."""
        if self._autonomy is not None:
            self._autonomy.heard(item.key)
        waiter = self._waiting.get((item.is_call, item.number))
        if monitor and waiter is not None:
            self._post(waiter.heartbeat)

    def unanswered(self, address: str) -> None:
        """See :class:`nova_edge_bus.delivery.sender.Port`."""
        if self._autonomy is not None:
            self._autonomy.unanswered(address, concurrency.monotonic())

    def heard(self, address: str) -> None:
        """See :class:`nova_edge_bus.delivery.sender.Port`."""
        if self._autonomy is not None:
            self._autonomy.heard(address)

    def undeliverable(self, item: streams.Item) -> None:
        """See :class:`nova_edge_bus.delivery.sender.Port`."""
        waiter = self._waiting.pop((item.is_call, item.number), None)
        if waiter is not None:
            self._post(lambda: waiter.fail(pending.Undeliverable(item.key)))

    def fenced(self) -> None:
        """See :class:`nova_edge_bus.delivery.sender.Port`."""
        self._figures.fenced += 1
        LOG.error(
            events.FENCED,
            self._store.outbox_id.hex(),
            self._store.epoch,
            self._store.path,
        )

    @staticmethod
    def _post(callback: Callable[[], None]) -> None:
        concurrency.post(callback)


def _settle(journal: journal_module.Journal, settled: list[tuple[int, str, str | None]]) -> None:
    journal.outbox.settle_many(settled)


def _stored_item(entry: entries.Entry) -> streams.Item:
    expires = None
    if entry.expires_at is not None:
        expires = concurrency.monotonic() + entry.expires_at - time.time()
    return streams.Item(
        kind=messages.Kind(entry.kind),
        number=entry.seq,
        key=entry.address,
        group=entry.group,
        body=entry.body,
        pin=entry.consumer,
        in_doubt=True,
        goes_last=entry.method in _GO_LAST,
        expires=expires,
    )
