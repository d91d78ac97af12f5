# SPDX-License-Identifier: Apache-2.0
"""What other peers say, and which part of this process it is for."""

from collections.abc import Callable

from nova_edge_bus.delivery import fanouts
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import figures as figures_module
from nova_edge_bus.runtime import incoming as incoming_module
from nova_edge_bus.runtime import outgoing as outgoing_module

Handler = Callable[..., None]


class Arrivals:
    """Passes messages on to the senders and the receiver of one bus.

    :param own: the sender of this process's own outbox, which makes the calls as well
    :param outgoing: all senders, by their outboxes; others come and go
    :param figures: where what happens is counted
    """

    def __init__(
        self,
        own: outgoing_module.Outgoing,
        outgoing: dict[bytes, outgoing_module.Outgoing],
        incoming: incoming_module.Incoming,
        fanout_sender: fanouts.FanoutSender,
        figures: figures_module.Figures,
    ) -> None:
        self._figures = figures
        self._own = own
        self._outgoing = outgoing
        self._receiver = incoming.receiver
        self._fanouts = fanout_sender

    def handlers(self) -> dict[type, Handler]:
        """What is to be called for each message, with where it came from and the time."""
        return {
            messages.Deliver: self._deliver,
            messages.Accept: self._accept,
            messages.Reply: self._reply,
            messages.Holding: self._holding,
            messages.Refuse: self._refuse,
            messages.Fanout: self._fanout,
            messages.FanoutSent: self._fanout_sent,
            messages.Want: self._want,
            messages.Grant: self._grant,
        }

    # For the receiver.

    def _deliver(self, via: object, message: messages.Deliver, now: float) -> None:
        self._receiver.deliver(message, via, now)

    def _fanout(self, via: object, message: messages.Fanout, now: float) -> None:
        self._receiver.fanout(message, via)

    def _want(self, via: object, message: messages.Want, now: float) -> None:
        self._receiver.want(message, via, now)

    # For a sender.

    def _accept(self, via: object, message: messages.Accept, now: float) -> None:
        owner = self._outgoing.get(message.outbox)
        if owner is not None:
            owner.sender.accepted(message.numbers, message.sender)

    def _reply(self, via: object, message: messages.Reply, now: float) -> None:
        owner = self._owner(message.kind, message.outbox)
        if owner is not None:
            owner.sender.replied(*message[2:])

    def _holding(self, via: object, message: messages.Holding, now: float) -> None:
        owner = self._owner(message.kind, message.outbox)
        if owner is not None:
            kind, numbers, monitor, peer = message[2:]
            owner.sender.holding(kind, numbers, now, monitor=monitor, peer=peer)

    def _refuse(self, via: object, message: messages.Refuse, now: float) -> None:
        owner = self._owner(message.kind, message.outbox)
        if message.code == messages.Refusal.NO_ROUTE:
            self._figures.no_route += len(message.numbers)
        if owner is not None:
            owner.sender.refused(message.kind, message.numbers, message.code, message.sender)

    def _fanout_sent(self, via: object, message: messages.FanoutSent, now: float) -> None:
        self._fanouts.confirmed(message.number)

    def _grant(self, via: object, message: messages.Grant, now: float) -> None:
        owner = self._outgoing.get(message.outbox)
        if owner is not None:
            owner.sender.granted(message, now)

    def _owner(self, kind: int, outbox: bytes) -> outgoing_module.Outgoing | None:
        return self._own if kind == messages.Kind.REQUEST else self._outgoing.get(outbox)
