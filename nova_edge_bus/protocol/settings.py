# SPDX-License-Identifier: Apache-2.0
"""The limits of an endpoint, and what it counts."""

import collections
import dataclasses

_PINGS_A_SECOND = 5000
_HANDSHAKES_A_SECOND = 800
"""Sessions that can begin in a second where each has to prove a key: that takes 1.3 ms."""


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """The limits of an endpoint; sizes in bytes, times in seconds.

    Answers (what goes back to a sender) may use twice the pending room of deliveries, so that
    a flood of deliveries cannot keep answers out.
    """

    max_sessions: int = 10_000
    window_messages: int = 1024
    window_bytes: int = 4 * 1024 * 1024
    pending_messages: int = 4096
    pending_bytes: int = 16 * 1024 * 1024
    pending_bytes_total: int = 512 * 1024 * 1024
    max_listeners: int = 256
    max_addresses: int = 4096
    max_interests: int = 100_000
    push_delay: float = 0.02
    pushes_per_second: float = 10_000
    greetings_per_second: float = 2000

    @property
    def heartbeat(self) -> float:
        """Seconds between the pings of an idle session: longer when many are planned for."""
        return max(1.0, self.max_sessions / _PINGS_A_SECOND)

    def with_keys(self) -> "Settings":
        """The same where every connection is encrypted."""
        slower = min(self.greetings_per_second, _HANDSHAKES_A_SECOND)
        return dataclasses.replace(self, greetings_per_second=slower)

    def has_own_room(self, backlog: tuple[int, int], share: int) -> bool:
        """Whether one more message may wait for a peer, for which so much waits.

        :param share: 1 for deliveries, 2 for answers
        """
        count, size = backlog
        return count < share * self.pending_messages and size < share * self.pending_bytes

    def has_room(self, backlog: tuple[int, int], pending: int, share: int) -> bool:
        """The same, where *pending* bytes wait for all peers.

        Beyond the total a peer still has its part of it, so that those who do not read take
        nothing from those who do.
        """
        is_full = pending >= share * self.pending_bytes_total
        if is_full and backlog[1] >= self.pending_bytes_total // self.max_sessions:
            return False
        return self.has_own_room(backlog, share)


@dataclasses.dataclass(slots=True)
class Stats:
    """What an endpoint has done since it began."""

    sessions: int = 0
    sessions_ever: int = 0
    delivered: int = 0
    answered: int = 0
    fanned_out: int = 0
    answers_dropped: int = 0
    packets_in: int = 0
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    pending_bytes: int = 0
    refused: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    rejected: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
