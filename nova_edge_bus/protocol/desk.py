# SPDX-License-Identifier: Apache-2.0
"""What peers tell an endpoint itself and ask it: listeners, consumers of addresses, how they are.

Nothing of it is passed on, and none of it needs credit.
"""

import collections.abc
import typing

from nova_edge_bus.protocol import entrance
from nova_edge_bus.protocol import identity
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import routes

_PER_TOLD = 64
"""Bytes that each session which has to be told of a change counts for."""

Handler = collections.abc.Callable[[entrance.Peer, typing.Any], None]


class Desk:
    """Takes these messages for a router, whose directory it keeps.

    :param on_refused: told who wanted to do what it may not, and what that is
    :param on_report: told of each report, with the HELLO of the session that it came by
    """

    def __init__(
        self,
        directory: routes.RouteTable,
        on_refused: collections.abc.Callable[[identity.Visitor, str], None],
        on_report: collections.abc.Callable[[messages.Hello, messages.Report], None],
    ) -> None:
        self._directory = directory
        self._on_refused = on_refused
        self._on_report = on_report

    def handlers(self) -> dict[type[messages.Message], Handler]:
        """What takes each kind of message."""
        return {
            messages.Listen: self._listen,
            messages.Unlisten: self._unlisten,
            messages.Lookup: self._lookup,
            messages.Forget: self._forget,
            messages.Report: self._report,
        }

    def _listen(self, peer: entrance.Peer, message: messages.Listen) -> None:
        if peer.visitor and (objection := peer.visitor.objection_to_listen(message)):
            self._on_refused(peer.visitor, objection)
            peer.session.close(objection)
            return
        before = self._directory.listened_to(peer.key, message.listener)
        try:
            self._directory.listen(peer.key, peer.id, peer.outbox, message, peer.bounds.directory)
        except routes.LimitExceeded as exc:
            peer.session.expel(f"limit exceeded: {exc}")
        else:
            peer.session.forward(messages.Listening(message.listener))
            self._charge(peer, {*before, *message.addresses})

    def _unlisten(self, peer: entrance.Peer, message: messages.Unlisten) -> None:
        before = self._directory.listened_to(peer.key, message.listener)
        self._directory.unlisten(peer.key, message.listener)
        self._charge(peer, before)

    def _charge(self, peer: entrance.Peer, changed: collections.abc.Iterable[str]) -> None:
        """Have a peer pay for what others are told on its account."""
        told = self._directory.interested_in(changed)
        if told:
            peer.session.charge(_PER_TOLD * told)

    def _lookup(self, peer: entrance.Peer, message: messages.Lookup) -> None:
        try:
            for address in message.addresses:
                self._directory.lookup(peer.key, address, peer.bounds.directory)
        except routes.LimitExceeded as exc:
            peer.session.expel(f"limit exceeded: {exc}")

    def _forget(self, peer: entrance.Peer, message: messages.Forget) -> None:
        for address in message.addresses:
            self._directory.forget(peer.key, address)

    def _report(self, peer: entrance.Peer, message: messages.Report) -> None:
        self._on_report(peer.hello, message)
