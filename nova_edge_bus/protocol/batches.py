# SPDX-License-Identifier: Apache-2.0
"""Messages in packets: many in one, and no more than a reader takes."""

import collections.abc

from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import shapes

BATCH_BYTES = 256 * 1024
"""The weight of a packet at most, unless a single message is heavier."""

_OWN_LISTS = 3
"""The lists that a message is made of at most: itself and two of its fields."""


def parted(
    weighed: collections.abc.Iterable[tuple[int, messages.Message]],
) -> collections.abc.Iterator[list[messages.Message]]:
    """Part messages, each with its weight, into what goes into one packet, in their order."""
    size, lists = 0, 1
    current: list[messages.Message] = []
    for weight, message in weighed:
        its_lists = _OWN_LISTS + _elements(message)
        if current and (
            size + weight > BATCH_BYTES
            or len(current) == shapes.MAX_LIST
            or lists + its_lists > shapes.MAX_LISTS
        ):
            yield current
            size, lists, current = 0, 1, []
        current.append(message)
        size += weight
        lists += its_lists
    if current:
        yield current


def _elements(message: messages.Message) -> int:
    """How many lists its list holds."""
    kind = type(message)
    if kind is messages.Deliver or kind is messages.Reply:
        return 0
    if isinstance(message, messages.Accept):
        return len(message.numbers)
    return len(message.consumers) if isinstance(message, messages.Routes) else 0
