# SPDX-License-Identifier: Apache-2.0
"""Asks the centre, while it can be reached, what the snapshot should be able to say later."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nova_edge_bus import concurrency
from nova_edge_bus.autonomy import keeper as keeper_module
from nova_edge_bus.delivery import streams
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import store as store_module

LOG = concurrency.NativeLogger(__name__)

INTERVAL = 2.0
"""Seconds between two looks at what is missing, when nothing was."""
SOON = 0.5
"""The same, when something was."""
MOST_UNDER_WAY = 4
"""Reads under way at a time: they must not crowd out anybody's calls."""
REPLY_TIMEOUT = 30.0
ASK_AGAIN = 60.0
"""Most seconds until a read is repeated whose answer did not help: the centre may know no better.

It is repeated soon at first, and after twice as long each time: what did not help may
have been overtaken by what it is about, such as a guest that was being built.
"""

Send = Callable[[streams.Item, keeper_module.Moment], None]
"""Makes a call of which nobody waits for the reply but the keeper."""


class _Asked(NamedTuple):
    """When a read was made last, and how long not to make it again; in seconds."""

    at: float
    pause: float


class _UnderWay(NamedTuple):
    key: str
    since: float


class Prefetcher:
    """For the I/O thread of one bus.

    :param next_call: gives a number for a call
    :param cancel: gives up the call with a number
    """

    def __init__(
        self,
        keeper: keeper_module.Keeper,
        store: store_module.Store,
        next_call: Callable[[], int],
        send: Send,
        cancel: Callable[[int], None],
    ) -> None:
        self._keeper = keeper
        self._store = store
        self._next_call = next_call
        self._send = send
        self._cancel = cancel
        self._asked: dict[str, _Asked] = {}
        self._under_way: dict[int, _UnderWay] = {}
        self._look_at = 0.0
        self._is_looking = False
        self.lacks: int | None = None
        """How many answers were missing at the last look; None before the first."""

    def tick(self, address: str, now: float) -> None:
        """See what is missing, now and then; *address* is linked."""
        for number, read in list(self._under_way.items()):
            if now - read.since >= REPLY_TIMEOUT:
                del self._under_way[number]
                self._cancel(number)
        if now < self._look_at or self._is_looking or len(self._under_way) >= MOST_UNDER_WAY:
            return
        self._is_looking = True
        self._store.run(
            lambda _: self._keeper.missing(),
            lambda found, error: self._ask(address, found, error),
        )

    def answered(self, number: int) -> None:
        """A call has been answered."""
        if self._under_way.pop(number, None) is not None and not self._under_way:
            # There may have been more to ask than could be asked at once.
            self._look_at = 0.0

    def interrupt(self) -> None:
        """The destination is cut off: nothing more is asked, and everything again afterwards."""
        for number in self._under_way:
            self._cancel(number)
        self._under_way = {}
        self._asked = {}

    def _ask(
        self, address: str, found: list[tuple[str, bytes]] | None, error: Exception | None
    ) -> None:
        now = concurrency.monotonic()
        self._is_looking = False
        self._look_at = now + INTERVAL
        if error is not None or found is None:
            LOG.error("cannot tell what the snapshot lacks: %s", error)
            return
        self.lacks = len(found)
        if found:
            self._look_at = now + SOON
        under_way = {read.key for read in self._under_way.values()}
        # What is not missing any more is asked at once when it is missing again.
        self._asked = {key: self._asked[key] for key, _ in found if key in self._asked}
        for key, body in found:
            if len(self._under_way) >= MOST_UNDER_WAY:
                return
            if key not in under_way and self._take_turn(key, now):
                self._make(address, key, body, now)

    def _take_turn(self, key: str, now: float) -> bool:
        """Take note that a read is made now; False when it is too soon after the last time."""
        asked = self._asked.get(key)
        if asked is None:
            self._asked[key] = _Asked(now, SOON)
            return True
        if now - asked.at < asked.pause:
            return False
        self._asked[key] = _Asked(now, min(2 * asked.pause, ASK_AGAIN))
        return True

    def _make(self, address: str, key: str, body: bytes, now: float) -> None:
        number = self._next_call()
        self._under_way[number] = _UnderWay(key, now)
        item = streams.Item(
            kind=messages.Kind.REQUEST,
            number=number,
            key=address,
            group="",
            body=body,
            repeatable=True,
            expires=now + REPLY_TIMEOUT,
        )
        self._send(item, self._keeper.ask())
