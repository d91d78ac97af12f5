# SPDX-License-Identifier: Apache-2.0
"""The four session guarantees, per host process and instance.

They are those of D. Terry et al.: Session Guarantees for Weakly Consistent Replicated Data (PDIS
1994). There a read is answered by a server that has applied a set of writes; here the centre's
database says in which place each write stands, and a read that returns a value has seen the writes
to that field up to that place. A write that was refused, and is known to be, has no place: it
promises nothing, and who has seen it has seen nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.consistency.history import Kind
from tests.consistency.history import Operation
from tests.consistency.index import INITIAL
from tests.consistency.index import Index
from tests.consistency.index import Rule
from tests.consistency.index import Violation
from tests.consistency.index import sweep

_Seen = tuple[int, str]
"""A place, and the operation that it is known by."""


def read_your_writes(index: Index) -> Iterator[Violation]:
    """A read sees every write of its session that had returned when it began.

    "The effects of any Writes made within a session are visible to Reads within that session."
    """
    for (_, group), operations in index.sessions.items():
        latest: dict[str, _Seen] = {}
        for is_over, operation in sweep(operations):
            if is_over and operation.is_write:
                for field in operation.values:
                    place = index.place(group, field, operation.name)
                    if place is not None:
                        latest[field] = max(
                            latest.get(field, (INITIAL, "")), (place, operation.name)
                        )
            elif not is_over and operation.kind is Kind.READ:
                yield from _behind(index, operation, latest, Rule.READ_YOUR_WRITES)


def monotonic_reads(index: Index) -> Iterator[Violation]:
    """A read sees what every read of its session had seen that had returned when it began.

    "Successive reads reflect a nondecreasing set of writes." What is read was written by somebody,
    and does not vanish without anybody's knowing. What a process has read in its last moments it
    may forget with its end, for the journal gets what was read once a second.
    """
    for (_, group), operations in index.sessions.items():
        latest: dict[str, _Seen] = {}
        fleeting: dict[tuple[str, str], _Seen] = {}
        for is_over, operation in sweep(operations):
            if operation.kind is not Kind.READ:
                continue
            if not is_over:
                known = {
                    field: max(
                        latest.get(field, (INITIAL, "")),
                        fleeting.get((operation.life, field), (INITIAL, "")),
                    )
                    for field in operation.values
                }
                yield from _behind(index, operation, known, Rule.MONOTONIC_READS)
                yield from _vanished(index, operation)
                continue
            is_kept = operation.returned < index.kept_until(operation.life)
            for field, value in operation.values.items():
                place = index.place(group, field, value)
                seen = (INITIAL if place is None else place, operation.name)
                if is_kept:
                    latest[field] = max(latest.get(field, (INITIAL, "")), seen)
                else:
                    key = (operation.life, field)
                    fleeting[key] = max(fleeting.get(key, (INITIAL, "")), seen)


def monotonic_writes(index: Index) -> Iterator[Violation]:
    """The writes of a session have their effects in the order in which they were made.

    "Writes are propagated after writes that logically precede them."
    """
    for operations in index.sessions.values():
        latest: _Seen = (INITIAL, "")
        for is_over, operation in sweep(operations):
            place = index.written_at(operation) if operation.is_write else None
            if place is None:
                continue
            if is_over:
                latest = max(latest, (place, operation.name))
            elif place < latest[0]:
                yield Violation(
                    Rule.MONOTONIC_WRITES,
                    f"{operation.name} had effect {place}, before effect {latest[0]} of "
                    f"{latest[1]}, which had returned when it began",
                    (latest[1], operation.name),
                )


def writes_follow_reads(index: Index) -> Iterator[Violation]:
    """A write has its effect after those that its session had read when it began.

    "Writes are propagated after reads on which they depend."
    """
    for (_, group), operations in index.sessions.items():
        latest: _Seen = (INITIAL, "")
        for is_over, operation in sweep(operations):
            if is_over and operation.kind is Kind.READ:
                for field, value in operation.values.items():
                    seen = index.place(group, field, value)
                    if seen is not None:
                        latest = max(latest, (seen, operation.name))
            elif not is_over and operation.is_write:
                place = index.written_at(operation)
                if place is not None and place < latest[0]:
                    yield Violation(
                        Rule.WRITES_FOLLOW_READS,
                        f"{operation.name} had effect {place}, before effect {latest[0]}, which "
                        f"{latest[1]} had read when it began",
                        (latest[1], operation.name),
                    )


def _behind(
    index: Index, read: Operation, latest: dict[str, _Seen], rule: Rule
) -> Iterator[Violation]:
    for field, value in read.values.items():
        place = index.place(read.group, field, value)
        least, known_by = latest.get(field, (INITIAL, ""))
        if place is not None and place < least:
            yield Violation(
                rule,
                f"{read.name} read {field}={value!r} (effect {place}), which is older than effect "
                f"{least}, known by {known_by}",
                (known_by, read.name),
            )


def _vanished(index: Index, read: Operation) -> Iterator[Violation]:
    for field, value in read.values.items():
        writer = index.operations.get(value)
        if writer is None or index.place(read.group, field, value) is not None:
            continue
        is_excused = index.is_forgotten(writer) or index.was_refused_in_lost_part(writer)
        if not (index.is_out(value) or is_excused):
            yield Violation(
                Rule.MONOTONIC_READS,
                f"{read.name} read {field}={value!r}, and nothing became of that write",
                (value, read.name),
            )
