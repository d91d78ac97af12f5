# SPDX-License-Identifier: Apache-2.0
"""The receiver's count of messages, by which a lost or a repeated one shows."""

import threading
import time
import typing

from bench import bodies


class Tally:
    """Counts the messages of one round by number, so that what came twice or not at all shows."""

    def __init__(self) -> None:
        self._counts = bytearray()
        self.received = 0
        self.last_at = 0.0

    def add(self, number: int) -> None:
        """Count the message *number* once more."""
        missing = number + 1 - len(self._counts)
        if missing > 0:
            self._counts.extend(bytes(missing))
        self._counts[number] = min(255, self._counts[number] + 1)
        self.received += 1
        self.last_at = time.monotonic()

    def report(self, numbers: int) -> dict[str, typing.Any]:
        """How the messages below *numbers* were counted."""
        once = self._counts[:numbers].count(1)
        never = self._counts[:numbers].count(0) + max(0, numbers - len(self._counts))
        return {
            "received": self.received,
            "once": once,
            "never": never,
            "repeated": numbers - once - never,
            "last_at": self.last_at,
        }


class Counter:
    """The tallies of all rounds; endpoints call it from the server's threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tallies: dict[int, Tally] = {}

    def count(self, request_id: str, copy: int = 0, copies: int = 1) -> int:
        """Count the message of this request and return its number.

        :param copy: which of the *copies* of a fanout it is; each counts as a message of its own
        """
        round_number, number = bodies.parse_request_id(request_id)
        with self._lock:
            self._tallies.setdefault(round_number, Tally()).add(number * copies + copy)
        return number

    def report(self, round_number: int, numbers: int) -> dict[str, typing.Any]:
        """How the messages of a round were counted, see :meth:`Tally.report`."""
        with self._lock:
            return self._tallies.setdefault(round_number, Tally()).report(numbers)
