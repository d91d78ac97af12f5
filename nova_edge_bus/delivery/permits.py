# SPDX-License-Identifier: Apache-2.0
"""Permits: what the consumers have granted this side of its backlogs, and what it asks them for.

The backlog of a stream is what nobody took when it was written, or what an earlier life has left.
It is shipped as everything else is, only that a consumer which admits must have granted it, see
:mod:`~nova_edge_bus.delivery.admission`. While a permit is waited for, nothing need be in flight
that could go unanswered; then it is the answer to our question that is awaited.
"""

import dataclasses
import math
from collections.abc import Callable
from collections.abc import Iterable

from nova_edge_bus.delivery import streams
from nova_edge_bus.delivery import surroundings
from nova_edge_bus.protocol import messages

ASKED_CONSUMERS = 4
"""How many consumers are asked for what may go to any."""
PERMIT_SECONDS = 2.5
"""Seconds for which a permit is good: for less than the consumer keeps room for it."""

Way = Callable[[bytes], object | None]
"""Gives the endpoint by which a question can go to a peer now."""


@dataclasses.dataclass(slots=True)
class _Line:
    """What stands between a stream and one consumer of it; times in monotonic seconds.

    ``wanted`` is what the consumer knows that we want; ``unanswered_since`` is when a question
    went out to which nothing has come back.
    """

    permits: int = 0
    good_until: float = 0.0
    through: int = -1
    wanted: int = 0
    ask_at: float = 0.0
    unanswered_since: float | None = None
    endpoint: object = None

    def is_good(self, now: float) -> bool:
        """Whether there is a permit that has not lapsed."""
        return self.permits > 0 and now <= self.good_until

    def is_due(self, through: int, now: float) -> bool:
        """Whether the consumer is to be asked, anew or again."""
        return not self.wanted or self.through != through or now >= self.ask_at

    def is_waiting(self, through: int, now: float) -> bool:
        """Whether it is the consumer's turn to say something."""
        return not (self.is_good(now) or self.is_due(through, now))


class Permits:
    """The permits of one sender's streams.

    :param outbox: as it stands in the deliveries
    """

    def __init__(
        self, port: surroundings.Port, limits: surroundings.Limits, outbox: bytes | None
    ) -> None:
        self._port = port
        self._timeout = limits.ack_timeout
        self._outbox = outbox
        self._lines: dict[streams.Stream, dict[bytes, _Line]] = {}

    def is_open(self, stream: streams.Stream, consumer: messages.Consumer, now: float) -> bool:
        """Whether an entry of the backlog of *stream* may go to *consumer* now."""
        if not consumer.admits:
            return True
        line = self._lines.get(stream, {}).get(consumer.peer)
        return line is not None and line.is_good(now)

    def spend(self, stream: streams.Stream, consumer: messages.Consumer) -> None:
        """One such entry goes to *consumer*."""
        if consumer.admits:
            self._lines[stream][consumer.peer].permits -= 1

    def is_waiting(self, stream: streams.Stream, now: float) -> bool:
        """Whether all has been asked that is to be asked for *stream*, and there is no permit."""
        lines = self._lines.get(stream)
        return lines is not None and all(
            line.is_waiting(stream.backlog_through, now) for line in lines.values()
        )

    # Questions and answers.

    def ask(self, stream: streams.Stream, needs: dict[bytes, int], way: Way, now: float) -> None:
        """Ask for what can be shipped, by peer, and give back what cannot be used."""
        lines = self._lines.get(stream)
        if lines is None:
            if not needs:
                return
            lines = self._lines[stream] = {}
        for peer in lines.keys() - needs.keys():
            line = lines.pop(peer)
            if line.wanted or line.permits:
                self._say(stream, peer, line, 0, way)
        for peer, entries in needs.items():
            line = lines.setdefault(peer, _Line())
            is_due = line.is_due(stream.backlog_through, now)
            if is_due and self._say(stream, peer, line, entries, way):
                line.ask_at = math.inf
                if line.unanswered_since is None:
                    line.unanswered_since = now
        if not lines:
            del self._lines[stream]

    def _say(
        self, stream: streams.Stream, peer: bytes, line: _Line, entries: int, way: Way
    ) -> bool:
        endpoint = way(peer)
        if endpoint is None:
            return False
        line.endpoint = endpoint
        line.wanted = entries
        line.through = stream.backlog_through
        self._port.transmit(
            endpoint,
            messages.Want(peer, None, self._outbox, stream.key, stream.backlog_through, entries),
        )
        return True

    def granted(self, stream: streams.Stream, message: messages.Grant, now: float) -> None:
        """A consumer has answered, or it is our turn there."""
        line = self._lines.get(stream, {}).get(message.sender or b"")
        if line is None:
            return
        line.unanswered_since = None
        line.ask_at = now + max(self._timeout, message.patience / 1000)
        if message.entries:
            line.permits = message.entries + (line.permits if line.is_good(now) else 0)
            line.good_until = now + PERMIT_SECONDS
            line.wanted = max(0, line.wanted - message.entries)

    # What befalls those who were asked.

    def keep(self, stream: streams.Stream, takers: Iterable[messages.Consumer]) -> None:
        """Only these take *stream* now."""
        lines = self._lines.get(stream)
        if lines is not None:
            for peer in lines.keys() - {taker.peer for taker in takers}:
                del lines[peer]
            if not lines:
                del self._lines[stream]

    def endpoint_down(self, endpoint: object) -> None:
        """Questions by this endpoint, or the answers to them, may be lost: ask again."""
        for lines in self._lines.values():
            for line in lines.values():
                if line.endpoint == endpoint:
                    line.ask_at = 0.0

    def unanswered(self, now: float) -> list[tuple[streams.Stream, object, bytes]]:
        """Where no answer came in time, by which endpoint, and from whom; each once a question."""
        silent = []
        for stream, lines in list(self._lines.items()):
            if stream.idle:
                del self._lines[stream]
                continue
            for peer, line in lines.items():
                since = line.unanswered_since
                if since is not None and now - since > self._timeout:
                    line.unanswered_since, line.ask_at = None, 0.0
                    silent.append((stream, line.endpoint, peer))
        return silent
