# SPDX-License-Identifier: Apache-2.0
"""Pace: how many entries of backlogs a consumer does in a second, and what follows from that.

A conductor that makes ten saves a second needs no more than a handful before it, and each one that
it works on takes time from a call. A consumer that does ten thousand a second stands still unless
thousands are on their way, and works off many of them before a call would notice.
"""

LOOK_SECONDS = 0.1
"""Seconds over which what has been done is counted."""
GROWING_SECONDS = 0.02
"""The same while it turns out to be more than twice as fast as was known."""
AHEAD_SECONDS = 2.0
"""For how many seconds of work there is room here and on the way."""
AHEAD_OF_SLOT = 8
"""Entries for which there is room at least, for each slot."""
MOST = 2048
"""Entries for which there is room at most."""
UNNOTICED_SECONDS = 0.02
"""Seconds of work on backlogs that may lie before a call."""
MOST_AT_ONCE = 32
"""Entries that are worked on at a time at most: half of the threads that a service has."""


class Pace:
    """What one consumer can take; times are an argument.

    :param slots: entries that are worked on at a time, at least
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._rate = 0.0
        self._count = 0
        self._since: float | None = None

    def done(self) -> None:
        """One more entry is done."""
        self._count += 1

    def look(self, now: float) -> None:
        """Reckon anew, if it is time; one slow moment halves the rate at the most."""
        if self._since is None:
            self._since = now
        elapsed = now - self._since
        if elapsed < GROWING_SECONDS:
            return
        rate = self._count / elapsed
        # A few that end together say nothing; the first that were let come, as soon as they are
        # done, say that there was too little to do.
        is_growing = self._count >= self._slots * AHEAD_OF_SLOT and rate > 2 * self._rate
        if is_growing or elapsed >= LOOK_SECONDS:
            self._rate = max(rate, self._rate / 2)
            self._count, self._since = 0, now

    @property
    def room(self) -> int:
        """How many entries may be here or on their way."""
        ahead = round(self._rate * AHEAD_SECONDS)
        return min(MOST, max(self._slots * AHEAD_OF_SLOT, ahead))

    @property
    def at_once(self) -> int:
        """How many entries may be worked on at a time."""
        quick = min(MOST_AT_ONCE, round(self._rate * UNNOTICED_SECONDS))
        return max(self._slots, quick)
