# SPDX-License-Identifier: Apache-2.0
"""The sender: ships what this side owns, in order, until the other side has settled it.

Shipping a fresh entry, going on after a reconnect and replaying a backlog after hours are one and
the same thing here: each stream is read from the journal behind its cursor, and whatever is not
settled is shipped. What is in flight when its endpoint is lost is shipped again to the same
consumer by another endpoint; the consumer knows it by its number.
"""

import collections
import sys
from collections.abc import Iterable
from collections.abc import Sequence

from nova_edge_bus.delivery import backlog
from nova_edge_bus.delivery import choice
from nova_edge_bus.delivery import directory as directory_module
from nova_edge_bus.delivery import ordering
from nova_edge_bus.delivery import permits
from nova_edge_bus.delivery import shipping
from nova_edge_bus.delivery import streams
from nova_edge_bus.delivery import surroundings
from nova_edge_bus.protocol import messages

Limits = surroundings.Limits
Port = surroundings.Port
Peer = bytes | None
"""Who gives an answer; None for what nobody else could give."""


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
        self._port = port
        self._limits = limits or Limits()
        self._chooser = choice.Chooser(directory, self._limits.consumer_grace)
        self._ordering = ordering.Ordering()
        self._backlog = backlog.Backlog(self._limits)
        self._permits = permits.Permits(port, self._limits, outbox)
        self._shipper = shipping.Shipper(
            directory,
            port,
            self._chooser,
            self._ordering,
            self._backlog,
            (outbox, epoch),
            self._permits,
        )
        self._settling: dict[int, streams.Stream] = {}
        self._first_appended: int | None = None
        self._stopped = False

    def depth(self) -> int:
        """How many items are held in memory, shipped or not."""
        return len(self._backlog)

    def unfinished(self) -> bool:
        """Whether any item, in memory or on disk, is still to be settled from here."""
        unsettled = len(self._backlog) or self._settling or self._backlog.unread
        return bool(unsettled) and not self._stopped

    def addresses(self) -> set[str]:
        """The addresses that anything, in memory or on disk, is still to go to."""
        return self._backlog.addresses()

    # What this side adds.

    def restore(
        self, records: Iterable[tuple[int, str]], stored: Iterable[tuple[str, int]]
    ) -> None:
        """Take up an outbox as its last life left it; to be called before anything is added.

        :param records: ``(seq, group)`` of every unsettled record
        :param stored: ``(stream key, first unsettled seq)`` of every stream
        """
        for seq, group in records:
            self._ordering.register_record(seq, group)
        for key, first in stored:
            stream = self._backlog.stream(key)
            stream.cursor = first - 1
            stream.backlog_through = sys.maxsize
            stream.more_on_disk = True
            self._backlog.wake(stream)

    def committed(self, item: streams.Item) -> None:
        """An entry is in the journal: ship it, or leave it there until there is room for it.

        Entries come in the order of their seqs.
        """
        stream = self._backlog.stream(item.key)
        if self._first_appended is None:
            self._first_appended = item.number
            for left in self._backlog.entry_streams():
                left.backlog_through = min(left.backlog_through, item.number - 1)
        stream.newest = item.number
        if self._ordering.after_all or (item.is_notification and stream.has_backlog):
            stream.note_backlog()
        if item.kind == messages.Kind.RECORD:
            self._ordering.register_record(item.number, item.group)
        if stream.more_on_disk or self._backlog.is_full(stream):
            stream.more_on_disk = True
            stream.missed = stream.loading
            self._chooser.release(item)
            self._backlog.wake(stream)
        else:
            self._hold(item)

    def call(self, item: streams.Item) -> None:
        """Make an unjournaled call."""
        self._hold(item)

    def hold_back(self, *, until_all_is_done: bool) -> None:
        """What goes last goes after all that there is, or only after what is older than it.

        The former is for the time of a cut and after it: a heartbeat from before the cut must not
        be the first to arrive.
        """
        self._ordering.after_all = until_all_is_done
        if not until_all_is_done:
            self._unpark(self._ordering.release_last())
            return
        for stream in self._backlog.entry_streams():
            stream.note_backlog()
        self._take_back(
            item for item in self._backlog.going_last() if item.state is streams.State.IN_FLIGHT
        )

    def amended(self, seq: int, body: bytes) -> None:
        """An entry has another body in the journal; it has it when it is shipped again."""
        item = self._backlog.entry(seq)
        if item is not None:
            self._backlog.stream_of(item).size += len(body) - len(item.body)
            item.body = body

    def cancel(self, number: int) -> None:
        """Nobody waits for this call any more."""
        item = self._backlog.call_made(number)
        if item is not None:
            self._finish(item)

    # What the journal answers.

    def pinned(self, pins: Iterable[tuple[int, bytes]]) -> None:
        """The consumers of these entries are on disk: they can be shipped."""
        for seq, inbox in pins:
            item = self._backlog.entry(seq)
            if item is not None and item.state is streams.State.PINNING:
                item.pin = inbox
                self._resume(item)

    def loaded(self, key: str, items: Sequence[streams.Item], *, more: bool) -> None:
        """Take over entries read from the journal; *more* of the stream may still be there."""
        stream = self._backlog.stream(key)
        stream.loading = False
        stream.more_on_disk = more or stream.missed
        if items or stream.missed:
            self._backlog.wake(stream)
        stream.missed = False
        for item in items:
            if item.number > stream.cursor:
                self._recall(item)
                self._hold(item)
        self._backlog.forget_if_idle(stream)

    def settled(self, seqs: Iterable[int]) -> None:
        """The outcomes of these entries are on disk."""
        by_stream: collections.defaultdict[streams.Stream, set[int]]
        by_stream = collections.defaultdict(set)
        for seq in seqs:
            stream = self._settling.pop(seq, None)
            if stream is not None:
                by_stream[stream].add(seq)
        for stream, numbers in by_stream.items():
            stream.end_settling(numbers)
            self._backlog.forget_if_idle(stream)

    def expanded(self, item: streams.Item, copies: Sequence[streams.Item]) -> None:
        """A notification has been replaced by *copies*, one for each listener pool."""
        self._finish(item)
        for copy in copies:
            self.committed(copy)

    def not_expanded(self, item: streams.Item) -> None:
        """The journal could not replace a notification by copies: try again later."""
        if item.state is streams.State.PINNING:
            self._resume(item)

    def expired(self, seqs: Iterable[int]) -> None:
        """The journal has settled these entries by itself: expired, dead or discarded."""
        for seq in seqs:
            item = self._backlog.entry(seq)
            if item is not None:
                self._finish(item)
            else:
                self._unpark(self._ordering.record_ended(seq))

    def has_shipped(self, seq: int) -> bool:
        """Whether this entry may have arrived, so that it may be applied at any time."""
        item = self._backlog.entry(seq)
        return item is not None and item.may_have_arrived

    # What the other side says. An answer counts that comes from the consumer which was asked.

    def routes_changed(self, address: str) -> None:
        """The directory has news about *address*.

        What went to a process that ended, and whose inbox a new process has, is shipped again
        at once: nobody else is going to answer it.
        """
        self._take_back(
            item
            for stream in self._backlog.streams_to(address)
            for item in stream.items.values()
            if item.state is streams.State.IN_FLIGHT and self._chooser.is_outlived(stream, item)
        )
        if self._chooser.is_local_address(address):
            self._unpark(
                item
                for stream in self._backlog.streams_to(address)
                for item in stream.items.values()
                if self._ordering.unpark(item)
            )
        self._backlog.wake_address(address)

    def credit(self) -> None:
        """A link has come up or has credit again, or time has passed."""
        self._backlog.wake_all()

    def endpoint_down(self, endpoint: object) -> None:
        """What was in flight through *endpoint* must go another way, to the same consumers."""
        self._permits.endpoint_down(endpoint)
        self._take_back(item for item in self._backlog.in_flight if item.endpoint == endpoint)

    def accepted(self, numbers: Iterable[Sequence[int]], peer: Peer = None) -> None:
        """The receiver has made these commands durable: they are its own now.

        :param numbers: inclusive ranges ``[first, last]``
        """
        for item in self._backlog.entries_in((first, last) for first, last in numbers):
            if item.kind == messages.Kind.COMMAND and item.is_answered_by(peer):
                self._settle(item, "accepted")

    def replied(self, kind: int, number: int, status: int, body: bytes, peer: Peer = None) -> None:
        """A call or a record has been applied; an answer to what is settled is ignored."""
        item = self._backlog.find(kind, number)
        if item is None or item.kind == messages.Kind.COMMAND or not item.is_answered_by(peer):
            return
        is_recorded = status == messages.Status.RECORDED
        self._port.answer(item, messages.Status.OK if is_recorded else status, body)
        if item.is_call:
            self._finish(item)
        else:
            self._settle(item, "recorded" if is_recorded else "applied")

    def holding(
        self, kind: int, numbers: Iterable[int], now: float, *, monitor: bool, peer: Peer = None
    ) -> None:
        """The receiver is still at work on these."""
        for number in numbers:
            item = self._backlog.find(kind, number)
            if item is not None and item.is_answered_by(peer):
                item.heard_at = now
                self._port.at_work(item, monitor=monitor)

    def granted(self, message: messages.Grant, now: float) -> None:
        """A consumer lets so many entries of a backlog come, maybe none yet."""
        stream = self._backlog.stream(message.address)
        self._permits.granted(stream, message, now)
        self._port.heard(stream.address)
        self._backlog.wake(stream)

    def refused(self, kind: int, numbers: Iterable[int], code: int, peer: Peer = None) -> None:
        """The receiver or an endpoint did not take these; they are still ours.

        Only the refusal of a first attempt proves that no consumer has the item. Then another
        one may have it, at once; after BUSY a call goes to another one with the next tick.
        """
        found = (self._backlog.find(kind, number) for number in numbers)
        items = [item for item in found if item is not None and item.is_answered_by(peer)]
        if code == messages.Refusal.FENCED and (items or peer is None):
            self._stopped = True
            self._port.fenced()
            return
        busy = code == messages.Refusal.BUSY
        for item in items:
            if item.state is not streams.State.IN_FLIGHT:
                continue
            unseen = item.repeatable or (item.attempts == 1 and not item.in_doubt)
            if unseen and (item.is_call or not busy):
                self._chooser.forget(item)
            self._take_back([item], at_once=unseen and not busy)

    # Time.

    def tick(self, now: float) -> None:
        """Look after what has waited too long; call it a few times a second."""
        unanswered = self._backlog.unanswered(now)
        questions = self._permits.unanswered(now)
        ways = [(item.endpoint, item.consumer.peer) for item in unanswered if item.consumer]
        self._shipper.distrust(ways + [(endpoint, peer) for _, endpoint, peer in questions], now)
        addresses = {self._backlog.stream_of(item).address for item in unanswered}
        for address in addresses.union(stream.address for stream, _, _ in questions):
            self._port.unanswered(address)
        self._take_back(unanswered)
        self.credit()

    def ship(self, now: float) -> None:
        """Ship all that can be shipped now."""
        while not self._stopped:
            woken = self._backlog.woken()
            if not woken:
                return
            for stream in woken:
                for item in self._shipper.ship(stream, now):
                    self._finish(item)
                    self._port.undeliverable(item)
                self._backlog.forget_if_idle(stream)

    def _recall(self, item: streams.Item) -> None:
        """Judge whether *item*, read from the journal, may have been shipped before.

        What was appended in this life and then left in the journal has never been in memory.
        """
        appended = self._first_appended
        if item.pin is None or (appended is not None and item.number >= appended):
            item.in_doubt = False

    def _hold(self, item: streams.Item) -> None:
        self._backlog.add(item)
        if self._ordering.enter(item, local=self._chooser.is_local(item)):
            self._wait(item)

    def _wait(self, item: streams.Item) -> None:
        """*item* stands in line, in the place that its number gives it."""
        stream = self._backlog.stream_of(item)
        item.state = streams.State.WAITING
        if stream.waiting and stream.waiting[-1].wire_number > item.wire_number:
            stream.line_up()
        else:
            stream.waiting.append(item)
        self._backlog.wake(stream)

    def _unpark(self, released: Iterable[streams.Item]) -> None:
        for item in released:
            self._wait(item)

    def _resume(self, item: streams.Item) -> None:
        """The journal is done with *item*."""
        self._backlog.stream_of(item).pinning -= 1
        self._wait(item)

    def _take_back(self, items: Iterable[streams.Item], *, at_once: bool = True) -> None:
        """These are not in flight any more: they stand in line again."""
        touched: dict[streams.Stream, None] = {}
        for item in list(items):
            del self._backlog.in_flight[item]
            item.endpoint = None
            item.state = streams.State.WAITING
            touched[self._backlog.stream_of(item)] = None
        for stream in touched:
            stream.line_up()
            if at_once:
                self._backlog.wake(stream)

    def _settle(self, item: streams.Item, outcome: str) -> None:
        stream = self._backlog.stream_of(item)
        stream.begin_settling(item.number)
        self._settling[item.number] = stream
        self._finish(item)
        self._port.settle(item.number, outcome)

    def _finish(self, item: streams.Item) -> None:
        """*item* is settled or given up: let go of it and of whatever waited for it."""
        if item.state is streams.State.SETTLED:
            return
        stream = self._backlog.stream_of(item)
        if item.state is streams.State.PINNING:
            stream.pinning -= 1
        item.state = streams.State.SETTLED
        self._backlog.remove(item)
        self._chooser.release(item)
        self._unpark(self._ordering.leave(item))
        if item.kind == messages.Kind.RECORD:
            following = self._backlog.entry(self._ordering.first_record(item.group))
            if following is not None:
                self._backlog.wake(self._backlog.stream_of(following))
        self._backlog.forget_if_idle(stream)
