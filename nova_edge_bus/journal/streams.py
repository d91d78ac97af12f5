# SPDX-License-Identifier: Apache-2.0
"""The streams of an outbox: where its entries go, each known in the rows by a number."""

from typing import Any

from nova_edge_bus.journal import database
from nova_edge_bus.journal import schema
from nova_edge_bus.journal import statements


class Streams:
    """What is kept of them in memory; it follows the transaction."""

    def __init__(self, db: database.Database) -> None:
        self._db = db
        self._numbers: dict[tuple[str, str], int] = {}
        self._names: dict[int, tuple[str, str]] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def reload(self) -> None:
        """Read anew what another connection may have changed."""
        self._numbers.clear()
        self._names.clear()
        for number, link, address in self._db.run(statements.ALL_STREAMS):
            self._remember(number, link, address)

    def shrink(self, count: int) -> None:
        """Forget the newest, so that *count* are left."""
        while len(self._numbers) > count:
            self._names.pop(self._numbers.popitem()[1])

    def number(self, link: str, address: str) -> int:
        """Return the number of a stream, which is made when there is none."""
        number = self._numbers.get((link, address))
        if number is None:
            result = self._db.run(schema.streams.insert(), {"link": link, "address": address})
            key: Any = result.inserted_primary_key
            number = int(key[0])
            self._remember(number, link, address)
        return number

    def to(self, address: str, link: str | None = None) -> list[int]:
        """Return the numbers of the streams to an address, over one link or over any."""
        return [
            number
            for (its_link, its_address), number in self._numbers.items()
            if its_address == address and link in (None, its_link)
        ]

    def name(self, number: int) -> tuple[str, str]:
        """Return link and address of a stream."""
        return self._names[number]

    def rebind(self, link: str) -> None:
        """Send what is pending over *link*, whatever it was bound to."""
        for (bound, address), number in list(self._numbers.items()):
            if bound != link:
                target = self.number(link, address)
                self._db.run(statements.REBIND, {"from": number, "target": target})

    def _remember(self, number: int, link: str, address: str) -> None:
        self._numbers[link, address] = number
        self._names[number] = (link, address)
