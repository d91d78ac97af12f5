# SPDX-License-Identifier: Apache-2.0
"""A write that is answered here: compared, merged, journaled and overlaid in one operation."""

import dataclasses
from typing import NamedTuple

from nova_edge_bus.autonomy import bodies
from nova_edge_bus.autonomy import keeper as keeper_module
from nova_edge_bus.autonomy import merging
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal as journal_module
from nova_edge_bus.protocol import messages

MergeKey = tuple[str, ...]


class Mergeable(NamedTuple):
    """An entry that the next save of the same object may take up."""

    seq: int
    request: bodies.Request


class Outcome(NamedTuple):
    """What a write came to.

    ``entry`` is what was journaled, under ``seq``, None where the write failed; ``absorbed`` is
    the seq of the entry that it has taken up, if any.
    """

    status: int
    reply: bytes
    seq: int | None = None
    entry: entries.NewEntry | None = None
    absorbed: int | None = None


class LocalWrite:
    """One such operation. It may be run several times, each time but the last being undone.

    :param candidates: the entries that have not left this process, by what they have in common
        with those that may take them up; None where nothing is merged
    """

    def __init__(
        self,
        keeper: keeper_module.Keeper,
        entry: entries.NewEntry,
        candidates: dict[MergeKey, Mergeable] | None,
    ) -> None:
        self._keeper = keeper
        self._entry = entry
        self._candidates = candidates
        self._key: MergeKey | None = None
        self._request: bodies.Request | None = None
        self._seq: int | None = None
        self._absorbed: Mergeable | None = None

    def run(self, journal: journal_module.Journal) -> Outcome | None:
        """Write, or say why not; None when only the centre can tell.

        :raises JournalFull: when there is no room
        """
        keeper = self._keeper
        keeper.digest(wholly=True)
        request = bodies.request(self._entry.body)
        answer = keeper.snapshot.answer_write(request.message, context=request.context)
        if answer is None:
            return None
        status, reply = bodies.reply(answer)
        if status != messages.Status.OK:
            return Outcome(status, reply)
        note = keeper.snapshot.before(request.message)
        request = dataclasses.replace(request, note=note)
        entry, request, earlier = self._merged(request)
        (seq,) = journal.outbox.append_many([entry])
        if earlier is not None and self._absorb(journal, earlier, seq):
            self._absorbed = earlier
        self._seq, self._request = seq, request
        journal.on_undo(self._undo)
        keeper.snapshot.wrote(seq, request.message)
        absorbed = None if self._absorbed is None else self._absorbed.seq
        return Outcome(status, reply, seq, entry, absorbed)

    def _undo(self) -> None:
        """The operation was rolled back: the snapshot must not show it."""
        snapshot = self._keeper.snapshot
        if self._seq is not None:
            snapshot.retract(self._seq)
        if self._absorbed is not None:
            snapshot.wrote(self._absorbed.seq, self._absorbed.request.message)
        self._seq = self._absorbed = None

    def committed(self) -> None:
        """The operation is on disk: a later save may take up what it wrote."""
        if self._candidates is not None and self._key is not None:
            if self._seq is not None and self._request is not None:
                self._candidates[self._key] = Mergeable(self._seq, self._request)

    def _merged(
        self, request: bodies.Request
    ) -> tuple[entries.NewEntry, bodies.Request, Mergeable | None]:
        """What to journal: the save itself, or one that stands for an earlier one as well."""
        earlier = None
        if self._candidates is not None:
            self._key = merging.key(request)
            earlier = self._candidates.get(self._key) if self._key else None
        if earlier is None:
            body = bodies.noted(self._entry.body, request.note or {})
        else:
            request = merging.merged(earlier.request, request)
            body = bodies.pack(request)
        return dataclasses.replace(self._entry, body=body), request, earlier

    def _absorb(self, journal: journal_module.Journal, earlier: Mergeable, seq: int) -> bool:
        """Settle the earlier entry, unless it has been applied meanwhile."""
        outcome = (earlier.seq, entries.Outcome.MERGED, f"entry {seq} stands for it")
        if not journal.outbox.settle_many([outcome]):
            return False
        self._keeper.snapshot.retract(earlier.seq)
        return True
