# SPDX-License-Identifier: Apache-2.0
"""The keeper of a process's snapshot: what it hears, what it writes down, what it answers.

The snapshot belongs to the journal: only its operations touch it. Everybody else hands in what
they have heard, which costs them an append to a queue; it is taken in when there is time, or has
to be because somebody asks. A write that is answered here is compared, journaled and laid over the
snapshot in one operation of the journal, so two of them can never pass each other.
"""

import collections
import functools
import json
import sys
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from nova_edge_bus import concurrency
from nova_edge_bus import errors
from nova_edge_bus.autonomy import bodies
from nova_edge_bus.autonomy import notes
from nova_edge_bus.autonomy import prefetch
from nova_edge_bus.journal import journal as journal_module
from nova_edge_bus.protocol import messages
from nova_edge_bus.snapshot import outcomes
from nova_edge_bus.snapshot import snapshot as snapshot_module

LOG = concurrency.NativeLogger(__name__)

DIGEST_SECONDS = 0.002
"""How long one operation may take in what was heard, while nobody asks: others stand still."""
BACKLOG_BYTES = 4 << 20
"""Bytes heard and not taken in beyond which it is done in one go, so that memory stays bounded."""
PAGE_RECORDS = 256
REPEAT_WARNING = 60.0
"""Seconds after which a warning about something that goes on is repeated."""
_WATERMARK = "watermark"


class Moment:
    """When a read was sent, in the snapshot's own time; known once that has been taken in."""

    __slots__ = ("tick",)

    def __init__(self) -> None:
        self.tick: int | None = None


class InFlight(NamedTuple):
    """The reply to a record under way, and its entry's new body, if it is still pending."""

    status: int
    reply: bytes
    body: bytes | None


class _Heard(NamedTuple):
    take: Callable[[snapshot_module.Snapshot], None]
    size: int


class Keeper:
    """Keeps one snapshot in one journal.

    The ``heard_*`` methods are for any thread. The others are operations of the journal, to be
    run by its writer.

    :param host: see :class:`nova_edge_bus.snapshot.snapshot.Snapshot`
    :param limit_bytes: see there
    :param manifest: see :mod:`nova_edge_bus.autonomy.prefetch`
    """

    def __init__(self, *, host: str, limit_bytes: int, manifest: prefetch.Manifest) -> None:
        self._host = host
        self._manifest = manifest
        self.snapshot = snapshot_module.Snapshot(host=host, limit_bytes=limit_bytes)
        self._heard: collections.deque[_Heard] = collections.deque()
        self._backlog = 0
        self._whole_at: tuple[int, int] | None = None
        self._unsaved: dict[str, bytes | None] = {}
        self._appended = 0

    # What is heard.

    def ask(self) -> Moment:
        """A read is being sent; pass what this returns to :meth:`heard_reply`."""
        moment = Moment()

        def take(snapshot: snapshot_module.Snapshot) -> None:
            moment.tick = snapshot.moment()

        self._hear(take, 0)
        return moment

    def heard_reply(self, request: bytes, moment: Moment | None, status: int, body: bytes) -> None:
        """The centre has answered what is no write of the journal."""
        self._hear(
            functools.partial(_take_reply, request, moment, status, body),
            len(request) + len(body),
        )

    def heard_command(self, body: bytes) -> None:
        """The centre has sent a command or call."""
        self._hear(functools.partial(_take_command, body), len(body))

    def heard_outcome(self, seq: int, status: int, body: bytes) -> None:
        """The centre has applied a record, or refused it."""
        self._hear(functools.partial(_take_outcome, seq, status, body), len(body))

    def wrote(self, seq: int, body: bytes) -> None:
        """A record that makes the round trip is in the journal."""
        self._hear(functools.partial(_take_write, seq, body), len(body))
        self.appended(seq)

    def appended(self, seq: int) -> None:
        """The journal has committed *seq*; they come in their order."""
        self._appended = max(self._appended, seq)

    def _hear(self, take: Callable[[snapshot_module.Snapshot], None], size: int) -> None:
        self._heard.append(_Heard(take, size))
        self._backlog += size

    @property
    def has_news(self) -> bool:
        """Whether something was heard that has not been taken in."""
        return bool(self._heard)

    # Operations of the journal.

    def load(self, journal: journal_module.Journal) -> None:
        """Take up what the last life kept, and what it wrote after it last kept it."""
        found = dict(journal.kept.read())
        rows = {key: body for key, body in found.items() if body is not None}
        try:
            if len(rows) < len(found):
                raise ValueError(f"{len(found) - len(rows)} rows do not match their checksums")
            watermark = rows.pop(_WATERMARK, None)
            self.snapshot.load(rows.items())
            after = int(watermark or 0)
        except Exception as error:
            # Whatever is in those rows, the process has to start.
            LOG.error("the snapshot in journal %s is not usable: %s", journal.path, error)
            self.snapshot.load([])
            self._unsaved = dict.fromkeys([*found, _WATERMARK])
            after = 0
        self._catch_up_with_journal(journal, after)

    def _catch_up_with_journal(self, journal: journal_module.Journal, after: int) -> None:
        known = set(self.snapshot.unsettled())
        while page := journal.outbox.records(after, PAGE_RECORDS):
            for seq, _, body in page:
                if seq not in known:
                    self._take(functools.partial(_take_write, seq, body))
                after = seq
        self._appended = max(self._appended, after)
        unsettled = self.snapshot.unsettled()
        pending = journal.outbox.pending_among(unsettled)
        for seq in unsettled:
            if seq not in pending:
                self.snapshot.settled(seq, None, None)

    def digest(self, *, wholly: bool) -> None:
        """Take in what was heard, some of it at least."""
        until = concurrency.monotonic() + DIGEST_SECONDS
        while self._heard:
            heard = self._heard.popleft()
            self._backlog -= heard.size
            self._take(heard.take)
            late = concurrency.monotonic() >= until
            if late and not wholly and self._backlog < BACKLOG_BYTES:
                return

    def _take(self, take: Callable[[snapshot_module.Snapshot], None]) -> None:
        try:
            take(self.snapshot)
        except Exception:
            # Half of it may have been taken in; what is not whole must not be relied on.
            LOG.error("something that was heard of the centre could not be understood")
            self.snapshot.forget()

    def save(self, journal: journal_module.Journal) -> bool:
        """Write down what has changed; False when there is no room, and it is to be tried again.

        Call :meth:`saved` when it is on disk.
        """
        self.digest(wholly=True)
        self._unsaved.update(self.snapshot.changes())
        if not self._unsaved:
            return True
        watermark = str(self._appended).encode()
        try:
            journal.kept.write([*self._unsaved.items(), (_WATERMARK, watermark)])
        except errors.JournalFull as error:
            LOG.warning_once_in(REPEAT_WARNING, "%s", error)
            return False
        return True

    def saved(self) -> None:
        """What :meth:`save` wrote is on disk."""
        self._unsaved = {}

    def missing(self) -> list[tuple[str, bytes]]:
        """Return the requests of which the answers should be known and are not, by a key."""
        self.digest(wholly=True)
        revision = self.snapshot.revision
        if revision == self._whole_at:
            return []
        wanted = prefetch.missing(self.snapshot, self._host, self._manifest)
        if not wanted:
            self._whole_at = revision
        return [(key, bodies.pack(asked)) for key, asked in wanted]

    def answer(self, body: bytes) -> tuple[int, bytes] | None:
        """Answer a read; None when only the centre can.

        :returns: the status and the body of the reply
        """
        self.digest(wholly=True)
        request = bodies.request(body)
        answer = self.snapshot.answer(request.message, context=request.context)
        return None if answer is None else bodies.reply(answer)

    def known(self, message: Mapping[str, Any], seq: int = sys.maxsize) -> Mapping[str, Any]:
        """Say what is known of the row that a write is about to change; see ``before``.

        :param seq: the write's own, when it is in the journal already
        """
        self.digest(wholly=True)
        return self.snapshot.before(message, seq)

    def is_hopeless(self, group: str) -> bool:
        """Tell whether what a call of *group* is part of cannot end well while cut off.

        A build needs the centre in many places; the sooner it fails, the sooner another host can
        have the instance, or its user be told.
        """
        kind, _, instance = group.partition(":")
        return kind == "instance" and self.snapshot.is_being_built(instance)

    def answer_in_flight(
        self, journal: journal_module.Journal, seq: int, body: bytes
    ) -> InFlight | None:
        """Say what a record that is under way would come to, as far as is known; None if it fails.

        Whether the centre has applied it is not known, so a failure may not be said. The entry
        gets a note, for from now on nobody waits for what the centre has to say.
        """
        self.digest(wholly=True)
        request = bodies.request(body)
        outcome = self.snapshot.answer_write(request.message, context=request.context, before=seq)
        if not isinstance(outcome, outcomes.Answer):
            return None
        status, reply = bodies.reply(outcome)
        noted = notes.write(journal, seq, self.snapshot.before(request.message, seq))
        return InFlight(status, reply, noted)


def _take_reply(
    request_body: bytes,
    moment: Moment | None,
    status: int,
    body: bytes,
    snapshot: snapshot_module.Snapshot,
) -> None:
    request = bodies.request(request_body)
    reply = json.loads(body)
    if status == messages.Status.OK:
        snapshot.learn(
            request.message,
            reply,
            context=request.context,
            asked_at=None if moment is None else moment.tick,
        )
    else:
        snapshot.learn_failure(request.message, reply, context=request.context)


def _take_command(body: bytes, snapshot: snapshot_module.Snapshot) -> None:
    snapshot.learn_command(bodies.request(body).message)


def _take_outcome(seq: int, status: int, body: bytes, snapshot: snapshot_module.Snapshot) -> None:
    reply = json.loads(body)
    is_applied = status == messages.Status.OK
    snapshot.settled(seq, reply if is_applied else None, None if is_applied else reply)


def _take_write(seq: int, body: bytes, snapshot: snapshot_module.Snapshot) -> None:
    snapshot.wrote(seq, bodies.request(body).message)
