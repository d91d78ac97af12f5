# SPDX-License-Identifier: Apache-2.0
"""An edge host's nova objects over a keeper and a real journal, all in one thread."""

from __future__ import annotations

import json
import pathlib
import sys
import time
from typing import Any

import oslo_messaging
from nova import context as nova_context

from nova_edge_bus import contracts
from nova_edge_bus.autonomy import bodies
from nova_edge_bus.autonomy import keeper as keepers
from nova_edge_bus.autonomy import local_write
from nova_edge_bus.autonomy import manifest
from nova_edge_bus.driver import body as driver_body
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal as journals
from nova_edge_bus.protocol import messages
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot.edge import HOST

Json = centres.Json
LIMIT_BYTES = 50_000_000
LINK = "tcp://127.0.0.1:5570"
ADDRESS = "/nova/conductor"


def make_keeper() -> keepers.Keeper:
    return keepers.Keeper(host=HOST, limit_bytes=LIMIT_BYTES, manifest=manifest.versions_of)


def entry(body: bytes, group: str = "", method: str = "save") -> entries.NewEntry:
    """A record of nova-compute's."""
    return entries.NewEntry(
        link=LINK,
        address=ADDRESS,
        kind=int(messages.Kind.RECORD),
        group=group,
        method=method,
        body=body,
        consumer=None,
        created_at=time.time(),
        expires_at=None,
    )


class Site:
    """A way, in the sense of :mod:`tests.unit.snapshot.centre`, as the driver goes it.

    While linked, everything makes the round trip; while not, the keeper answers and the journal
    keeps what is written. ``asked`` are the bodies that the centre got.
    """

    def __init__(self, centre: centres.Centre, path: pathlib.Path) -> None:
        self.centre = centre
        self.linked = True
        self.candidates: dict[local_write.MergeKey, local_write.Mergeable] = {}
        self.asked: list[Json] = []
        self._path = path
        self._open()

    def _open(self) -> None:
        self.journal = journals.Journal.open(self._path, max_bytes=64 << 20, retention=3600.0)
        self.keeper = make_keeper()
        self.candidates.clear()
        with self.journal.transaction():
            self.keeper.load(self.journal)

    def restart(self) -> None:
        """What is not in the journal is lost."""
        self.close()
        self._open()

    def close(self) -> None:
        self.journal.close()

    def save(self) -> None:
        """Write the snapshot down."""
        with self.journal.transaction():
            is_written = self.keeper.save(self.journal)
        if is_written:
            self.keeper.saved()

    @staticmethod
    def context(**options: Any) -> nova_context.RequestContext:
        return nova_context.get_admin_context(**options)

    def __call__(self, context: Json, message: Json) -> Any:
        terms = contracts.classify(message, is_call=True)
        body = bodies.pack(bodies.Request(context, message))
        if terms.journaled:
            status, reply = self._write(terms, body)
        else:
            status, reply = self._read(body)
        if status == messages.Status.OK:
            return json.loads(reply)
        raise driver_body.unpack_failure(reply, ["nova.exception"])

    def _read(self, body: bytes) -> tuple[int, bytes]:
        if not self.linked:
            answer = self.keeper.answer(body)
            if answer is None:
                raise oslo_messaging.MessagingTimeout("only the centre can tell")
            return answer
        moment = self.keeper.ask()
        status, reply = self.apply(body)
        self.keeper.heard_reply(body, moment, status, reply)
        return status, reply

    def _write(self, terms: contracts.Terms, body: bytes) -> tuple[int, bytes]:
        written = entry(body, terms.group, terms.method)
        if not self.linked:
            is_mergeable = terms.contract is contracts.Contract.MERGE
            outcome = self.write_here(written, self.candidates if is_mergeable else None)
            if outcome is None:
                raise oslo_messaging.MessagingTimeout("only the centre can tell")
            return outcome.status, outcome.reply
        with self.journal.transaction():
            (seq,) = self.journal.outbox.append_many([written])
        self.keeper.wrote(seq, body)
        return self._settle(seq, body)

    def write_here(
        self,
        written: entries.NewEntry,
        candidates: dict[local_write.MergeKey, local_write.Mergeable] | None,
    ) -> local_write.Outcome | None:
        """One write that is answered without the centre."""
        write = local_write.LocalWrite(self.keeper, written, candidates)
        with self.journal.transaction():
            outcome = write.run(self.journal)
        if outcome is not None and outcome.seq is not None:
            write.committed()
            self.keeper.appended(outcome.seq)
        return outcome

    def _settle(self, seq: int, body: bytes) -> tuple[int, bytes]:
        status, reply = self.apply(body)
        self.keeper.heard_outcome(seq, status, reply)
        with self.journal.transaction():
            self.journal.outbox.settle_many([(seq, entries.Outcome.APPLIED, None)])
        return status, reply

    def apply(self, body: bytes) -> tuple[int, bytes]:
        """Let the centre do it, as its RPC server would."""
        request = bodies.request(body)
        self.asked.append(request.message)
        try:
            reply = self.centre(request.context, request.message)
        except Exception:
            return messages.Status.FAILURE, driver_body.pack_failure(sys.exc_info())
        return messages.Status.OK, driver_body.pack_reply(reply)

    def pending(self) -> list[entries.Entry]:
        with self.journal.transaction():
            return self.journal.outbox.pending(ADDRESS, 0, 10_000, 1 << 30)

    def ended(self, outcome: entries.Outcome) -> list[entries.StoredEntry]:
        with self.journal.transaction():
            return self.journal.outbox.settled.listing(outcome)

    def heal(self) -> None:
        """Link up again, and replay the journal."""
        self.linked = True
        self.candidates.clear()
        for each in self.pending():
            self._settle(each.seq, each.body)
