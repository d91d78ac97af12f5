# SPDX-License-Identifier: Apache-2.0
"""The log of those who were not let in: each once, and never so many that they fill the disk."""

import collections

from nova_edge_bus import concurrency
from nova_edge_bus import events
from nova_edge_bus.protocol import messages

_log = concurrency.NativeLogger(__name__)

REPEAT = 3600.0
"""Seconds after which the same refusal is logged again."""
LINES_A_MINUTE = 60
_MOST_REMEMBERED = 4096


class Refusals:
    """Logs who was refused and why. Belongs to one thread."""

    def __init__(self) -> None:
        self._told: collections.OrderedDict[tuple[str, ...], float] = collections.OrderedDict()
        self._minute = float("-inf")
        self._lines = 0
        self._unsaid = 0

    def tell(self, address: str, who: str, why: str, now: float) -> None:
        """Log that *who* at *address* was refused, unless that was said lately.

        :param who: a key, and the host as far as it is known; empty for somebody without a key
        """
        if self._is_to_be_said((address, who, why), now):
            who = who or "somebody without a key"
            _log.warning(events.NOT_ADMITTED, address, who, address, why)

    def tell_slow(self, hello: messages.Hello, now: float) -> None:
        """Log that too much waits for a peer that does not read it, unless that was said lately.

        It is known by its host and service: those who come back all the time have many peer ids.
        """
        if self._is_to_be_said((hello.host, hello.service), now):
            _log.warning(events.SLOW_READER, hello.host, hello.service, hello.peer.hex())

    def _is_to_be_said(self, key: tuple[str, ...], now: float) -> bool:
        if now - self._told.get(key, float("-inf")) < REPEAT:
            return False
        if now - self._minute >= 60:
            if self._unsaid:
                _log.warning("refused %s more in the minute before", self._unsaid)
            self._minute, self._lines, self._unsaid = now, 0, 0
        if self._lines >= LINES_A_MINUTE:
            self._unsaid += 1
            return False
        self._lines += 1
        self._told[key] = now
        self._told.move_to_end(key)
        if len(self._told) > _MOST_REMEMBERED:
            self._told.popitem(last=False)
        return True
