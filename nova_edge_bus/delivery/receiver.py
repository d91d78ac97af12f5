# SPDX-License-Identifier: Apache-2.0
"""The receiver: takes what others ship, once and in order, and says how far it has come.

A command is made durable in the inbox, acknowledged, and then dispatched. A record or a call is
dispatched at once and answered when it is done; its answer is kept until the sender's floor shows
that it has arrived. What comes a second time is recognised by its number.

What has to wait for its predecessor is held in memory and stays the sender's: the commands of a
group enter the inbox in their order, so that it is also the order after a restart.
"""

import collections
import typing
from collections.abc import Iterable

from nova_edge_bus.delivery import acks
from nova_edge_bus.delivery import admission
from nova_edge_bus.delivery import answers
from nova_edge_bus.delivery import holdings
from nova_edge_bus.delivery import listeners
from nova_edge_bus.delivery import origins
from nova_edge_bus.delivery import senders
from nova_edge_bus.protocol import messages

HOLD_REPORT_AFTER = 1.0
"""Seconds after which a sender is told that its delivery is still being worked on, at most."""
REPLY_RETENTION = 120.0
"""Seconds for which the reply to a call is kept for a sender that asks again."""
PARKED_RETENTION = 60.0
"""Seconds for which a delivery is kept whose predecessor does not come."""
PUT_OFF_SECONDS = 2.0
"""How long a record rests that cannot be applied now; meanwhile it is reported as worked on."""
IDLE_RETENTION = senders.IDLE_RETENTION
IDLE_SWEEP = 60.0
"""Seconds between two looks for senders to forget."""
MAX_PARKED = 1024
"""How many deliveries of one sender may wait for predecessors."""
MAX_DONE = 131_072
"""How many entries or calls of one sender may be done above the lowest that it has not settled."""
MAX_NUMBERS = 1024
"""How many numbers one HOLDING carries."""
OPENED_SINCE = "the outbox was opened again since"

_KINDS = frozenset(messages.Kind)


class Port(typing.Protocol):
    """What a receiver asks of its surroundings; none of these may block."""

    def transmit(self, via: object, message: messages.Message) -> None:
        """Write *message* to the endpoint *via*, or another one if that is down."""

    def accept(self, item: origins.Inbound) -> None:
        """Write a command into the inbox, then call :meth:`Receiver.accepted`."""

    def withdraw(self, item: origins.Inbound) -> None:
        """Take a command out of the inbox again, then call :meth:`Receiver.withdrawn`."""

    def dispatch(self, item: origins.Inbound) -> None:
        """Hand *item* to the listener it names."""

    def is_crowded(self, listener: int, identity: str) -> bool:
        """Tell whether *listener* has as much before it, of this sender, as it should."""

    def forget(self, origin: bytes, address: str, floor: int) -> None:
        """The inbox rows of this stream below *floor* will not be asked for again."""


class Receiver:
    """Takes deliveries for the listeners of one process. Not thread-safe.

    :param holding_interval: seconds between two reports on one delivery that takes long
    :param backlog_slots: entries of backlogs worked on at a time, see :mod:`admission`
    """

    def __init__(self, port: Port, *, holding_interval: float, backlog_slots: int = 0) -> None:
        self._port = port
        self._holding_interval = holding_interval
        self._listeners = listeners.Listeners()
        self.admission = self._admission = admission.Admission(backlog_slots)
        self._senders = senders.Senders()
        self._holdings = holdings.Holdings()
        self._homeless: list[origins.Inbound] = []
        self._active: dict[origins.Inbound, None] = {}
        self._answered: collections.OrderedDict[origins.Inbound, float]
        self._answered = collections.OrderedDict()
        self._put_off: dict[origins.Inbound, float] = {}
        self._acks = acks.Acknowledgements()
        self._floors: dict[tuple[bytes, str], int] = {}
        self._swept_at = 0.0
        self._now = 0.0

    # This side.

    def listen(
        self, number: int, addresses: Iterable[str], fanouts: Iterable[str], pool: str = ""
    ) -> None:
        """A listener takes these addresses; what the inbox kept for them goes to it first."""
        self._listeners.add(number, addresses, fanouts, pool)
        waiting, self._homeless = self._homeless, []
        self.restore(waiting)

    def unlisten(self, number: int) -> None:
        """The listener takes nothing more."""
        self._listeners.remove(number)

    def takes(self, item: origins.Inbound) -> bool:
        """Tell whether a listener here takes what *item* is addressed to."""
        return self._listeners.taker(item) is not None

    def restore(self, stored: Iterable[origins.Inbound]) -> None:
        """Commands that an earlier life accepted and did not dispatch, in their order."""
        for item in stored:
            listener = self._listeners.taker(item)
            if listener is None:
                self._homeless.append(item)
            else:
                self._hand_over(item, listener)

    def accepted(self, item: origins.Inbound, *, fresh: bool) -> None:
        """A command is in the inbox; if not *fresh*, it has been there before.

        What nobody listens for any more, or what its sender has settled meanwhile, goes out again.
        """
        origin = self._origin(item)
        origin.in_inbox = True
        listener = self._listeners.taker(item)
        if fresh and (listener is None or item.number < origin.floor):
            self._port.withdraw(item)
            return
        self._acknowledge(item)
        self._drop(origin, item)
        if fresh and listener is not None:
            self._hand_over(item, listener)
        self._release(origin, origin.finish(item.number))

    def withdrawn(self, item: origins.Inbound) -> None:
        """A command for which there is no listener any more is out of the inbox."""
        self._drop(self._origin(item), item)
        self._refuse(item, messages.Refusal.NOT_LISTENING, "no listener takes this address")

    def not_taken(self, item: origins.Inbound, code: int, text: str) -> None:
        """*item* is not in the inbox, or has had no effect: the sender keeps it."""
        self._drop(self._origin(item), item)
        self._refuse(item, code, text)

    def finished(self, item: origins.Inbound, status: int, body: bytes) -> None:
        """A call or a record has been applied."""
        origin = self._origin(item)
        item.stage = origins.Stage.DONE
        item.reply = (status, body)
        item.body = b""
        self._let_go(item)
        for oldest in self._holdings.keep_reply(item, len(body)):
            self._forget_reply(oldest)
        self._reply(item)
        if item.kind == messages.Kind.RECORD:
            self._release(origin, origin.finish(item.number))
        elif item.number >= origin.floor:
            self._answered[item] = self._now

    def put_off(self, item: origins.Inbound) -> None:
        """A record cannot be applied now, though it may be soon: its sender keeps it."""
        self._put_off[item] = self._now + PUT_OFF_SECONDS
        self._admission.rest(item)

    def heartbeat(self, item: origins.Inbound) -> None:
        """The server still works on a monitored call."""
        self._report([item], monitor=True)

    # The other side.

    def deliver(self, message: messages.Deliver, via: object, now: float) -> None:
        """Take a delivery that came by the endpoint *via*."""
        if message.kind not in _KINDS:
            return
        self._now = now
        item = origins.Inbound.of(message, via, now)
        if item.kind != messages.Kind.REQUEST and self._senders.is_fenced(item):
            self._refuse(item, messages.Refusal.FENCED, OPENED_SINCE)
            return
        origin = self._origin(item)
        origin.heard_at = now
        granted = self._admission.arrived(item)
        if message.floor > origin.floor:
            self._raise_floor(origin, item, message.floor)
        known = origin.items.get(item.number)
        if item.number < origin.floor or (known is None and origin.is_over(item)):
            self._is_settled(item)
        elif known is not None:
            self._again(origin, known, item)
        elif len(origin.done) >= MAX_DONE:
            self._refuse(item, messages.Refusal.BUSY, "too much was done that is not settled")
        elif self._is_crowded(item):
            self._refuse(item, messages.Refusal.BUSY, "the listener has too much before it")
        elif objection := self._holdings.objection_to(item):
            self._refuse(item, messages.Refusal.BUSY, objection)
        elif not self._admission.admit(item, granted):
            self._refuse(item, messages.Refusal.BUSY, "no credit was granted for it")
        else:
            self._take(origin, item)

    def want(self, message: messages.Want, via: object, now: float) -> None:
        """A sender asks for leave to ship its backlog."""
        self._now = now
        is_possible = not message.entries or self._listeners.takes(message.address)
        if not (is_possible and self._admission.want(message, via)):
            self._port.transmit(via, answers.no_grant(message, admission.MIN_PATIENCE))

    def fanout(self, message: messages.Fanout, via: object) -> None:
        """Take a fanout, unless it is the second copy of one."""
        sender = message.sender or b""
        for number in self._listeners.takers(message):
            if not self._port.is_crowded(number, ""):
                self._port.dispatch(
                    origins.Inbound(
                        kind=None,
                        number=message.number,
                        origin=sender,
                        reply_to=sender,
                        via=via,
                        address=message.address,
                        body=message.body,
                        listener=number,
                    )
                )

    # Time.

    def flush(self, now: float) -> None:
        """Send what has gathered, and go on with what waited for its turn; call it once a turn."""
        for item in self._admission.next_ready():
            self._dispatch(self._origin(item), item)
        for via, message in self._acks.take():
            self._port.transmit(via, message)
        for via, grant in self._admission.grants(now):
            self._port.transmit(via, grant)

    def tick(self, now: float) -> None:
        """Report on what takes long, and forget what is over; call it about once a second."""
        self._look_at_active(now)
        self._now = now
        self._admission.tick(now)
        for item in [each for each, until in self._put_off.items() if now >= until]:
            del self._put_off[item]
            self._drop(self._origin(item), item)
            self._refuse(item, messages.Refusal.BUSY, "it cannot be applied yet")
        while self._answered:
            item, since = next(iter(self._answered.items()))
            if now - since <= REPLY_RETENTION:
                break
            self._forget_reply(item)
        if now - self._swept_at > IDLE_SWEEP:
            self._swept_at = now
            self._admission.sweep()
            self._senders.sweep(now)
        floors, self._floors = self._floors, {}
        for (outbox, address), floor in floors.items():
            self._port.forget(outbox, address, floor)

    def _look_at_active(self, now: float) -> None:
        """Report what is held here. What waits for something that is not here is not.

        Of a backlog that would only keep room from what it waits for.
        """
        reports: dict[tuple[object, ...], list[origins.Inbound]] = {}
        for item in list(self._active):
            origin = self._origin(item)
            if item.stage is origins.Stage.PARKED and item.after not in origin.items:
                is_backlog = self._admission.holds(item)
                if is_backlog or now - item.arrived > PARKED_RETENTION:
                    origin.unpark(item)
                    self._drop(origin, item)
                if is_backlog:
                    self._refuse(item, messages.Refusal.BUSY, "what it follows is not here")
            elif self._is_report_due(item, now):
                item.reported = now
                key = (item.reply_to, item.origin, item.kind, item.via)
                reports.setdefault(key, []).append(item)
        for items in reports.values():
            for first in range(0, len(items), MAX_NUMBERS):
                self._report(items[first : first + MAX_NUMBERS], monitor=False)

    def _is_report_due(self, item: origins.Inbound, now: float) -> bool:
        first = item.arrived + min(HOLD_REPORT_AFTER, self._holding_interval)
        return now >= max(first, item.reported + self._holding_interval)

    def _forget_reply(self, item: origins.Inbound) -> None:
        """Nobody asks for this reply any more; the call is still never made a second time."""
        self._answered.pop(item, None)
        self._holdings.remove(item)
        origin = self._origin(item)
        origin.items.pop(item.number, None)
        if item.number >= origin.floor:
            origin.done.add(item.number)

    def _origin(self, item: origins.Inbound) -> origins.Origin:
        return self._senders.of(item)

    def _is_crowded(self, item: origins.Inbound) -> bool:
        listener = self._listeners.taker(item)
        return listener is not None and self._port.is_crowded(listener, item.identity)

    def _raise_floor(self, origin: origins.Origin, item: origins.Inbound, floor: int) -> None:
        freed, over = origin.raise_floor(floor)
        for old in over:
            self._let_go(old)
            self._answered.pop(old, None)
        if origin.in_inbox:
            self._floors[(item.origin, item.address)] = floor
        self._release(origin, freed)

    def _again(
        self, origin: origins.Origin, known: origins.Inbound, copy: origins.Inbound
    ) -> None:
        """A copy of what is here: it tells the way to answer, and what it follows now."""
        known.reply_to = copy.reply_to
        known.via = copy.via
        known.epoch = copy.epoch
        if known.stage is origins.Stage.DONE:
            self._reply(known)
        elif known.stage is origins.Stage.PARKED:
            known.arrived = copy.arrived
            if known.after != copy.after:
                origin.unpark(known)
                known.after = copy.after
                self._take(origin, known)
        else:
            self._report([known], monitor=False)

    def _take(self, origin: origins.Origin, item: origins.Inbound) -> None:
        must_wait = origin.must_wait(item)
        if must_wait and origin.parked >= MAX_PARKED:
            self._refuse(item, messages.Refusal.BUSY, "too many deliveries wait for others")
            return
        origin.items[item.number] = item
        self._active[item] = None
        self._holdings.add(item)
        if must_wait:
            origin.park(item)
        else:
            self._release(origin, [item])

    def _release(self, origin: origins.Origin, items: list[origins.Inbound]) -> None:
        """Nothing that these have to wait for is left."""
        for item in items:
            if item.kind == messages.Kind.COMMAND:
                item.stage = origins.Stage.ACCEPTING
                self._port.accept(item)
            elif self._admission.begin(item):
                self._dispatch(origin, item)
            else:
                item.stage = origins.Stage.READY

    def _dispatch(self, origin: origins.Origin, item: origins.Inbound) -> None:
        listener = self._listeners.taker(item)
        if listener is not None:
            self._hand_over(item, listener)
        else:
            self._drop(origin, item)
            self._refuse(item, messages.Refusal.NOT_LISTENING, "no listener takes this address")

    def _hand_over(self, item: origins.Inbound, listener: int) -> None:
        item.listener = listener
        item.stage = origins.Stage.DISPATCHED
        self._port.dispatch(item)

    def _drop(self, origin: origins.Origin, item: origins.Inbound) -> None:
        """*item* is not under way here any more."""
        self._let_go(item)
        if origin.items.get(item.number) is item:
            del origin.items[item.number]

    def _let_go(self, item: origins.Inbound) -> None:
        self._active.pop(item, None)
        self._admission.leave(item)
        self._holdings.remove(item)

    def _is_settled(self, item: origins.Inbound) -> None:
        """Its outbox has settled *item*. A copy of it may not know, and asks until told."""
        if item.kind == messages.Kind.RECORD:
            self._port.transmit(item.via, answers.reply(item, messages.Status.OK, b"null"))
        else:
            self._acknowledge(item)

    def _acknowledge(self, item: origins.Inbound) -> None:
        if item.kind == messages.Kind.COMMAND:
            self._acks.add(item)

    def _reply(self, item: origins.Inbound) -> None:
        if item.reply is not None:
            self._port.transmit(item.via, answers.reply(item, *item.reply))

    def _report(self, items: list[origins.Inbound], *, monitor: bool) -> None:
        self._port.transmit(items[0].via, answers.holding(items, monitor=monitor))

    def _refuse(self, item: origins.Inbound, code: int, text: str) -> None:
        self._port.transmit(item.via, answers.refusal(item, code, text))
