# SPDX-License-Identifier: Apache-2.0
"""The steps of an entry's life, in their order, and where in the program each of them is.

A step is a moment in one process, just before or after one function is called for the entry.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from nova_edge_bus.cell import once
from nova_edge_bus.protocol import messages

EDGE, ENDPOINT, CONDUCTOR = "edge", "endpoint", "conductor"

Numbers = Iterable[int]


@dataclasses.dataclass(frozen=True)
class Step:
    """One step.

    ``place`` is ``module:attribute`` below nova_edge_bus; ``numbers`` gives, from the arguments of
    the function there, the seqs of the entries that are at this step. A step that ``is_last`` is
    looked for at the last entry of the group instead of the first, one that is ``late`` comes
    when the entry is settled and another one follows. ``holds_rows`` tells that nobody else can
    write to the entry's rows meanwhile.
    """

    name: str
    process: str
    place: str
    numbers: Callable[..., Numbers]
    after: bool = False
    is_last: bool = False
    late: bool = False
    holds_rows: bool = False


def _in(messages_: Iterable[Any], kind: type) -> list[int]:
    return [
        each.number
        for each in messages_
        if type(each) is kind and each.kind == messages.Kind.RECORD
    ]


class _Written:
    """Remembers what has been put into packets, until those are written to the socket."""

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self._numbers: list[int] = []

    def encoded(self, codec: Any, batch: Any, **_: Any) -> Numbers:
        self._numbers += _in(batch, self._kind)
        return ()

    def flushed(self, *_: Any) -> Numbers:
        numbers, self._numbers = self._numbers, []
        return numbers


_delivered, _answered = _Written(messages.Deliver), _Written(messages.Reply)
WATCHED = {"protocol.codec:Codec.encode": [_delivered.encoded, _answered.encoded]}
"""What has to be listened to although it is no step."""


def _of_item(item: Any) -> Numbers:
    return [item.number] if item.kind == messages.Kind.RECORD else []


def _of_message(message: Any) -> Numbers:
    return [message.number] if getattr(message, "kind", 0) == messages.Kind.RECORD else []


def _of_reply(message: Any) -> Numbers:
    return _of_message(message) if isinstance(message, messages.Reply) else []


def _being_applied(part: int | None = None) -> Numbers:
    current = once._current.get()
    if current is None or part not in (None, current.parts):
        return []
    return [current.seq]


STEPS = (
    Step(
        "journaled",
        EDGE,
        "runtime.fallback:Fallback._ship",
        lambda fallback, call, written: [written.seq],
        is_last=True,
    ),
    Step(
        "bound to a consumer",
        EDGE,
        "delivery.sender:Sender.pinned",
        lambda sender, pins: [seq for seq, _ in pins],
    ),
    Step(
        "in a batch",
        EDGE,
        "protocol.codec:Codec.encode",
        lambda codec, batch, **_: _in(batch, messages.Deliver),
        after=True,
    ),
    Step("shipped", EDGE, "runtime.link:Link.flush", _delivered.flushed, after=True),
    Step(
        "at the endpoint",
        ENDPOINT,
        "protocol.router:Router._deliver",
        lambda router, peer, message: _of_message(message),
    ),
    Step(
        "passed on",
        ENDPOINT,
        "endpoint.server:EndpointServer._write",
        _delivered.flushed,
        after=True,
    ),
    Step(
        "at the conductor",
        CONDUCTOR,
        "delivery.receiver:Receiver.deliver",
        lambda receiver, message, via, now: _of_message(message),
    ),
    Step(
        "in the mailbox",
        CONDUCTOR,
        "runtime.incoming:Incoming.dispatch",
        lambda incoming, item: _of_item(item),
        after=True,
    ),
    Step(
        "dispatched",
        CONDUCTOR,
        "driver.incoming:RpcIncoming.acknowledge",
        lambda incoming: _of_item(incoming._item),
        after=True,
    ),
    Step(
        "transaction begun",
        CONDUCTOR,
        "cell.once:_after_begin",
        lambda *_: _being_applied(),
        after=True,
    ),
    Step(
        "part 1 noted",
        CONDUCTOR,
        "cell.once:_before_commit",
        lambda *_: _being_applied(0),
        after=True,
        holds_rows=True,
    ),
    Step(
        "part 1 committed",
        CONDUCTOR,
        "cell.once:_after_commit",
        lambda *_: _being_applied(1),
        after=True,
    ),
    Step(
        "part 2 noted",
        CONDUCTOR,
        "cell.once:_before_commit",
        lambda *_: _being_applied(1),
        after=True,
        holds_rows=True,
    ),
    Step(
        "committed",
        CONDUCTOR,
        "driver.incoming:RpcIncoming.reply",
        lambda incoming, *_, **__: _of_item(incoming._item),
    ),
    Step(
        "answered",
        CONDUCTOR,
        "delivery.receiver:Receiver._reply",
        lambda receiver, item: _of_item(item),
        after=True,
    ),
    Step("answer sent", CONDUCTOR, "runtime.link:Link.flush", _answered.flushed, after=True),
    Step(
        "answer at the endpoint",
        ENDPOINT,
        "protocol.router:Router._answer",
        lambda router, peer, message: _of_reply(message),
    ),
    Step(
        "answer passed on",
        ENDPOINT,
        "endpoint.server:EndpointServer._write",
        _answered.flushed,
        after=True,
    ),
    Step(
        "answer at the edge",
        EDGE,
        "delivery.sender:Sender.replied",
        lambda sender, kind, number, *_: [number] if kind == messages.Kind.RECORD else [],
    ),
    Step(
        "settled",
        EDGE,
        "delivery.sender:Sender.replied",
        lambda sender, kind, number, *_: [number] if kind == messages.Kind.RECORD else [],
        after=True,
    ),
    Step(
        "settled on the disk",
        EDGE,
        "runtime.outgoing:Outgoing._settled",
        lambda outgoing, settled: [seq for seq, _, _ in settled],
    ),
    Step(
        "below the floor",
        CONDUCTOR,
        "delivery.receiver:Receiver._raise_floor",
        lambda receiver, origin, item, floor: (
            range(max(1, floor - 64), floor) if item.kind == messages.Kind.RECORD else []
        ),
        after=True,
        late=True,
    ),
)
"""From the commit in the edge's journal until the conductor forgets the entry."""

BY_NAME = {step.name: step for step in STEPS}
