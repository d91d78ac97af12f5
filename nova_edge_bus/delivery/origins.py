# SPDX-License-Identifier: Apache-2.0
"""What a receiver remembers of each sender: what is under way, and what has been done."""

import dataclasses
import enum
from collections.abc import Collection

from nova_edge_bus.protocol import messages


class Stage(enum.Enum):
    """How far an inbound delivery has come."""

    PARKED = "parked"
    """Its predecessor has not been done yet. It is still the sender's."""
    READY = "ready"
    """Of a backlog, and others of it are worked on. It is still the sender's."""
    ACCEPTING = "accepting"
    """A command is being written into the inbox."""
    DISPATCHED = "dispatched"
    """A listener has it."""
    DONE = "done"
    """Applied; the reply is kept for a sender that did not get it."""


@dataclasses.dataclass(slots=True, eq=False)
class Inbound:
    """One delivery on its way to a listener; a fanout has no ``kind``.

    ``address`` is the sender's stream key: streams of one address, for different listener pools,
    have floors of their own; ``floor`` is the one that came with it. ``deadline`` is monotonic
    seconds, ``monitor`` seconds. ``identity`` is whom the endpoint takes the sender for.
    """

    kind: messages.Kind | None
    number: int
    origin: bytes
    reply_to: bytes
    via: object
    address: str
    body: bytes
    epoch: int = 0
    listener: int = 0
    group: str = ""
    after: int = 0
    floor: int = 0
    deadline: float | None = None
    monitor: float = 0.0
    arrived: float = 0.0
    stage: Stage = Stage.PARKED
    reported: float = 0.0
    reply: tuple[int, bytes] | None = None
    identity: str = ""

    @classmethod
    def of(cls, message: messages.Deliver, via: object, now: float) -> "Inbound":
        """The delivery that came as *message* by the endpoint *via*."""
        kind = messages.Kind(message.kind)
        reply_to = message.reply_to or b""
        is_call = kind == messages.Kind.REQUEST
        return cls(
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
            floor=message.floor,
            deadline=now + message.remaining / 1000 if message.remaining else None,
            monitor=message.monitor / 1000,
            arrived=now,
            identity=message.identity,
        )


class Origin:
    """One numbering of one sender: its calls, or its entries of one stream.

    ``done`` are the numbers, not below the floor, that successors need not wait for and that are
    not taken again. ``in_inbox`` tells that the inbox may hold rows which the floor can end;
    ``parked`` counts the deliveries that wait for a predecessor.
    """

    __slots__ = ("_followers", "done", "floor", "heard_at", "in_inbox", "items", "parked")

    def __init__(self) -> None:
        self.floor = 0
        self.items: dict[int, Inbound] = {}
        self.done: set[int] = set()
        self.heard_at = 0.0
        self.in_inbox = False
        self.parked = 0
        self._followers: dict[int, list[Inbound]] = {}

    def raise_floor(self, floor: int) -> tuple[list[Inbound], list[Inbound]]:
        """Forget what lies below *floor*.

        :returns: what only waited for something there, and what was still held from there
        """
        former, self.floor = self.floor, floor
        self.done.difference_update(_below(floor, former, self.done))
        over = [self.items.pop(number) for number in _below(floor, former, self.items)]
        freed: list[Inbound] = []
        for number in _below(floor, former, self._followers):
            freed += self._pop_followers(number)
        return [item for item in freed if item.number >= floor], over

    def is_over(self, item: Inbound) -> bool:
        """Whether *item* was done and is not to be done again.

        A record may be, whose answer is here no more: its receiver knows it by its effect.
        """
        return item.number in self.done and item.kind != messages.Kind.RECORD

    def must_wait(self, item: Inbound) -> bool:
        """Whether the predecessor of *item* has yet to be done."""
        return item.after >= max(1, self.floor) and item.after not in self.done

    def park(self, item: Inbound) -> None:
        """Keep *item* for its predecessor."""
        self._followers.setdefault(item.after, []).append(item)
        self.parked += 1

    def unpark(self, item: Inbound) -> None:
        """*item* does not wait for its predecessor any more."""
        followers = self._followers.get(item.after, [])
        if item in followers:
            followers.remove(item)
            self.parked -= 1
        if not followers:
            self._followers.pop(item.after, None)

    def finish(self, number: int) -> list[Inbound]:
        """*number* is done as far as its successors care; return them."""
        if number >= self.floor:
            self.done.add(number)
        return self._pop_followers(number)

    def _pop_followers(self, number: int) -> list[Inbound]:
        followers = self._followers.pop(number, [])
        self.parked -= len(followers)
        return followers


def _below(floor: int, former: int, numbers: Collection[int]) -> list[int]:
    """Those of *numbers* that lie below *floor*; none lies below the *former* one."""
    if floor - former < len(numbers):
        return [number for number in range(former, floor) if number in numbers]
    return [number for number in numbers if number < floor]
