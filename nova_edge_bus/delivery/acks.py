# SPDX-License-Identifier: Apache-2.0
"""Acknowledgements that gather, so that one message tells a sender of many commands."""

from collections.abc import Iterable
from collections.abc import Iterator

from nova_edge_bus.delivery import origins
from nova_edge_bus.protocol import messages

MAX_RANGES = 1024
"""How many ranges one ACCEPT carries."""


class Acknowledgements:
    """What is durable here and has not been said so, by sender and endpoint."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[bytes, bytes, object], list[int]] = {}

    def add(self, item: origins.Inbound) -> None:
        """*item* is durable here."""
        key = (item.reply_to, item.origin, item.via)
        self._numbers.setdefault(key, []).append(item.number)

    def take(self) -> Iterator[tuple[object, messages.Accept]]:
        """The messages to send now, each with the endpoint that it goes by."""
        gathered, self._numbers = self._numbers, {}
        for (reply_to, outbox, via), numbers in gathered.items():
            ranges = _ranges(numbers)
            for first in range(0, len(ranges), MAX_RANGES):
                some = ranges[first : first + MAX_RANGES]
                yield via, messages.Accept(reply_to, outbox, some)


def _ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Inclusive ranges that cover exactly *numbers*."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        elif not ranges or number > ranges[-1][1]:
            ranges.append([number, number])
    return ranges
