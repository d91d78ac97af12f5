# SPDX-License-Identifier: Apache-2.0
"""What a caller waits on. Made and awaited on the callers' side, patched or not."""

import threading
import time

from nova_edge_bus import concurrency


class Undeliverable(Exception):
    """Nobody takes the message."""


class Interrupted(Exception):
    """The destination is cut off; the answer may still come."""


class Pending:
    """The answer to one call or one append, when it comes.

    ``number`` is the seq of the entry that is waited for, once it is in the journal.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._status = 0
        self._body = b""
        self._error: Exception | None = None
        self._answered = False
        self._heard_at = time.monotonic()
        self.number: int | None = None

    @property
    def is_answered(self) -> bool:
        """Whether waiting is over."""
        return self._answered

    def resolve(self, status: int, body: bytes) -> None:
        """The answer is here."""
        self._status = status
        self._body = body
        self._answered = True
        self._event.set()

    def fail(self, error: Exception) -> None:
        """There will be no answer."""
        self._error = error
        self._answered = True
        self._event.set()

    def interrupt(self) -> None:
        """Make the caller look up from its waiting, from any thread; it can wait again."""
        concurrency.post(self._event.set)

    def heartbeat(self) -> None:
        """The server still works on it."""
        self._heard_at = time.monotonic()

    def wait(self, timeout: float | None, monitor: float | None = None) -> tuple[int, bytes]:
        """Block the caller until the answer is here.

        :param timeout: seconds, or None for ever
        :param monitor: seconds that may pass between two heartbeats of the server
        :returns: the status and the body of the reply
        :raises TimeoutError: when either time has passed
        :raises Interrupted: when :meth:`interrupt` was called and the answer is not here
        :raises Exception: what :meth:`fail` was given
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self._heard_at = time.monotonic()
        while not self._event.is_set():
            limits = [limit for limit in (deadline, self._monitor_limit(monitor)) if limit]
            left = min(limits) - time.monotonic() if limits else None
            if left is not None and left <= 0:
                raise TimeoutError
            self._event.wait(left)
        if not self._answered:
            self._event.clear()
            # The answer may have come between the look at it and the clearing.
            if not self._answered:
                raise Interrupted
        if self._error is not None:
            raise self._error
        return self._status, self._body

    def _monitor_limit(self, monitor: float | None) -> float | None:
        return self._heard_at + monitor if monitor else None
