# SPDX-License-Identifier: Apache-2.0
"""The limits of an endpoint, and what it counts."""

import collections
import dataclasses

_PINGS_A_SECOND = 5000


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
