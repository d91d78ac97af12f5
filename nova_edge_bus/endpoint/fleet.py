# SPDX-License-Identifier: Apache-2.0
"""Every process that an endpoint has had a session with of late, and how it is.

The loop's thread writes the table; any thread may read it, and the loop never waits for a
reader. It is bounded: sessions are, and of those that are gone so many are kept for so long. What
peers say of themselves is shortened and not trusted: it is to be shown as text.
"""

import collections
import collections.abc
import sys
import time
import typing

from nova_edge_bus import concurrency
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import session as sessions

KEPT_SECONDS = 24 * 3600.0
"""How long a process that is gone stays in the table."""
MOST_GONE_OF_A_HOST = 64
"""Processes of one host that are kept when they are gone: others are left out as they leave."""
PATIENCE_SECONDS = 30.0
"""How long the report of a former session speaks for a new one that has sent none yet."""
TEXT = 128
"""Characters of a name that are kept."""
VERSION_TEXT = 32

GONE = "gone"
NOT_TOLD = "linked, no report"
WORDS: dict[int, str] = {
    messages.PeerState.LINKED: "linked",
    messages.PeerState.CATCHING_UP: "catching up",
    messages.PeerState.CUT_OFF: "cut off",
}
STATES = (*WORDS.values(), NOT_TOLD, GONE)
"""The words for the state of a process."""


class Figures(typing.NamedTuple):
    """What a process has reported; times are wall clock seconds, ``oldest_at`` 0 for none."""

    state: int
    pending: int
    oldest_at: float
    dead: int
    conflicts: int
    fenced: int
    fill: int
    version: str
    reported_at: float


class Row:
    """One process; times are wall clock seconds."""

    __slots__ = (
        "_heard",
        "changed_at",
        "figures",
        "gone_at",
        "hello",
        "host",
        "opened_at",
        "outbox",
        "service",
        "session",
        "turned_away",
    )

    def __init__(self, hello: messages.Hello) -> None:
        self.host = hello.host[:TEXT]
        self.service = sys.intern(hello.service[:TEXT])
        self.outbox = hello.outbox
        self.hello: messages.Hello | None = None
        self.session: sessions.Session | None = None
        self.figures: Figures | None = None
        self.opened_at = 0.0
        self.changed_at = 0.0
        self.gone_at: float | None = None
        self.turned_away = 0
        self._heard = 0.0

    def heard_at(self, offset: float) -> float:
        """When the last packet came.

        :param offset: what a time of the monotonic clock lacks to one of the wall clock
        """
        session = self.session
        return self._heard if session is None else session.heard + offset

    def begin(self, hello: messages.Hello, session: sessions.Session, now: float) -> None:
        """A session has come up."""
        self.host = hello.host[:TEXT]
        self.service = sys.intern(hello.service[:TEXT])
        self.hello, self.session = hello, session
        self.opened_at = self.changed_at = now
        self.gone_at = None

    def end(self, now: float) -> None:
        """The session has ended."""
        self._heard = self.heard_at(_offset())
        self.hello = self.session = None
        self.gone_at = self.changed_at = now

    def state(self, now: float) -> str:
        """The word for its state, one of :data:`STATES`."""
        if self.gone_at is not None:
            return GONE
        figures = self.current(now)
        return NOT_TOLD if figures is None else WORDS.get(figures.state, NOT_TOLD)

    def current(self, now: float) -> Figures | None:
        """What it has reported, unless that was an older version of it."""
        figures = self.figures
        if figures is None or self.gone_at is not None or figures.reported_at >= self.opened_at:
            return figures
        return figures if now - self.opened_at < PATIENCE_SECONDS else None


class Fleet:
    """The table.

    :param most_gone: how many processes that are gone are kept; the oldest are dropped
    """

    def __init__(self, most_gone: int) -> None:
        self._most_gone = most_gone
        self._rows: dict[bytes, Row] = {}
        self._gone: collections.OrderedDict[bytes, Row] = collections.OrderedDict()
        self._gone_of: collections.Counter[str] = collections.Counter()

    # On the loop's thread.

    def opened(self, hello: messages.Hello, session: sessions.Session) -> None:
        """A session has come up."""
        key = hello.outbox or hello.peer
        row = self._take_back(key) or Row(hello)
        row.begin(hello, session, time.time())
        self._rows[key] = row

    def closed(self, hello: messages.Hello) -> None:
        """A session has ended."""
        key = hello.outbox or hello.peer
        row = self._rows.get(key)
        if row is None or row.hello is not hello:
            return
        now = time.time()
        del self._rows[key]
        row.end(now)
        if self._gone_of[row.host] < MOST_GONE_OF_A_HOST:
            self._gone[key] = row
            self._gone_of[row.host] += 1
        self._forget(now)

    def reported(self, hello: messages.Hello, report: messages.Report) -> None:
        """A peer has said how it is."""
        row = self._rows.get(hello.outbox or hello.peer)
        if row is None or row.hello is not hello:
            return
        now = time.time()
        before = row.state(now)
        row.figures = Figures(
            report.state,
            report.pending,
            max(1.0, now - report.oldest / 1000) if report.pending else 0.0,
            report.dead,
            report.conflicts,
            report.fenced,
            report.fill,
            sys.intern(report.version[:VERSION_TEXT]),
            now,
        )
        if before not in (row.state(now), NOT_TOLD):
            row.changed_at = now

    def fenced(self, hello: messages.Hello) -> None:
        """A former opening of a journal, or a copy of it, was turned away."""
        row = self._rows.get(hello.outbox)
        if row is not None:
            row.turned_away += 1

    def _take_back(self, key: bytes) -> Row | None:
        row = self._gone.pop(key, None)
        if row is not None:
            self._count_less(row.host)
        return row

    def _forget(self, now: float) -> None:
        while self._gone:
            key, row = next(iter(self._gone.items()))
            if len(self._gone) <= self._most_gone and now - (row.gone_at or 0.0) < KEPT_SECONDS:
                return
            self._take_back(key)

    def _count_less(self, host: str) -> None:
        self._gone_of[host] -= 1
        if not self._gone_of[host]:
            del self._gone_of[host]

    # On any thread.

    def rows(self) -> list[Row]:
        """All processes as of now, those with a session first."""
        # Each list is made in one step of the interpreter, so that the loop cannot come between.
        rows, gone = list(self._rows.values()), list(self._gone.values())
        oldest = time.time() - KEPT_SECONDS
        return rows + [row for row in gone if (row.gone_at or oldest) >= oldest]


def _offset() -> float:
    return time.time() - concurrency.monotonic()
