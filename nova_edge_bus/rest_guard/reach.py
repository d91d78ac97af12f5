# SPDX-License-Identifier: Apache-2.0
"""What is known about one upstream: in reach, or out of reach since when and why.

No I/O and no clock: time, in seconds of one monotonic clock, comes in as an argument.

Only a connection that cannot be made, or a probe that fails, puts an upstream out of reach; slow
answers alone never do. Only a probe that succeeds brings it back.
"""

import collections.abc
import math
import random

from nova_edge_bus.rest_guard import settings as times

_GROWTH = 1.5
_SPREAD = 0.2
_WANTED_SECONDS = 1.0


class Reach:
    """The circuit breaker of one upstream. It begins in reach, with a probe due at once.

    :param jitter: gives a number from 0 to 1; spreads the probes of a fleet
    """

    def __init__(
        self,
        settings: times.Settings,
        now: float,
        jitter: collections.abc.Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._jitter = jitter
        self._heard_at = now
        self._out_since: float | None = None
        self._pause = settings.probe_interval
        self._probe_at: float | None = now
        self._failed_at = now

    @property
    def out_since(self) -> float | None:
        """When the upstream went out of reach; None while it is in reach."""
        return self._out_since

    def heard(self, now: float) -> None:
        """Note that the upstream has sent something on a connection made earlier."""
        self._heard_at = now

    def back(self, now: float) -> float | None:
        """Note that a probe was answered.

        :return: for how many seconds the upstream had been out of reach; None if it was not
        """
        self._heard_at = now
        self._probe_at = None
        self._pause = self._settings.probe_interval
        since, self._out_since = self._out_since, None
        return None if since is None else now - since

    def lost(self, now: float, asked_at: float, *, certain: bool) -> bool:
        """Note that no connection could be made for a request; tell whether that is news.

        :param certain: whether something said so; else there was only silence
        """
        if self._out_since is not None:
            return False
        if self._is_busy(asked_at, certain=certain):
            self.doubt(now)
            return False
        return self.probe_failed(now, asked_at, certain=certain)

    def probe_failed(self, now: float, asked_at: float, *, certain: bool) -> bool:
        """Note that a probe was not connected, or not answered; tell whether that is news."""
        if self._is_busy(asked_at, certain=certain):
            self._probe_at = None
            return False
        news = self._out_since is None
        if news:
            self._out_since = now
        self._failed_at = now
        self._probe_at = now + self._pause * (1 + _SPREAD * (2 * self._jitter() - 1))
        self._pause = min(self._pause * _GROWTH, self._settings.probe_interval_max)
        return news

    def doubt(self, now: float) -> None:
        """Have the upstream probed now, because it has ended a connection before the answer."""
        if self._out_since is None:
            self._probe_at = now

    def wanted(self, now: float) -> bool:
        """Note that a request is there for an upstream out of reach; tell whether to probe now.

        The pause between probes grows in a long silence; the first request after it must not be
        refused because of that. Not more often than once a second.
        """
        if self._out_since is None or now - self._failed_at < _WANTED_SECONDS:
            return False
        self._probe_at = now
        return True

    def next_probe(self, owed_since: float | None) -> float | None:
        """When the next probe is due; None while nothing calls for one.

        :param owed_since: since when the longest-waiting request has seen no progress; None if
            no request waits
        """
        if self._probe_at is not None or owed_since is None:
            return self._probe_at
        # An upstream that is slow for a whole fleet must not be probed by all of it all the time.
        waited = (self._heard_at - owed_since) * (_GROWTH - 1)
        pause = min(waited, self._settings.probe_interval_max)
        return max(self._heard_at, owed_since) + max(pause, self._settings.probe_interval)

    def give_up_at(self, progress_at: float) -> float | None:
        """When a request without progress since *progress_at* is ended; None while in reach."""
        if self._out_since is None:
            return None
        return max(self._out_since, progress_at) + self._settings.link_timeout

    def retry_after(self, now: float) -> int:
        """Whole seconds, at least one, until asking again may be worth it."""
        due = now if self._probe_at is None else self._probe_at
        return max(1, math.ceil(due - now))

    def _is_busy(self, asked_at: float, *, certain: bool) -> bool:
        """Tell busy from silent: a busy upstream has sent something meanwhile, if not to all."""
        return not certain and self._out_since is None and self._heard_at >= asked_at
