# SPDX-License-Identifier: Apache-2.0
"""Asks the centre whether it still has what it once had, and brings forward what it has lost.

A database can go back in time: restored from a dump, or failed over to a replica that was behind.
Nobody tells the edge. So it asks, after each time that somebody new answers at a destination and
once in a while, for the entries that it has settled since it asked last, and for the last one of
those before: whatever goes back in time loses the newest first.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any
from typing import NamedTuple
from typing import Protocol

from nova_edge_bus import concurrency
from nova_edge_bus import events
from nova_edge_bus.autonomy import bodies
from nova_edge_bus.autonomy import forward
from nova_edge_bus.autonomy import keeper as keeper_module
from nova_edge_bus.cell import audit
from nova_edge_bus.delivery import streams
from nova_edge_bus.journal import journal as journal_module
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import store as store_module

LOG = concurrency.NativeLogger(__name__)

INTERVAL = 60.0
"""Seconds between two questions, when nobody new answers."""
JITTER = 2.0
"""Seconds over which hosts spread their questions when somebody new answers them all."""
AGAIN = 10.0
"""Seconds until a question that was not answered is asked again."""
REPLY_TIMEOUT = 30.0
MOST = 512
"""How many entries are asked for at a time."""
_PING = {
    "method": "ping",
    "namespace": "baseapi",
    "version": "1.0",
    "args": {"arg": "edge-bus"},
}
_CONTEXT = {"is_admin": True, "roles": ["admin"]}


class Calls(Protocol):
    """Makes calls, of which this waits for the replies."""

    def next_call(self) -> int:
        """A number for a call."""

    def call(self, item: streams.Item, waiter: Any) -> None:
        """Make a call."""

    def abandon(self, kind: messages.Kind, number: int) -> None:
        """Give up a call."""


class _Answer(NamedTuple):
    floor: int
    known: frozenset[int]
    highest: int


class Auditor:
    """For the I/O thread of one bus.

    :param forwarded: is told of what has just been appended again, on the journal's thread
    """

    def __init__(
        self,
        link: str,
        store: store_module.Store,
        keeper: keeper_module.Keeper,
        calls: Calls,
        forwarded: Callable[[str, list[forward.Moved]], None],
    ) -> None:
        self._link = link
        self._store = store
        self._keeper = keeper
        self._calls = calls
        self._forwarded = forwarded
        self._rounds: dict[str, _Round] = {}

    def tick(self, address: str, takers: frozenset[messages.Consumer], now: float) -> None:
        """Ask when it is time; *address* is linked, and *takers* are those who answer there."""
        found = self._rounds.get(address)
        if found is None:
            found = self._rounds[address] = _Round(self, address)
        found.tick(takers, now)

    def interrupt(self) -> None:
        """A destination is cut off: what was asked is asked again afterwards."""
        for each in self._rounds.values():
            each.interrupt()


class _Round:
    """What is asked of one address. One question is under way at a time."""

    def __init__(self, auditor: Auditor, address: str) -> None:
        self._auditor = auditor
        self._address = address
        self._takers: frozenset[messages.Consumer] = frozenset()
        self._due = 0.0
        self._is_busy = False
        self._asked: _Question | None = None
        self._confirmed: int | None = None
        self._settled = 0
        self._first = 0
        self._has_compared = False

    def tick(self, takers: frozenset[messages.Consumer], now: float) -> None:
        if takers - self._takers:
            self._due = min(self._due, now + random.uniform(0.0, JITTER)) if self._due else now
        self._takers = takers
        if self._asked is not None and now >= self._asked.until:
            self.interrupt()
        if now >= self._due and not self._is_busy:
            self._is_busy = True
            self._due = now + INTERVAL
            self._run(self._newest, self._ask_for_newest)

    def interrupt(self) -> None:
        """Give up what is under way."""
        if self._asked is not None:
            self._auditor._calls.abandon(messages.Kind.REQUEST, self._asked.number)
            self._asked = None
        self._end(AGAIN)

    def _end(self, pause: float) -> None:
        self._is_busy = False
        self._due = concurrency.monotonic() + pause

    def _run(
        self, op: Callable[[journal_module.Journal], Any], then: Callable[[Any], None]
    ) -> None:
        def done(result: Any, error: Exception | None) -> None:
            if error is None:
                then(result)
                return
            LOG.error("cannot compare journal and centre: %s", error)
            self._end(INTERVAL)

        self._auditor._store.run(op, done)

    def _ask(self, seqs: list[int], then: Callable[[_Answer], None]) -> None:
        """Ask for entries; *then* gets the answer, if it comes and the centre has any."""
        calls = self._auditor._calls
        outbox = self._auditor._store.outbox_id
        now = concurrency.monotonic()
        note = audit.question(
            outbox,
            self._address,
            seqs,
            settled=self._settled,
            confirmed=self._confirmed or 0,
            first=self._first,
        )
        self._asked = _Question(self, calls.next_call(), now + REPLY_TIMEOUT, then)
        item = streams.Item(
            kind=messages.Kind.REQUEST,
            number=self._asked.number,
            key=self._address,
            group="",
            body=bodies.pack(bodies.Request(dict(_CONTEXT), dict(_PING), note)),
            repeatable=True,
            expires=now + REPLY_TIMEOUT,
        )
        calls.call(item, self._asked)

    def answered(self, question: _Question, status: int, body: bytes) -> None:
        """The reply to a question is here, or a failure."""
        if question is not self._asked:
            return
        self._asked = None
        answer = _parse(status, body)
        if answer is None:
            # No tables, or no database there, or one that is in trouble.
            self._end(INTERVAL)
        else:
            question.then(answer)

    # Looking at the newest.

    def _newest(self, journal: journal_module.Journal) -> list[int]:
        self._settled = journal.outbox.floor()
        self._first = journal.outbox.first_seq
        history = journal.outbox.history
        link = self._auditor._link
        if self._confirmed is None:
            return history.newest_recorded(link, self._address, MOST)
        newer = history.recorded(link, self._address, self._confirmed + 1, MOST)
        return [self._confirmed, *newer]

    def _ask_for_newest(self, seqs: list[int]) -> None:
        self._ask(seqs, lambda answer: self._compare(seqs, answer))

    def _compare(self, seqs: list[int], answer: _Answer) -> None:
        if not self._has_compared:
            self._has_compared = True
            self._run(lambda journal: _lacks(journal, answer.highest), self._report)
        if _lost(seqs, answer):
            LOG.warning(
                events.CENTRE_LOST,
                self._address,
                min(_lost(seqs, answer)),
            )
            self._confirmed = None
            self._gather(answer.floor, [])
            return
        if seqs:
            self._confirmed = seqs[-1]
        self._end(0.0 if len(seqs) > MOST else INTERVAL)

    def _report(self, last: int | None) -> None:
        if last is not None:
            LOG.warning(
                "outbox=%s was put back from a copy: the centre has had entries of it that "
                "journal %s does not have, after seq %s",
                self._auditor._store.outbox_id.hex(),
                self._auditor._store.path,
                last,
            )

    # Bringing forward.

    def _gather(self, first: int, lost: list[int]) -> None:
        """Find all that is lost, a page of the journal after the other."""
        link = self._auditor._link

        def page(journal: journal_module.Journal) -> list[int]:
            return journal.outbox.history.recorded(link, self._address, first, MOST)

        def ask(seqs: list[int]) -> None:
            if seqs:
                self._ask(
                    seqs,
                    lambda answer: self._gather(seqs[-1] + 1, [*lost, *_lost(seqs, answer)]),
                )
            else:
                self._bring(forward.Forwarding(lost, self._auditor._keeper.known), len(lost))

        self._run(page, ask)

    def _bring(self, run: forward.Forwarding, count: int) -> None:
        def looked(more: bool) -> None:
            if more:
                self._bring(run, count)
            elif count:
                self._auditor._store.submit(run.write, written)
            else:
                self._end(INTERVAL)

        def written(moved: list[forward.Moved] | None, error: Exception | None) -> None:
            if moved is not None:
                self._auditor._forwarded(self._address, moved)
                LOG.warning(events.BROUGHT_FORWARD, self._address, count, len(moved))
            else:
                LOG.error("cannot bring forward what the centre has lost: %s", error)
            self._auditor._store.call_soon(lambda: self._end(AGAIN))

        self._run(run.look, looked)


class _Question:
    """One question, and who is told of its answer."""

    def __init__(
        self, asker: _Round, number: int, until: float, then: Callable[[_Answer], None]
    ) -> None:
        self._asker = asker
        self.number = number
        self.until = until
        self.then = then

    def resolve(self, status: int, body: bytes) -> None:
        """The reply is here; on any thread."""
        self._asker._auditor._store.call_soon(lambda: self._asker.answered(self, status, body))

    def fail(self, _: Exception) -> None:
        """There is none."""
        self.resolve(messages.Status.FAILURE, b"")

    def heartbeat(self) -> None:
        """It is being worked on."""


def _parse(status: int, body: bytes) -> _Answer | None:
    """The answer in a reply; None when a plain ping was answered, or nothing."""
    if status != messages.Status.OK:
        return None
    try:
        reply = json.loads(body)
        return _Answer(int(reply["floor"]), frozenset(reply["known"]), int(reply["highest"]))
    except (ValueError, TypeError, KeyError):
        return None


def _lost(seqs: list[int], answer: _Answer) -> list[int]:
    return [seq for seq in seqs if seq >= answer.floor and seq not in answer.known]


def _lacks(journal: journal_module.Journal, highest: int) -> int | None:
    """The newest entry that the journal has from before, if the centre has had a later one."""
    last = journal.outbox.history.last_of_earlier_lives()
    is_later = last is not None and last < highest < journal.outbox.first_seq
    return last if is_later else None
