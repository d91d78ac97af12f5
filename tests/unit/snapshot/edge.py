# SPDX-License-Identifier: Apache-2.0
"""An edge host's nova objects over a snapshot, as the driver will use it."""

from __future__ import annotations

from typing import Any

import oslo_messaging
from nova import context as nova_context
from nova import exception

from nova_edge_bus import contracts
from nova_edge_bus.snapshot import snapshot as snapshots
from nova_edge_bus.snapshot.outcomes import Answer
from nova_edge_bus.snapshot.outcomes import Failure
from tests.unit.snapshot import centre as centres

HOST = "edge-1"
Json = centres.Json


class Edge:
    """A way that goes to the centre while linked, and to the snapshot while cut off."""

    def __init__(self, centre: centres.Centre, limit_bytes: int = 50_000_000) -> None:
        self.centre = centre
        self.snapshot = snapshots.Snapshot(host=HOST, limit_bytes=limit_bytes)
        self.linked = True
        self.journal: list[tuple[int, Json, Json]] = []
        self.messages: list[Json] = []
        self._seq = 0

    @staticmethod
    def context(**options: Any) -> nova_context.RequestContext:
        return nova_context.get_admin_context(**options)

    def __call__(self, context: Json, message: Json) -> Any:
        self.messages.append(message)
        terms = contracts.classify(message, is_call=True)
        if terms.journaled:
            return self._write(context, message)
        if self.linked:
            return self._read(context, message)
        answer = self.snapshot.answer(message, context=context)
        if answer is None:
            raise oslo_messaging.MessagingTimeout(terms.method)
        return answer.reply

    def _read(self, context: Json, message: Json) -> Any:
        asked_at = self.snapshot.moment()
        try:
            reply = self.centre(context, message)
        except exception.NovaException as error:
            failure = {"class": type(error).__name__}
            self.snapshot.learn_failure(message, failure, context=context)
            raise
        self.snapshot.learn(message, reply, context=context, asked_at=asked_at)
        return reply

    def _write(self, context: Json, message: Json) -> Any:
        outcome = None
        if not self.linked:
            outcome = self.snapshot.answer_write(message, context=context)
            if outcome is None:
                raise oslo_messaging.MessagingTimeout(message["method"])
            if isinstance(outcome, Failure):
                raise getattr(exception, outcome.class_name)(**outcome.kwargs)
        self._seq += 1
        self.snapshot.wrote(self._seq, message)
        if isinstance(outcome, Answer):
            self.journal.append((self._seq, context, message))
            return outcome.reply
        return self._apply(self._seq, context, message)

    def _apply(self, seq: int, context: Json, message: Json) -> Any:
        try:
            reply = self.centre(context, message)
        except exception.NovaException as error:
            self.snapshot.settled(seq, None, {"class": type(error).__name__})
            raise
        self.snapshot.settled(seq, reply, None)
        return reply

    def heal(self) -> None:
        """Replay the journal."""
        self.linked = True
        for seq, context, message in self.journal:
            self._apply(seq, context, message)
        self.journal.clear()
