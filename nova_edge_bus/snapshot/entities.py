# SPDX-License-Identifier: Apache-2.0
"""Known objects: what the centre last said of each, under what we have written since."""

from __future__ import annotations

import bisect
import dataclasses
import json
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from nova_edge_bus.snapshot import primitives

KEY_FIELDS = {
    "Instance": ("uuid",),
    "Migration": ("id",),
    "BlockDeviceMapping": ("id",),
    "ComputeNode": ("id",),
    "Service": ("id",),
    "PciDevice": ("compute_node_id", "address"),
    "VirtualInterface": ("id",),
    "ShareMapping": ("id",),
}
"""The kinds of objects that are kept, each with the fields that tell its objects apart."""

Identity = tuple[str, str]


def key_of(kind: str, data: Mapping[str, Any]) -> str | None:
    """Return the key of an object among its kind, None when it has none yet."""
    values = [data.get(field) for field in KEY_FIELDS[kind]]
    return None if None in values else ":".join(map(str, values))


@dataclasses.dataclass(slots=True, eq=False)
class Write:
    """What one of our own unsettled writes does to one object.

    One is told from another by identity: there may be hundreds to look through.
    ``inner`` holds changes within the object in a field, by that field; ``answers_for`` is that
    field when the reply to the write tells of the object within. ``data`` is what the writer
    held of the object, for an object that is not known. ``confirmed`` has the updates in the
    centre's reply when that came before the replies to older writes, whose turn it is first.
    """

    seq: int
    kind: str
    key: str
    changes: dict[str, Any]
    inner: dict[str, dict[str, Any]]
    destroys: bool = False
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    answers_for: str = ""
    confirmed: Mapping[str, Any] | None = None

    @property
    def identity(self) -> Identity:
        """The object it is about."""
        return self.kind, self.key

    def apply(self, fields: dict[str, Any]) -> None:
        """Do to *fields* what the centre will do to the row."""
        fields.update(self.changes)
        for name, changes in self.inner.items():
            within = fields.get(name)
            if primitives.is_object(within):
                data = {**within[primitives.DATA], **changes}
                fields[name] = {**within, primitives.DATA: data}
            else:
                fields.pop(name, None)
        if self.destroys:
            fields["deleted"] = True

    def to_json(self) -> list[Any]:
        """Return a form whose items are the constructor's, after the seq."""
        return [
            self.kind,
            self.key,
            self.changes,
            self.inner,
            self.destroys,
            self.data,
            self.answers_for,
        ]


def _seq(write: Write) -> int:
    return write.seq


class Entity:
    """One object of the centre's database.

    ``central`` has every field ever learned and not known to be outdated; ``base`` names those
    that every reply has. ``view`` is central under our own unsettled writes. ``size`` is about
    what central takes as JSON, 0 while nobody has measured it, and ``counted`` what of it has
    been added up. ``tick`` is when central changed last, and ``changed_at`` says so of those
    fields that did since the process began.
    """

    __slots__ = (
        "_view",
        "base",
        "central",
        "changed_at",
        "counted",
        "key",
        "kind",
        "size",
        "tick",
        "version",
        "writes",
    )

    def __init__(self, kind: str, key: str, version: str, base: frozenset[str]) -> None:
        self.kind = kind
        self.key = key
        self.version = version
        self.base = base
        self.central: dict[str, Any] = {}
        self.changed_at: dict[str, int] = {}
        self.writes: list[Write] = []
        self.tick = 0
        self.size = 0
        self.counted = 0
        self._view: dict[str, Any] | None = None

    @property
    def view(self) -> Mapping[str, Any]:
        """The fields as the centre would have them with our writes applied."""
        if not self.writes:
            return self.central
        if self._view is None:
            self._view = dict(self.central)
            for write in self.writes:
                write.apply(self._view)
        return self._view

    def view_before(self, seq: int) -> Mapping[str, Any]:
        """The fields as the centre would have them with our writes before *seq* applied."""
        if not self.writes or self.writes[-1].seq < seq:
            return self.view
        fields = dict(self.central)
        for write in self.writes:
            if write.seq < seq:
                write.apply(fields)
        return fields

    @property
    def destroyed(self) -> bool:
        """Whether an unsettled write of ours destroys it."""
        return any(write.destroys for write in self.writes)

    def changed(self) -> None:
        """Take note that central or the writes have changed."""
        self._view = None

    def laid(self, write: Write) -> None:
        """Take note of a new write."""
        if self._view is not None and self.writes[-1] is write:
            write.apply(self._view)
        else:
            self.changed()

    def build(self, attributes: frozenset[str]) -> dict[str, Any] | None:
        """Return a clean primitive with exactly the usual fields and *attributes*.

        :returns: None when a field is not known
        """
        view = self.view
        fields = self.base | attributes if attributes else self.base
        if not fields <= view.keys():
            return None
        data = {name: value for name, value in view.items() if name in fields}
        return primitives.make(self.kind, self.version, data)

    def update_central(self, data: Mapping[str, Any], tick: int) -> bool:
        """Take over newer fields from the centre; whether anything is different now."""
        central = self.central
        different = {
            name: value
            for name, value in data.items()
            if name not in central or central[name] != value
        }
        # Not every kind of object says of itself that it is not deleted.
        central.setdefault("deleted", False)
        if not different:
            return False
        different = {name: primitives.clean(value) for name, value in different.items()}
        if all(name in central and central[name] == each for name, each in different.items()):
            return False
        if self.size:
            # Most replies change few fields, and measuring all of them costs more than the rest.
            outdated = {name: central[name] for name in different.keys() & central.keys()}
            self.size += _json_size(different) - _json_size(outdated)
        central.update(different)
        self.tick = tick
        self.changed_at.update(dict.fromkeys(different, tick))
        self.changed()
        return True

    def settled(self, fields: Iterable[str], tick: int) -> None:
        """Take note that a write of ours, now applied, has said what is in these fields."""
        self.tick = tick
        self.changed_at.update(dict.fromkeys(fields, tick))

    def unchanged_since(self, tick: int, data: Mapping[str, Any]) -> dict[str, Any]:
        """Of what the centre said after *tick*, the fields of which nothing newer is known."""
        return {
            name: value for name, value in data.items() if self.changed_at.get(name, 0) <= tick
        }

    def drop_field(self, field: str) -> bool:
        """Forget a field that may be outdated; whether it was known."""
        known = self.central.pop(field, None) is not None or field in self.view
        self.size = 0
        self.changed()
        return known

    def to_json(self) -> list[Any]:
        """Return a form to keep."""
        return [self.version, sorted(self.base), self.tick, self.central]

    def measure(self) -> int:
        """Bytes that the fields take as JSON."""
        if not self.size:
            self.size = _json_size(self.central) + len(self.key)
        return self.size


def _json_size(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":")))


class Entities:
    """The known objects of all kinds, and our writes to objects that are not known."""

    def __init__(self) -> None:
        self._by_kind: dict[str, dict[str, Entity]] = {kind: {} for kind in KEY_FIELDS}
        self._strays: dict[Identity, list[Write]] = {}
        self.dirty: set[Identity] = set()
        self.bytes = 0
        self.comings_and_goings = 0
        """How often an object came to be known, or was forgotten."""

    def kinds(self) -> Iterator[str]:
        """Yield the kinds of objects."""
        yield from self._by_kind

    def get(self, kind: str, key: str) -> Entity | None:
        """Return a known object."""
        return self._by_kind[kind].get(key)

    def of(self, kind: str) -> Iterator[Entity]:
        """Yield the known objects of a kind."""
        yield from self._by_kind[kind].values()

    def find(self, kind: str, field: str, value: Any) -> Entity | None:
        """Return the known object with this value in a field that identifies."""
        if KEY_FIELDS[kind] == (field,):
            return self.get(kind, str(value))
        return next((each for each in self.of(kind) if each.central.get(field) == value), None)

    def add(self, entity: Entity) -> None:
        """Take up a new object, with the writes of ours that it was not yet known for."""
        self._by_kind[entity.kind][entity.key] = entity
        self.comings_and_goings += 1
        entity.writes = self._strays.pop((entity.kind, entity.key), [])
        entity.changed()

    def touch(self, entity: Entity) -> None:
        """Take note that an object's central fields have changed."""
        self.bytes += entity.measure() - entity.counted
        entity.counted = entity.size
        self.dirty.add((entity.kind, entity.key))

    def remove(self, entity: Entity, *, keep_writes: bool) -> None:
        """Know an object no more."""
        del self._by_kind[entity.kind][entity.key]
        self.comings_and_goings += 1
        self.bytes -= entity.counted
        self.dirty.add((entity.kind, entity.key))
        if keep_writes and entity.writes:
            self._strays[(entity.kind, entity.key)] = entity.writes

    def write(self, write: Write) -> Entity | None:
        """Lay a write over its object, which is returned when it is known."""
        entity = self.get(write.kind, write.key)
        if entity is None:
            bisect.insort(self._strays.setdefault(write.identity, []), write, key=_seq)
            return None
        write.data = {}
        bisect.insort(entity.writes, write, key=_seq)
        entity.laid(write)
        return entity

    def unwrite(self, write: Write) -> Entity | None:
        """Take a write away again; its object is returned when it is known."""
        entity = self.get(write.kind, write.key)
        writes = self.writes_to(write.identity)
        if write in writes:
            writes.remove(write)
        if entity is not None:
            entity.changed()
        elif not writes:
            self._strays.pop(write.identity, None)
        return entity

    def writes_to(self, identity: Identity) -> list[Write]:
        """Our writes to an object, known or not, in their order."""
        entity = self.get(*identity)
        return self._strays.get(identity, []) if entity is None else entity.writes

    def strays(self, kind: str) -> Iterator[dict[str, Any]]:
        """Yield, for each unknown object with writes of ours, what is known of its fields."""
        for (each, _), writes in self._strays.items():
            if each == kind:
                fields: dict[str, Any] = {}
                for write in writes:
                    fields.update(write.data)
                    write.apply(fields)
                yield fields
