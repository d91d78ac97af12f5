# SPDX-License-Identifier: Apache-2.0
"""Ways to break a correct history, each with the rule that it breaks.

Each takes a history of the model and a source of chance, and returns another history, or None
where there is nothing in it that could be broken so.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any
from typing import TypeVar

from tests.consistency.history import Effect
from tests.consistency.history import History
from tests.consistency.history import Kind
from tests.consistency.history import Operation
from tests.consistency.index import Index
from tests.consistency.index import Rule

T = TypeVar("T")
Break = Callable[[History, random.Random], History | None]

BREAKS: dict[str, tuple[Rule, Break]] = {}


def _breaks(rule: Rule) -> Callable[[Break], Break]:
    def register(way: Break) -> Break:
        def on_a_copy(of: History, chance: random.Random) -> History | None:
            return way(copy.deepcopy(of), chance)

        BREAKS[way.__name__.lstrip("_").replace("_", " ")] = (rule, on_a_copy)
        return way

    return register


def _one(chance: random.Random, some: list[T]) -> T | None:
    return chance.choice(some) if some else None


def _applied(of: History, *kinds: Kind) -> list[Operation]:
    index = Index(of)
    return [
        each
        for each in of.operations
        if each.kind in (kinds or (Kind.SAVE, Kind.FAULT))
        and each.has_returned
        and index.written_at(each) is not None
        and not index.is_forgotten(each)
    ]


def _renumbered(of: History, effects: list[Effect]) -> History:
    of.effects = [each._replace(number=number) for number, each in enumerate(effects)]
    return of


def _replace(rows: list[Any], old: Any, **values: Any) -> None:
    rows[rows.index(old)] = old._replace(**values)


@_breaks(Rule.DURABILITY)
def _an_effect_is_lost(of: History, chance: random.Random) -> History | None:
    lost = _one(chance, _applied(of))
    if lost is None:
        return None
    return _renumbered(of, [each for each in of.effects if each.value != lost.name])


@_breaks(Rule.DURABILITY)
def _a_command_is_lost(of: History, chance: random.Random) -> History | None:
    index = Index(of)
    kept = [each for each in of.handed if not index.is_forgotten(index.operations[each.name])]
    if not kept:
        return None
    of.handed.remove(chance.choice(kept))
    return of


@_breaks(Rule.ONCE)
def _an_effect_comes_twice(of: History, chance: random.Random) -> History | None:
    again = _one(chance, [each for each in of.effects if each.outbox])
    if again is None:
        return None
    place = chance.randint(of.effects.index(again) + 1, len(of.effects))
    return _renumbered(of, [*of.effects[:place], again, *of.effects[place:]])


@_breaks(Rule.ONCE)
def _a_command_comes_twice(of: History, chance: random.Random) -> History | None:
    again = _one(chance, of.handed)
    if again is None:
        return None
    of.handed.append(again._replace(number=len(of.handed)))
    return of


@_breaks(Rule.ONCE)
def _an_effect_has_no_row_beside_it(of: History, chance: random.Random) -> History | None:
    bare = _one(chance, [each for each in of.effects if each.outbox])
    if bare is None:
        return None
    _replace(of.effects, bare, outbox="", seq=0)
    return of


@_breaks(Rule.ORDER)
def _two_entries_change_places(of: History, chance: random.Random) -> History | None:
    pairs = [
        (early, late)
        for early in of.effects
        for late in of.effects
        if early.outbox
        and (early.outbox, early.group) == (late.outbox, late.group)
        and early.seq < late.seq
    ]
    pair = _one(chance, pairs)
    if pair is None:
        return None
    early, late = (of.effects.index(each) for each in pair)
    of.effects[early], of.effects[late] = of.effects[late], of.effects[early]
    return _renumbered(of, of.effects)


@_breaks(Rule.ORDER)
def _two_commands_change_places(of: History, chance: random.Random) -> History | None:
    index = Index(of)
    pairs = []
    for number, each in enumerate(of.handed):
        first = index.operations[each.name]
        for later, other in enumerate(of.handed[number + 1 :], number + 1):
            second = index.operations[other.name]
            is_same = index.life(first).session == index.life(second).session
            if is_same and first.group == second.group and first.returned <= second.begun:
                pairs.append((number, later))
    pair = _one(chance, pairs)
    if pair is None:
        return None
    one, two = pair
    first, second = of.handed[one], of.handed[two]
    of.handed[one], of.handed[two] = second._replace(number=one), first._replace(number=two)
    return of


def _read_before_all(of: History, one: tuple[Operation, str] | None) -> History | None:
    """Let a read have seen what was in a field before all writes."""
    if one is None:
        return None
    read, field = one
    _replace(of.operations, read, values={**read.values, field: ""})
    return of


@_breaks(Rule.READ_YOUR_WRITES)
def _a_read_misses_a_write(of: History, chance: random.Random) -> History | None:
    index = Index(of)
    found = []
    for read in of.operations:
        if read.kind is not Kind.READ:
            continue
        for field in read.values:
            before = [
                each
                for each in index.sessions.get((index.life(read).session, read.group), ())
                if each.is_write and field in each.values and each.returned <= read.begun
            ]
            if any(index.place(read.group, field, each.name) is not None for each in before):
                found.append((read, field))
    return _read_before_all(of, _one(chance, found))


@_breaks(Rule.MONOTONIC_READS)
def _a_read_goes_back(of: History, chance: random.Random) -> History | None:
    index = Index(of)
    found = []
    for operations in index.sessions.values():
        reads = [each for each in operations if each.kind is Kind.READ]
        for first in reads:
            for second in reads:
                is_kept = first.returned < index.kept_until(first.life)
                if first.returned > second.begun or not (is_kept or first.life == second.life):
                    continue
                for field, value in first.values.items():
                    place = index.place(first.group, field, value)
                    if place is not None and place >= 0:
                        found.append((second, field))
    return _read_before_all(of, _one(chance, found))


@_breaks(Rule.MONOTONIC_READS)
def _what_was_read_vanishes(of: History, chance: random.Random) -> History | None:
    names = {value for each in of.operations for value in each.values.values()
             if each.kind is Kind.READ}  # fmt: skip
    lost = _one(chance, [each for each in _applied(of, Kind.SAVE) if each.name in names])
    if lost is None:
        return None
    of.endings = [each for each in of.endings if each.name != lost.name]
    return _renumbered(of, [each for each in of.effects if each.value != lost.name])


@_breaks(Rule.MONOTONIC_WRITES)
def _a_later_write_lands_first(of: History, chance: random.Random) -> History | None:
    index = Index(of)
    found = []
    for operations in index.sessions.values():
        writes = [each for each in operations if each.is_write and each.name in index.by_name]
        found += [(a, b) for a in writes for b in writes if a.returned <= b.begun]
    pair = _one(chance, found)
    if pair is None:
        return None
    early, late = pair
    moved = [each for each in of.effects if each.value == late.name]
    rest = [each for each in of.effects if each.value != late.name]
    place = next(number for number, each in enumerate(rest) if each.value == early.name)
    return _renumbered(of, [*rest[:place], *moved, *rest[place:]])


@_breaks(Rule.WRITES_FOLLOW_READS)
def _a_write_lands_before_what_was_read(of: History, chance: random.Random) -> History | None:
    index = Index(of)
    found = []
    for (_, group), operations in index.sessions.items():
        for read in operations:
            if read.kind is not Kind.READ:
                continue
            seen = [
                index.place(group, field, value)
                for field, value in read.values.items()
                if value not in index.operations
            ]
            places = [place for place in seen if place is not None and place >= 0]
            after = [
                each
                for each in operations
                if each.is_write and read.returned <= each.begun and each.name in index.by_name
            ]
            found += [(place, each) for place in places for each in after]
    one = _one(chance, found)
    if one is None:
        return None
    place, write = one
    moved = [each for each in of.effects if each.value == write.name]
    before = [each for each in of.effects[:place] if each.value != write.name]
    rest = [each for each in of.effects[place:] if each.value != write.name]
    return _renumbered(of, [*before, *moved, *rest])


@_breaks(Rule.FENCING)
def _a_fenced_entry_lands(of: History, chance: random.Random) -> History | None:
    dead = _one(chance, [each for each in of.endings if each.outcome == "dead"])
    if dead is None:
        return None
    operation = Index(of).operations[dead.name]
    for field in operation.values:
        number = len(of.effects)
        effect = Effect(number, operation.group, field, dead.name, dead.outbox, dead.seq)
        of.effects.append(effect)
    return of


@_breaks(Rule.FENCING)
def _an_older_life_still_writes(of: History, chance: random.Random) -> History | None:
    index = Index(of)
    found = []
    for write in _applied(of):
        life = index.life(write)
        older = [each for each in of.lives if each.host == life.host and each.epoch < life.epoch]
        place = index.written_at(write)
        assert place is not None
        earlier = [
            each
            for each in _applied(of)
            if each.life == write.life and each.returned < write.begun
        ]
        if older and any((index.written_at(each) or 0) < place for each in earlier):
            found.append((write, older[0]))
    one = _one(chance, found)
    if one is None:
        return None
    write, life = one
    _replace(of.operations, write, life=life.name)
    return of


@_breaks(Rule.CONVERGENCE)
def _a_side_has_something_else(of: History, chance: random.Random) -> History | None:
    written = {(each.group, each.field) for each in of.effects}
    final = _one(chance, [each for each in of.finals if (each.group, each.field) in written])
    if final is None:
        return None
    _replace(of.finals, final, value="something else")
    return of


@_breaks(Rule.DRAIN)
def _an_entry_has_not_ended(of: History, chance: random.Random) -> History | None:
    ending = _one(chance, of.endings)
    if ending is None:
        return None
    _replace(of.endings, ending, outcome="pending")
    return of


@_breaks(Rule.DRAIN)
def _a_dead_letter_has_no_reason(of: History, chance: random.Random) -> History | None:
    ending = _one(chance, [each for each in of.endings if each.outcome == "dead"])
    if ending is None:
        return None
    _replace(of.endings, ending, reason="")
    return of


@_breaks(Rule.DRAIN)
def _it_is_merged_into_nothing(of: History, chance: random.Random) -> History | None:
    ending = _one(chance, of.endings)
    if ending is None:
        return None
    _replace(of.endings, ending, outcome="merged", reason="taken up by 999999")
    return of
