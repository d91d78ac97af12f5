# SPDX-License-Identifier: Apache-2.0
"""Permits: what the consumers have granted this side of its backlogs, and what it asks them for.

The backlog of a stream is what nobody took when it was written, or what an earlier life has left.
It is shipped as everything else is, only that a consumer which admits must have granted it, see
:mod:`~nova_edge_bus.delivery.admission`. What has been granted is used at once or given back, for
it is room that others wait for. While this side stands in line, nothing need be in flight that
could go unanswered; then it is the answer to our question that is awaited.
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
MOST_PERMITS = 1 << 20
"""More than any consumer has room for: what is given back has to go into a message."""

Way = Callable[[bytes], object | None]
"""Gives the endpoint by which a question can go to a peer now."""


@dataclasses.dataclass(slots=True)
class _Line:
    """What stands between a stream and one consumer of it; times in monotonic seconds.

    ``wanted`` is what the consumer knows that we want and has not granted; ``unanswered_since`` is
    when a question went out to which nothing has come back.
    """

    permits: int = 0
    through: int = -1
    wanted: int = 0
    ask_at: float = 0.0
    unanswered_since: float | None = None
    endpoint: object = None

    def is_due(self, entries: int, through: int, now: float) -> bool:
        """Whether the consumer is to be asked, anew or again; or to be told that it is over.

        What it knows needs not be right, as long as our place in its line is worth having.
        """
        if self.permits or not entries:
            return bool(self.permits or self.wanted)
        return 2 * self.wanted < entries or self.through != through or now >= self.ask_at


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

    def is_open(self, stream: streams.Stream, consumer: messages.Consumer) -> bool:
        """Whether an entry of the backlog of *stream* may go to *consumer* now."""
        if not consumer.admits:
            return True
        line = self._lines.get(stream, {}).get(consumer.peer)
        return line is not None and line.permits > 0

    def spend(self, stream: streams.Stream, consumer: messages.Consumer) -> None:
        """One such entry goes to *consumer*."""
        if consumer.admits:
            self._lines[stream][consumer.peer].permits -= 1

    # Questions and answers.

    def ask(self, stream: streams.Stream, needs: dict[bytes, int], way: Way, now: float) -> None:
        """Ask for what can be shipped, by peer, and give back what has not been used."""
        if not needs and stream not in self._lines:
            return
        lines = self._lines.setdefault(stream, {})
        for peer in needs:
            lines.setdefault(peer, _Line())
        for peer, line in list(lines.items()):
            entries = needs.get(peer, 0)
            is_due = line.is_due(entries, stream.backlog_through, now)
            is_told = not is_due or self._say(stream, peer, line, entries, way, now)
            if is_told and not entries:
                del lines[peer]
        if not lines:
            del self._lines[stream]

    def _say(
        self,
        stream: streams.Stream,
        peer: bytes,
        line: _Line,
        entries: int,
        way: Way,
        now: float,
    ) -> bool:
        endpoint = way(peer)
        if endpoint is None:
            return False
        through = stream.backlog_through
        self._port.transmit(
            endpoint,
            messages.Want(peer, None, self._outbox, stream.key, through, entries, line.permits),
        )
        line.permits, line.wanted, line.through = 0, entries, through
        line.endpoint = endpoint
        line.ask_at = math.inf
        if entries and line.unanswered_since is None:
            line.unanswered_since = now
        return True

    def granted(self, stream: streams.Stream, message: messages.Grant, now: float) -> None:
        """A consumer has answered, or it is our turn there.

        It may be so when nothing is wanted any more: that is given back like the rest.
        """
        lines = self._lines.setdefault(stream, {})
        line = lines.setdefault(message.sender or b"", _Line(through=stream.backlog_through))
        line.unanswered_since = None
        line.ask_at = now + max(self._timeout, message.patience / 1000)
        line.permits = min(MOST_PERMITS, line.permits + message.entries)
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
