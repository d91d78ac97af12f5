# SPDX-License-Identifier: Apache-2.0
"""What the centre has done with each entry: kept, once, in order, and only where it may.

These are the project's own promises, G1 to G4, G7 and G8 of its design, in the words of
doc/source/exactly-once.rst and delivery.rst; nothing in the literature replaces them.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator

from tests.consistency import history
from tests.consistency.history import Effect
from tests.consistency.history import Kind
from tests.consistency.history import Operation
from tests.consistency.index import INITIAL
from tests.consistency.index import Index
from tests.consistency.index import Rule
from tests.consistency.index import Violation


def durability(index: Index) -> Iterator[Violation]:
    """What has returned has its effect, or ends without one where an operator can see why."""
    handed = {each.name for each in index.history.handed} | set(index.history.interrupted)
    beats = _last_beats(index)
    for operation in index.operations.values():
        if not operation.has_returned or index.is_superseded(operation):
            continue
        ending = index.ending_of(operation)
        outcome = ending.outcome if ending else "not in any journal"
        if operation.kind is Kind.CAST:
            is_kept = operation.name in handed
        else:
            is_kept = index.written_at(operation) is not None
        if is_kept or outcome == "pending" or index.is_out(operation.name):
            continue
        if operation.kind is Kind.BEAT and beats.get(operation.group, -1.0) > operation.begun:
            continue
        if not (index.is_forgotten(operation) or index.was_refused_in_lost_part(operation)):
            yield Violation(
                Rule.DURABILITY,
                f"{operation.name} returned and had no effect; its entry: {outcome}",
                (operation.name,),
            )


def _last_beats(index: Index) -> dict[str, float]:
    """When the last heartbeat of each group began that had an effect."""
    found: dict[str, float] = {}
    for operation in index.operations.values():
        if operation.kind is Kind.BEAT and index.written_at(operation) is not None:
            found[operation.group] = max(found.get(operation.group, -1.0), operation.begun)
    return found


def once(index: Index) -> Iterator[Violation]:
    """Each effect is somebody's, there once, and committed together with its inbox row."""
    for name, effects in index.by_name.items():
        operation = index.operations.get(name)
        if operation is None:
            if any(effect.outbox for effect in effects):
                yield Violation(Rule.ONCE, f"nobody wrote {name!r}: {effects[0]}", ())
            continue
        times = collections.Counter((effect.group, effect.field) for effect in effects)
        for (group, field), count in times.items():
            if count > 1 or field not in operation.values or group != operation.group:
                yield Violation(
                    Rule.ONCE, f"{name} had {count} effects on {field} of {group}", (name,)
                )
        if len(times) < len(operation.values):
            yield Violation(
                Rule.ONCE, f"{name} had an effect on {[*times]} alone, not on all", (name,)
            )
        ending = index.ending_of(operation)
        entry = (ending.outbox, ending.seq) if ending else None
        if not all(effect.outbox for effect in effects):
            yield Violation(
                Rule.ONCE, f"{name} had its effect without its inbox row beside it", (name,)
            )
        elif entry and any((effect.outbox, effect.seq) != entry for effect in effects):
            yield Violation(Rule.ONCE, f"{name} had its effect with the row of another", (name,))
    for name in _refused_with_effect(index):
        yield Violation(Rule.ONCE, f"{name} had its effect and ended without one", (name,))


def _refused_with_effect(index: Index) -> Iterator[str]:
    for name, ending in index.endings.items():
        if ending.outcome in ("expired", "dead") and name in index.by_name:
            yield name


def order(index: Index) -> Iterator[Violation]:
    """The entries of one outbox have their effects on a group in the order of their seqs.

    An entry names its predecessor in its group, so that order is the order of the writes. Commands
    of one thread to one server are handed out as they were sent, and whoever gets one reads what
    was written before it.
    """
    last: dict[tuple[str, str], Effect] = {}
    for effect in index.effects:
        if not effect.outbox:
            continue
        before = last.setdefault((effect.outbox, effect.group), effect)
        if effect.seq < before.seq:
            yield Violation(
                Rule.ORDER,
                f"seq {effect.seq} had effect {effect.number} after seq {before.seq}",
                (before.value, effect.value),
            )
        else:
            last[effect.outbox, effect.group] = effect
    yield from _order_of_commands(index)


def _order_of_commands(index: Index) -> Iterator[Violation]:
    handed: dict[tuple[str, str, str], list[Operation]] = collections.defaultdict(list)
    counts: collections.Counter[str] = collections.Counter()
    for each in sorted(index.history.handed):
        operation = index.operations.get(each.name)
        counts[each.name] += 1
        if operation is None or counts[each.name] > 1:
            text = (
                f"command {each.name} was handed out {counts[each.name]} times, or sent by nobody"
            )
            yield Violation(Rule.ONCE, text, (each.name,))
            continue
        session = index.life(operation).session
        before = handed[session, operation.group, each.by]
        if before and operation.returned <= before[-1].begun:
            yield Violation(
                Rule.ORDER,
                f"command {each.name} was handed out after {before[-1].name}",
                (before[-1].name, each.name),
            )
        before.append(operation)
        yield from _overtaken(index, operation, each)


def _overtaken(index: Index, command: Operation, handed: history.Handed) -> Iterator[Violation]:
    for write in index.sessions.get((index.life(command).session, command.group), ()):
        if not write.is_write or write.returned > command.begun:
            continue
        for field, value in handed.seen.items():
            place = index.place(command.group, field, write.name)
            seen = index.place(command.group, field, value)
            if place not in (None, INITIAL) and seen is not None and seen < place:
                yield Violation(
                    Rule.ORDER,
                    f"command {command.name} was handed out when {field} was {value!r}, before "
                    f"the write {write.name}",
                    (write.name, command.name),
                )


def fencing(index: Index) -> Iterator[Violation]:
    """Nothing that was answered at the edge lands after the instance has gone from that host.

    And nothing that an older owner of a journal begins lands once a newer one has written.
    """
    newest: dict[str, tuple[int, float, str]] = {}
    for group, effects in index.by_group.items():
        host, is_deleted = None, False
        for effect in effects:
            if effect.field == history.HOST:
                host = effect.value
            elif effect.field == history.DELETED:
                is_deleted = True
            elif operation := index.operations.get(effect.value):
                yield from _fenced(index, operation, group, host, is_deleted)
    for effect in index.effects:
        operation = index.operations.get(effect.value)
        if operation is None or effect.field in (history.HOST, history.DELETED):
            continue
        life = index.life(operation)
        epoch, returned, by = newest.get(life.outbox, (0, 0.0, ""))
        if life.epoch < epoch and operation.begun > returned:
            yield Violation(
                Rule.FENCING,
                f"{effect.value} of epoch {life.epoch} began after {by} of epoch {epoch} had "
                "returned, and had an effect",
                (by, effect.value),
            )
        elif life.epoch > epoch:
            newest[life.outbox] = (life.epoch, operation.returned, operation.name)


def _fenced(
    index: Index, operation: Operation, group: str, host: str | None, is_deleted: bool
) -> Iterator[Violation]:
    ending = index.ending_of(operation)
    if ending is None or not ending.replayed or operation.kind is Kind.BEAT:
        return
    if is_deleted:
        text = f"{operation.name} landed although {group} was deleted"
    elif host is not None and host != index.life(operation).host:
        text = f"{operation.name} landed although {group} was on {host}"
    else:
        return
    yield Violation(Rule.FENCING, text, (operation.name,))


def convergence(index: Index) -> Iterator[Violation]:
    """At the end both sides have in each field what its last write that was allowed wrote.

    Linked reads and reads that the edge answers by itself alike: what happens when all that was
    sent has been received (D. Terry et al.: Managing Update Conflicts in Bayou, SOSP 1995,
    section 4: replicas move towards eventual consistency).
    """
    last = {(effect.group, effect.field): effect.value for effect in index.effects}
    for final in index.history.finals:
        known = last.get((final.group, final.field), final.value)
        if known != final.value:
            yield Violation(
                Rule.CONVERGENCE,
                f"{final.side} has {final.field}={final.value!r} of {final.group}; the last write "
                f"was {known!r}",
                tuple(each for each in (known, final.value) if each in index.operations),
            )


def drain(index: Index) -> Iterator[Violation]:
    """Each entry has ended: applied, merged into a named one, expired, or dead with a reason."""
    known = {(each.outbox, each.seq): each for each in index.history.endings}
    for ending in index.history.endings:
        what = f"seq {ending.seq} of outbox {ending.outbox}"
        names = (ending.name,) if ending.name else ()
        if ending.outcome == "pending":
            yield Violation(Rule.DRAIN, f"{what} is still pending", names)
        elif ending.outcome == "dead" and not ending.reason.strip():
            yield Violation(Rule.DRAIN, f"{what} is dead without a reason", names)
        elif ending.outcome == "merged" and not _names_one(ending, known):
            text = f"{what} was merged, but not into an entry that there is: {ending.reason!r}"
            yield Violation(Rule.DRAIN, text, names)


def _names_one(ending: history.Ending, known: dict[tuple[str, int], history.Ending]) -> bool:
    numbers = [int(word) for word in ending.reason.replace(",", " ").split() if word.isdigit()]
    return any(n > ending.seq and (ending.outbox, n) in known for n in numbers)
