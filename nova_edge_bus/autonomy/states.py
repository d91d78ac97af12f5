# SPDX-License-Identifier: Apache-2.0
"""Whether a destination can be relied on: linked, cut off or catching up.

Cut off means that no live consumer can be reached, wherever the break is. It is told from what can
be observed on this side: nobody takes the address for ``link_timeout``, or what was shipped there
is neither answered nor reported as being worked on. Catching up lasts until everything that was
written here has been applied there; only then can a read be left to the centre again without
going back behind what was written here.
"""

import enum
from collections.abc import Iterable
from typing import Any
from typing import Protocol


class State(enum.Enum):
    """How a destination is to be used."""

    LINKED = "linked"
    """Calls make the round trip."""
    CUT_OFF = "cut off"
    """Nobody can be reached: what can be answered here is."""
    CATCHING_UP = "catching up"
    """Somebody can be reached again, but has not yet applied all that was written here."""


class Waiter(Protocol):
    """A caller with something under way."""

    def interrupt(self) -> None:
        """Tell the caller that the destination is cut off; it may go on waiting."""


class Destination:
    """The state of one address. Any thread may use it; nothing here blocks.

    :param link_timeout: seconds without a sign of a consumer after which it is taken for cut off
    :param lock: a native lock, held for moments only
    :param unsettled: the records for it that an earlier life has left
    :param now: monotonic seconds
    """

    def __init__(self, link_timeout: float, lock: Any, unsettled: set[int], now: float) -> None:
        self._link_timeout = link_timeout
        self._lock = lock
        self._unsettled = unsettled
        self._entering = 0
        self._seen_at = now
        self._was_reachable = False
        self._suspected_at: float | None = None
        self._waiters: dict[Waiter, None] = {}
        self._state = State.CATCHING_UP if unsettled else State.LINKED

    @property
    def state(self) -> State:
        """The present state."""
        return self._state

    @property
    def is_linked(self) -> bool:
        """Whether calls make the round trip."""
        return self._state is State.LINKED

    @property
    def takes_records(self) -> bool:
        """Whether anything written here is on its way to it."""
        return bool(self._unsettled or self._entering)

    # Callers.

    def join(self, waiter: Waiter) -> bool:
        """Have *waiter* interrupted when the destination is cut off; False unless it is linked."""
        with self._lock:
            if self._state is State.LINKED:
                self._waiters[waiter] = None
            return self._state is State.LINKED

    def leave(self, waiter: Waiter) -> None:
        """*waiter* need not be interrupted any more."""
        with self._lock:
            self._waiters.pop(waiter, None)

    # Writes.

    def enter(self, *, even_linked: bool = False) -> bool:
        """A write is about to be answered here; False when the destination is linked.

        From now until :meth:`entered` the destination does not become linked, so that no later
        read can miss the write.
        """
        with self._lock:
            if self._state is State.LINKED and not even_linked:
                return False
            self._entering += 1
            return True

    def entered(self, seq: int | None) -> None:
        """The write is in the journal under *seq*, or, if None, is not."""
        with self._lock:
            self._entering -= 1
            if seq is not None:
                self._unsettled.add(seq)

    def committed(self, seq: int) -> None:
        """A record that makes the round trip is in the journal."""
        with self._lock:
            self._unsettled.add(seq)

    def fall_behind(self, seqs: Iterable[int]) -> None:
        """The centre has lost what these records, which are in the journal, bring forward.

        What is read from there meanwhile would go back in time.
        """
        with self._lock:
            self._unsettled.update(seqs)
            if self._state is not State.LINKED:
                return
            self._state = State.CATCHING_UP
            waiters, self._waiters = list(self._waiters), {}
        for waiter in waiters:
            waiter.interrupt()

    def settled(self, seq: int) -> None:
        """A record is applied, merged or expired."""
        with self._lock:
            self._unsettled.discard(seq)

    # Observations; on one thread.

    def unanswered(self, now: float) -> None:
        """Something was shipped there, and nothing was heard of it in time."""
        self._suspected_at = now

    def heard(self) -> None:
        """A consumer has answered, or said that it is at work."""
        self._suspected_at = None

    def look(self, *, reachable: bool, heard_at: float, now: float) -> State:
        """Judge anew; call it a few times a second.

        :param reachable: whether an endpoint is linked by which somebody takes the address
        :param heard_at: when anything was last heard from any endpoint
        :returns: the state, new or not
        """
        if reachable:
            self._seen_at = now
        elif self._was_reachable:
            # A link that fell silent was of no use before that was noticed.
            self._seen_at = min(self._seen_at, heard_at)
        self._was_reachable = reachable
        self._recover(now)
        if self._suspected_at is not None or now - self._seen_at >= self._link_timeout:
            self._cut_off()
        elif reachable:
            self._catch_up()
        return self._state

    def _recover(self, now: float) -> None:
        """A suspicion ends by itself where nothing is under way that could disprove it."""
        since = self._suspected_at
        if since is None or self.takes_records:
            return
        if now - since >= 2 * self._link_timeout:
            self._suspected_at = None

    def _cut_off(self) -> None:
        with self._lock:
            if self._state is State.CUT_OFF:
                return
            self._state = State.CUT_OFF
            waiters, self._waiters = list(self._waiters), {}
        for waiter in waiters:
            waiter.interrupt()

    def _catch_up(self) -> None:
        with self._lock:
            if self._state is State.CUT_OFF:
                self._state = State.CATCHING_UP
            if self._state is State.CATCHING_UP and not self.takes_records:
                self._state = State.LINKED
