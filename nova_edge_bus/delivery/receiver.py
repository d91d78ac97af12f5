# SPDX-License-Identifier: Apache-2.0
"""The receiver: takes what others ship, once and in order, and says how far it has come.

A command is made durable in the inbox, acknowledged, and then dispatched. A record or a call is
dispatched at once and answered when it is done; its answer is kept until the sender's floor shows
that it has arrived. What comes a second time is recognised by its number.
"""

import collections
import typing
from collections.abc import Iterable

from nova_edge_bus.delivery import origins
from nova_edge_bus.delivery import streams
from nova_edge_bus.protocol import messages

HOLD_REPORT_AFTER = 1.0
"""Seconds after which a sender is told that its delivery is still being worked on."""
REPLY_RETENTION = 120.0
"""Seconds for which the reply to a call is kept for a sender that asks again."""
IDLE_RETENTION = 600.0
"""Seconds after which a sender with nothing under way is forgotten."""
MAX_PARKED = 1024
"""How many deliveries of one sender may wait for predecessors."""
FANOUT_MEMORY = 4096
"""How many fanouts are remembered, to know the second copy of one."""


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

    def is_crowded(self, listener: int) -> bool:
        """Tell whether *listener* has as much before it as it should."""

    def forget(self, origin: bytes, address: str, floor: int) -> None:
        """The inbox rows of this stream below *floor* will not be asked for again."""


class _Listener(typing.NamedTuple):
    addresses: frozenset[str]
    fanouts: frozenset[str]
    pool: str


class Receiver:
    """Takes deliveries for the listeners of one process. Not thread-safe.

    :param holding_interval: seconds between two reports on one delivery that takes long
    """

    def __init__(self, port: Port, *, holding_interval: float) -> None:
        self._port = port
        self._holding_interval = holding_interval
        self._listeners: dict[int, _Listener] = {}
        self._origins: dict[tuple[bytes, str], origins.Origin] = {}
        self._epochs: dict[bytes, int] = {}
        self._homeless: list[origins.Inbound] = []
        self._acks: dict[tuple[bytes, bytes, object], list[int]] = {}
        self._floors: dict[tuple[bytes, str], int] = {}
        self._fanouts: collections.OrderedDict[tuple[bytes, int], None] = collections.OrderedDict()

    # This side.

    def listen(
        self, number: int, addresses: Iterable[str], fanouts: Iterable[str], pool: str = ""
    ) -> None:
        """A listener takes these addresses; what the inbox kept for them goes to it first."""
        self._listeners[number] = _Listener(frozenset(addresses), frozenset(fanouts), pool)
        waiting, self._homeless = self._homeless, []
        for item in waiting:
            self._dispatch_stored(item)

    def unlisten(self, number: int) -> None:
        """The listener takes nothing more."""
        self._listeners.pop(number, None)

    def restore(self, stored: Iterable[origins.Inbound]) -> None:
        """Commands that an earlier life accepted and did not dispatch, in their order."""
        for item in stored:
            self._dispatch_stored(item)

    def accepted(self, item: origins.Inbound, *, fresh: bool) -> None:
        """A command is in the inbox; if not *fresh*, it has been there before."""
        origin = self._origin(item)
        if not fresh:
            origin.items.pop(item.number, None)
            self._acknowledge(item)
            self._release(origin.finish(item.number))
        elif self._listener_for(item) is None:
            self._port.withdraw(item)
        else:
            self._acknowledge(item)
            self._admit(origin, item)

    def withdrawn(self, item: origins.Inbound) -> None:
        """A command for which there is no listener any more is out of the inbox."""
        self._origin(item).items.pop(item.number, None)
        self._refuse(item, messages.Refusal.NOT_LISTENING, "no listener takes this address")

    def not_accepted(self, item: origins.Inbound, text: str) -> None:
        """The inbox could not take a command: the sender keeps it and tries again."""
        self._origin(item).items.pop(item.number, None)
        self._refuse(item, messages.Refusal.BUSY, text)

    def finished(self, item: origins.Inbound, status: int, body: bytes) -> None:
        """A call or a record has been applied."""
        item.stage = origins.Stage.DONE
        item.reply = (status, body)
        item.body = b""
        self._reply(item)
        if item.kind == messages.Kind.RECORD:
            self._release(self._origin(item).finish(item.number))

    def heartbeat(self, item: origins.Inbound) -> None:
        """The server still works on a monitored call."""
        self._report([item], monitor=True)

    # The other side.

    def deliver(self, message: messages.Deliver, via: object, now: float) -> None:
        """Take a delivery that came by the endpoint *via*."""
        item = self._inbound(message, via, now)
        if item.kind != messages.Kind.REQUEST and self._is_fenced(item):
            self._refuse(item, messages.Refusal.FENCED, "the outbox was opened again since")
            return
        origin = self._origin(item)
        origin.heard_at = now
        self._raise_floor(origin, item, message.floor)
        if item.number < origin.floor:
            self._acknowledge(item)
            return
        known = origin.items.get(item.number)
        if known is not None:
            self._again(known, item)
        elif item.number in origin.done:
            self._acknowledge(item)
        elif origin.parked() >= MAX_PARKED:
            self._refuse(item, messages.Refusal.BUSY, "too many deliveries wait for others")
        else:
            self._take(origin, item)

    def fanout(self, message: messages.Fanout, via: object) -> None:
        """Take a fanout, unless it is the second copy of one."""
        key = (message.sender or b"", message.number)
        if key in self._fanouts:
            return
        self._fanouts[key] = None
        if len(self._fanouts) > FANOUT_MEMORY:
            self._fanouts.popitem(last=False)
        for number, listener in list(self._listeners.items()):
            if message.address in listener.fanouts:
                self._port.dispatch(
                    origins.Inbound(
                        kind=None,
                        number=message.number,
                        origin=key[0],
                        reply_to=key[0],
                        via=via,
                        address=message.address,
                        body=message.body,
                        listener=number,
                    )
                )

    # Time.

    def flush(self) -> None:
        """Send the acknowledgements that have gathered; call it once a turn."""
        acks, self._acks = self._acks, {}
        for (reply_to, outbox, via), numbers in acks.items():
            self._port.transmit(via, messages.Accept(reply_to, outbox, _ranges(numbers)))

    def tick(self, now: float) -> None:
        """Report on what takes long, and forget what is over; call it about once a second."""
        reports: collections.defaultdict[tuple[object, ...], list[origins.Inbound]] = (
            collections.defaultdict(list)
        )
        for key, origin in list(self._origins.items()):
            for item in list(origin.items.values()):
                if item.stage is not origins.Stage.DONE:
                    if self._is_report_due(item, now):
                        item.reported = now
                        reports[(item.reply_to, item.origin, item.kind, item.via)].append(item)
                elif item.kind == messages.Kind.REQUEST:
                    if now - item.arrived > REPLY_RETENTION:
                        del origin.items[item.number]
            if not origin.items and now - origin.heard_at > IDLE_RETENTION:
                del self._origins[key]
        for items in reports.values():
            self._report(items, monitor=False)
        floors, self._floors = self._floors, {}
        for (outbox, address), floor in floors.items():
            self._port.forget(outbox, address, floor)

    def _is_report_due(self, item: origins.Inbound, now: float) -> bool:
        since = max(item.arrived + HOLD_REPORT_AFTER, item.reported + self._holding_interval)
        return now >= since

    def _inbound(self, message: messages.Deliver, via: object, now: float) -> origins.Inbound:
        kind = messages.Kind(message.kind)
        reply_to = message.reply_to or b""
        is_call = kind == messages.Kind.REQUEST
        return origins.Inbound(
            kind=kind,
            number=message.number,
            origin=reply_to if is_call else message.outbox or b"",
            reply_to=reply_to,
            via=via,
            address=message.address,
            body=message.body,
            epoch=message.epoch,
            listener=message.listener,
            group=message.group,
            after=message.after,
            deadline=now + message.remaining / 1000 if message.remaining else None,
            monitor=message.monitor / 1000,
            arrived=now,
        )

    def _origin(self, item: origins.Inbound) -> origins.Origin:
        address = "" if item.kind == messages.Kind.REQUEST else item.address
        key = (item.origin, address)
        origin = self._origins.get(key)
        if origin is None:
            origin = self._origins[key] = origins.Origin()
        return origin

    def _is_fenced(self, item: origins.Inbound) -> bool:
        newest = self._epochs.get(item.origin, 0)
        if item.epoch > newest:
            self._epochs[item.origin] = item.epoch
        return item.epoch < newest

    def _raise_floor(self, origin: origins.Origin, item: origins.Inbound, floor: int) -> None:
        if floor > origin.floor:
            freed = origin.raise_floor(floor)
            if item.kind != messages.Kind.REQUEST:
                self._floors[(item.origin, item.address)] = floor
            self._release(freed)

    def _again(self, known: origins.Inbound, copy: origins.Inbound) -> None:
        known.reply_to = copy.reply_to
        known.via = copy.via
        if known.stage is origins.Stage.DONE:
            self._reply(known)
        else:
            self._report([known], monitor=False)

    def _take(self, origin: origins.Origin, item: origins.Inbound) -> None:
        origin.items[item.number] = item
        if item.kind == messages.Kind.COMMAND:
            item.stage = origins.Stage.ACCEPTING
            self._port.accept(item)
            return
        listener = self._listener_for(item)
        if listener is not None and self._port.is_crowded(listener):
            del origin.items[item.number]
            self._refuse(item, messages.Refusal.BUSY, "the listener has too much before it")
        else:
            self._admit(origin, item)

    def _admit(self, origin: origins.Origin, item: origins.Inbound) -> None:
        item.stage = origins.Stage.PARKED
        if not origin.must_wait(item):
            self._dispatch(item)

    def _release(self, items: list[origins.Inbound]) -> None:
        for item in items:
            self._dispatch(item)

    def _dispatch(self, item: origins.Inbound) -> None:
        listener = self._listener_for(item)
        if listener is None:
            self._turn_away(item)
            return
        item.listener = listener
        item.stage = origins.Stage.DISPATCHED
        self._port.dispatch(item)
        if item.kind == messages.Kind.COMMAND:
            origin = self._origin(item)
            origin.items.pop(item.number, None)
            self._release(origin.finish(item.number))

    def _turn_away(self, item: origins.Inbound) -> None:
        """A parked delivery has lost its listener."""
        if item.kind == messages.Kind.COMMAND:
            self._homeless.append(item)
            return
        self._origin(item).items.pop(item.number, None)
        self._refuse(item, messages.Refusal.NOT_LISTENING, "no listener takes this address")

    def _dispatch_stored(self, item: origins.Inbound) -> None:
        listener = self._listener_for(item)
        if listener is None:
            self._homeless.append(item)
            return
        item.listener = listener
        item.stage = origins.Stage.DISPATCHED
        self._port.dispatch(item)

    def _listener_for(self, item: origins.Inbound) -> int | None:
        """The listener that the sender chose, or else any other of this address and pool."""
        address, pool = streams.split_key(item.address)
        for number in (item.listener, *self._listeners):
            listener = self._listeners.get(number)
            if listener is None or listener.pool != (pool or ""):
                continue
            if address in listener.addresses:
                return number
        return None

    def _acknowledge(self, item: origins.Inbound) -> None:
        if item.kind == messages.Kind.COMMAND:
            key = (item.reply_to, item.origin, item.via)
            self._acks.setdefault(key, []).append(item.number)

    def _reply(self, item: origins.Inbound) -> None:
        if item.reply is not None and item.kind is not None:
            status, body = item.reply
            self._port.transmit(
                item.via,
                messages.Reply(
                    item.reply_to, item.origin, int(item.kind), item.number, status, body
                ),
            )

    def _report(self, items: list[origins.Inbound], *, monitor: bool) -> None:
        first = items[0]
        self._port.transmit(
            first.via,
            messages.Holding(
                first.reply_to,
                first.origin,
                int(first.kind or 0),
                [item.number for item in items],
                monitor,
            ),
        )

    def _refuse(self, item: origins.Inbound, code: int, text: str) -> None:
        self._port.transmit(
            item.via,
            messages.Refuse(
                item.reply_to, item.origin, int(item.kind or 0), [item.number], code, text
            ),
        )


def _ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Inclusive ranges that cover exactly *numbers*."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        elif not ranges or number > ranges[-1][1]:
            ranges.append([number, number])
    return ranges
