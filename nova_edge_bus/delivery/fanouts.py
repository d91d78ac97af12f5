# SPDX-License-Identifier: Apache-2.0
"""Fanouts on the sender's side: sent to whoever listens now, through one endpoint that says so.

A fanout is kept only until an endpoint confirms it; receivers know a second copy by its number.
Without any link the newest ones are kept for a short while.
"""

import collections
import typing

from nova_edge_bus.protocol import messages

MAX_PENDING = 256
"""How many unconfirmed fanouts are kept; older ones are dropped."""
PENDING_SECONDS = 60.0
"""How long an unconfirmed fanout is kept."""


class _Pending(typing.NamedTuple):
    message: messages.Fanout
    deadline: float


class FanoutSender:
    """Numbers fanouts and sends them again until one endpoint has confirmed each.

    :param transmit: writes a message to any endpoint that is linked, or returns False
    """

    def __init__(self, transmit: typing.Callable[[messages.Message], bool]) -> None:
        self._transmit = transmit
        self._number = 0
        self._pending: collections.OrderedDict[int, _Pending] = collections.OrderedDict()

    def send(self, address: str, body: bytes, now: float) -> None:
        """Send a fanout now, or as soon as there is a link."""
        self._number += 1
        message = messages.Fanout(None, self._number, address, body)
        self._pending[self._number] = _Pending(message, now + PENDING_SECONDS)
        if len(self._pending) > MAX_PENDING:
            self._pending.popitem(last=False)
        self._transmit(message)

    def confirmed(self, number: int) -> None:
        """An endpoint has sent the fanout on."""
        self._pending.pop(number, None)

    def link_changed(self, now: float) -> None:
        """A link went down or came up: send what is not confirmed."""
        for number, pending in list(self._pending.items()):
            if pending.deadline < now:
                del self._pending[number]
            else:
                self._transmit(pending.message)
