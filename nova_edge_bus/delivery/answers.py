# SPDX-License-Identifier: Apache-2.0
"""What a receiver says to a sender about its deliveries."""

from nova_edge_bus.delivery import origins
from nova_edge_bus.protocol import messages


def reply(item: origins.Inbound, status: int, body: bytes) -> messages.Reply:
    """A call or a record has been applied."""
    kind = int(item.kind or 0)
    return messages.Reply(item.reply_to, item.origin, kind, item.number, status, body)


def holding(items: list[origins.Inbound], *, monitor: bool) -> messages.Holding:
    """These, which are of one kind and one sender, are being worked on.

    :param monitor: whether the server itself said so
    """
    first = items[0]
    numbers = [item.number for item in items]
    return messages.Holding(first.reply_to, first.origin, int(first.kind or 0), numbers, monitor)


def refusal(item: origins.Inbound, code: int, text: str) -> messages.Refuse:
    """A delivery is not taken: it stays the sender's."""
    kind = int(item.kind or 0)
    return messages.Refuse(item.reply_to, item.origin, kind, [item.number], code, text)


def no_grant(message: messages.Want, patience: float) -> messages.Grant:
    """Nothing of this backlog may come, nor need the sender ask for so many seconds."""
    to, outbox = message.reply_to or b"", message.outbox or b""
    return messages.Grant(to, None, outbox, message.address, 0, round(1000 * patience))
