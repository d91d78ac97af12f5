# SPDX-License-Identifier: Apache-2.0
"""Bringing forward what the centre has lost, such as by a database that was restored.

What the centre had applied and then lost is applied once more, from the entries that this side
has kept. Between the two, newer entries may have been applied, and others be under way: no field
may fall back behind those. So each field is written by the last of all entries that wrote it, and
by none where that one is not lost; what is left of a lost entry is appended again, as a new one.
What an entry did other than by saving fields is done again as it was.

The condition of a compare-and-set was met when the entry was applied for the first time. What
made it true, a request that nova-api had written down, may be lost with the rest: then the state
has to be one that a lost entry was ready to find, or none at all.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from nova_edge_bus.autonomy import bodies
from nova_edge_bus.autonomy import notes
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal as journal_module
from nova_edge_bus.snapshot import calls
from nova_edge_bus.snapshot import entities
from nova_edge_bus.snapshot import primitives

PAGE = 128
_STATES = {"expected_vm_state": "vm_state", "expected_task_state": "task_state"}
"""The conditions of a save of an instance, and the fields that they are about."""
_PARAMETERS = (*_STATES, "admin_state_reset")
_TOGETHER = frozenset({"flavor", "old_flavor", "new_flavor"})
"""Fields that nova writes all at once when one of them has changed."""
_KEYS = {**entities.KEY_FIELDS, "InstanceInfoCache": ("instance_uuid",)}

Note = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Says what is known of the row that a message is about to change."""


class Moved(NamedTuple):
    """A lost entry, and the one that stands for it now."""

    was: int
    entry: entries.Entry

    @property
    def seq(self) -> int:
        """The number of the new one."""
        return self.entry.seq


@dataclasses.dataclass(slots=True)
class _Kept:
    """A lost entry, with what is left of it to do."""

    entry: entries.Entry
    request: bodies.Request
    expected: dict[str, set[Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True)
class _Newer:
    """What newer entries write of one object; by field, the lost one that does so last."""

    written: set[str] = dataclasses.field(default_factory=set)
    last: dict[str, _Kept] = dataclasses.field(default_factory=dict)


class Forwarding:
    """One such run. Its methods are operations of the journal: :meth:`look`, then :meth:`write`.

    :param lost: the seqs of the applied entries that the centre does not have any more
    :param note: see :data:`Note`
    """

    def __init__(self, lost: Iterable[int], note: Note) -> None:
        self._lost = frozenset(lost)
        self._first = min(self._lost, default=0)
        self._note = note
        self._next: int | None = None
        self._newest = 0
        self._newer: dict[tuple[str, str], _Newer] = {}
        self._kept: dict[int, _Kept] = {}

    def look(self, journal: journal_module.Journal) -> bool:
        """Look through a page of entries, the newest first; tell whether there are more."""
        page = journal.outbox.history.down(self._next, self._first, PAGE)
        for entry in page:
            self._newest = max(self._newest, entry.seq)
            self._next = entry.seq
            self._take(entry)
        return bool(page)

    def write(self, journal: journal_module.Journal) -> list[Moved]:
        """Append what is left to do, and settle the lost entries as merged.

        :raises JournalFull: when there is no room; nothing is written then
        """
        for entry in journal.outbox.history.down(None, self._newest + 1, None):
            # Written while the others were looked through.
            self._overtake(entry)
        kept = [each for _, each in sorted(self._kept.items()) if self._is_of_use(each)]
        new = [self._again(each) for each in kept]
        journal.outbox.history.retire(self._lost, time.time())
        seqs = journal.outbox.append_many(new)
        moved = [
            Moved(each.entry.seq, entries.Entry(**dataclasses.asdict(entry), seq=seq))
            for each, seq, entry in zip(kept, seqs, new, strict=True)
        ]
        reasons = dict.fromkeys(
            self._lost, "the centre has lost it; later entries write all that it wrote"
        )
        reasons |= {
            each.was: f"the centre has lost it; entry {each.seq} stands for it" for each in moved
        }
        journal.outbox.history.explain(reasons)
        return moved

    def _take(self, entry: entries.Entry) -> None:
        """*entry* is older than all that were taken before."""
        request = _request(entry.body)
        is_lost = entry.seq in self._lost
        if request is None:
            # Nobody could apply it; whoever did for the first time will know better.
            return
        kept = _Kept(entry, request) if is_lost else None
        if kept is not None:
            self._kept[entry.seq] = kept
        newer = self._newer_of(request.message)
        if newer is None:
            return
        names = _written(request.message)
        if kept is not None:
            kept.expected = _expected(request.message)
            for condition, states in kept.expected.items():
                heir = newer.last.get(_STATES[condition])
                if heir is not None and condition in heir.expected:
                    heir.expected[condition] |= states
            kept.request = _without(request, newer.written)
            newer.last.update(dict.fromkeys(names - newer.written, kept))
        newer.written |= names

    def _overtake(self, entry: entries.Entry) -> None:
        """*entry* is newer than all that were taken before."""
        request = _request(entry.body)
        newer = None if request is None else self._newer_of(request.message)
        if request is None or newer is None:
            return
        names = _written(request.message)
        for name in names & newer.last.keys():
            heir = newer.last.pop(name)
            heir.request = _without(heir.request, {name})

    def _newer_of(self, message: Mapping[str, Any]) -> _Newer | None:
        """What is known of the object that a message saves; None when it saves none."""
        call = calls.parse(message)
        if call is None or call.target is None or call.method != "save":
            return None
        fields = _KEYS.get(call.name, ())
        values = [call.data.get(field) for field in fields]
        if not values or None in values:
            return None
        return self._newer.setdefault((call.name, ":".join(map(str, values))), _Newer())

    def _is_of_use(self, kept: _Kept) -> bool:
        is_save = self._newer_of(kept.request.message) is not None
        return not is_save or bool(_written(kept.request.message))

    def _again(self, kept: _Kept) -> entries.NewEntry:
        request = kept.request
        message = _conditioned(request.message, kept.expected)
        note = request.note
        if note is None:
            host = self._note(message).get("instance_host") or notes.host_of(message)
            note = {} if host is None else {"instance_host": host}
        body = bodies.pack(bodies.Request(request.context, message, note))
        entry = kept.entry
        return entries.NewEntry(
            link=entry.link,
            address=entry.address,
            kind=entry.kind,
            group=entry.group,
            method=entry.method,
            body=body,
            consumer=None,
            created_at=entry.created_at,
            expires_at=None,
        )


def bring(journal: journal_module.Journal, note: Note) -> list[Moved]:
    """Bring forward in one operation what somebody has said to be lost.

    :raises JournalFull: when there is no room; it stays to be done then
    """
    lost = journal.outbox.history.lost()
    if not lost:
        return []
    run = Forwarding(lost, note)
    while run.look(journal):
        pass
    return run.write(journal)


def nothing_known(_: Mapping[str, Any]) -> Mapping[str, Any]:
    """A :data:`Note` for where there is no snapshot: the messages themselves may tell."""
    return {}


def _request(body: bytes) -> bodies.Request | None:
    try:
        return bodies.request(body)
    except ValueError:
        return None


def _written(message: Mapping[str, Any]) -> set[str]:
    """The fields that a save writes."""
    target = message["args"]["objinst"]
    data = target.get(primitives.DATA) or {}
    names = set(primitives.changed(target))
    names |= {name for name, value in data.items() if primitives.clean(value) is not value}
    return names | _TOGETHER if names & _TOGETHER else names


def _without(request: bodies.Request, fields: Iterable[str]) -> bodies.Request:
    """A save that leaves *fields* alone."""
    message = request.message
    if not _written(message) & set(fields):
        return request
    message = copy.deepcopy(message)
    target = message["args"]["objinst"]
    target[primitives.CHANGES] = sorted(primitives.changed(target).difference(fields))
    data = target[primitives.DATA]
    for name in data.keys() & set(fields):
        data[name] = primitives.clean(data[name])
    return dataclasses.replace(request, message=message)


def _arguments(message: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a save by name; none when it has others than that of an instance."""
    call = calls.parse(message)
    if call is None or call.name != "Instance":
        return {}
    return call.bound(*_PARAMETERS) or {}


def _expected(message: Mapping[str, Any]) -> dict[str, set[Any]]:
    """The states that a save is ready to find, by condition."""
    found: dict[str, set[Any]] = {}
    for name, value in _arguments(message).items():
        if name in _STATES and value is not None:
            states = value if isinstance(value, (list, tuple, set)) else [value]
            found[name] = set(states)
    return found


def _conditioned(message: Mapping[str, Any], expected: Mapping[str, set[Any]]) -> dict[str, Any]:
    """A save with the conditions of *expected*, and those of fields that it writes alone."""
    arguments = _arguments(message)
    if not expected:
        return dict(message)
    names = _written(message)
    for condition, states in expected.items():
        arguments.pop(condition)
        if _STATES[condition] in names:
            arguments[condition] = sorted(states | {None}, key=str)
    inner = dict(message["args"]) | {"args": [], "kwargs": arguments}
    return dict(message) | {"args": inner}
