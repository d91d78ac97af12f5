# SPDX-License-Identifier: Apache-2.0
"""All that is known of the centre, and the few ways in which it may change.

One rule keeps answers complete: whatever happens to an object that is not known removes every
cover that the object may belong to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from nova_edge_bus.snapshot import conditions
from nova_edge_bus.snapshot import coverage
from nova_edge_bus.snapshot import effects
from nova_edge_bus.snapshot import primitives
from nova_edge_bus.snapshot.conditions import Conditions
from nova_edge_bus.snapshot.entities import KEY_FIELDS
from nova_edge_bus.snapshot.entities import Entities
from nova_edge_bus.snapshot.entities import Entity
from nova_edge_bus.snapshot.entities import Identity
from nova_edge_bus.snapshot.entities import Write

_LASTING = {"PciDevice": frozenset({"id", "uuid", "compute_node_id", "address"})}
_LASTING_ELSEWHERE = frozenset({"id", "uuid", "instance_uuid"})
_NO_SUCH_ROW = {
    "Instance": "InstanceNotFound",
    "Migration": "MigrationNotFound",
    "BlockDeviceMapping": "BDMNotFound",
    "ComputeNode": "ComputeHostNotFound",
    "Service": "ServiceNotFound",
}
"""The exceptions that prove that a row is deleted."""
_MOST_PARTED = 4096


class Knowledge:
    """Objects, covers, facts, and the versions and usual fields of objects.

    ``tick`` counts what has happened; ``changed_at`` has the last tick of each kind. ``parted``
    has the hosts on which instances were when a refusal made them unknown, by their uuids: what is
    still written to them was meant for an instance there.
    """

    def __init__(self) -> None:
        self.entities = Entities()
        self.coverage = coverage.Coverage()
        self.facts: dict[str, Any] = {}
        self.versions: dict[str, str] = {}
        self.bases: dict[str, frozenset[str]] = {}
        self.writes: dict[int, list[Write]] = {}
        self.tick = 0
        self.changed_at: dict[str, int] = {}
        self.dirty_facts: set[str] = set()
        self.dirty_writes: set[int] = set()
        self.kept_writes: set[int] = set()
        self.dirty_meta = False
        self.downgraded = False
        self.parted: dict[str, Any] = {}
        self._outdated = 0

    @property
    def revision(self) -> int:
        """Rises whenever a question may have become unanswerable, or a new one may be asked."""
        return self._outdated + self.coverage.lost + self.entities.comings_and_goings

    def step(self) -> int:
        """Count one more event."""
        self.tick += 1
        return self.tick

    def note_versions(self, value: Any) -> None:
        """Remember the versions of all objects within *value*.

        One that is lower than before tells that the centre was downgraded, or we were.
        """
        for name, version in set(primitives.versions(value)):
            known = self.versions.get(name)
            if known == version:
                continue
            if known and primitives.version_tuple(known) > primitives.version_tuple(version):
                self.downgraded = True
            self.versions[name] = version
            self.dirty_meta = True

    def acceptable_to(self, manifest: Mapping[str, str]) -> bool:
        """Whether no known object is of a higher version than the caller takes."""
        return not any(
            manifest[name] != version
            and primitives.version_tuple(version) > primitives.version_tuple(manifest[name])
            for name, version in self.versions.items()
            if name in manifest
        )

    def intern_base(self, kind: str, base: frozenset[str]) -> frozenset[str]:
        """Remember the usual fields of a kind; return one shared set."""
        known = self.bases.get(kind)
        if known == base:
            return known
        self.bases[kind] = base
        self.dirty_meta = True
        return base

    def absorb(
        self, kind: str, key: str, version: str, base: frozenset[str], data: Mapping[str, Any]
    ) -> Entity:
        """Take over what the centre says of an object."""
        entity = self.entities.get(kind, key)
        if entity is None:
            entity = Entity(kind, key, version, base)
            self.entities.add(entity)
        elif (entity.version, entity.base) != (version, base):
            entity.version, entity.base = version, base
            entity.tick = self.tick
        entity.update_central(data, self.tick)
        if entity.tick == self.tick:
            self._touched(entity)
        return entity

    def _touched(self, entity: Entity) -> None:
        self.changed_at[entity.kind] = self.tick
        self.entities.touch(entity)

    def update(self, entity: Entity, data: Mapping[str, Any]) -> None:
        """Take over some newer fields of a known object."""
        if entity.update_central(data, self.tick):
            self._touched(entity)

    def drop_field(self, instance: str, field: str) -> None:
        """Forget a field of one instance, or of all when *instance* is empty."""
        one = self.entities.get("Instance", instance) if instance else None
        chosen = [one] if one else [] if instance else list(self.entities.of("Instance"))
        for entity in chosen:
            if entity.drop_field(field):
                self._outdated += 1
                self._touched(entity)

    def drop_facts(self) -> None:
        """Forget every fact."""
        self._outdated += 1
        self.dirty_facts.update(self.facts)
        self.facts.clear()

    def set_fact(self, key: str, value: Any) -> None:
        """Keep the reply to a read that stands for itself."""
        if key not in self.facts or self.facts[key] != value:
            self.facts[key] = value
            self.dirty_facts.add(key)

    def write(self, write: Write) -> None:
        """Lay one of our own writes over its object."""
        self.writes.setdefault(write.seq, []).append(write)
        if "host" in write.changes:
            self._outdated += 1
        self.dirty_writes.add(write.seq)
        self.changed_at[write.kind] = self.tick
        if self.entities.write(write) is None:
            fields = dict(write.data)
            write.apply(fields)
            self.coverage.void(write.kind, fields)
            # The writer's other fields may be old: what it changes decides by itself.
            changed: dict[str, Any] = {}
            write.apply(changed)
            certain = {**_lasting(write.kind, write.data), **changed}
            self.coverage.void(write.kind, certain, touching=changed)

    def retract(self, seq: int) -> None:
        """A write of ours was not journaled after all, or another has taken it up."""
        self.dirty_writes.add(seq)
        for write in self.writes.pop(seq, []):
            self.entities.unwrite(write)
            self.changed_at[write.kind] = self.tick
            self._settle_confirmed(write.identity)

    def settle(self, seq: int, reply: Any | None, failure: Mapping[str, Any] | None) -> None:
        """A write of ours is applied, or refused.

        Replies may come in another order than the writes were applied in. One that comes before
        that to an older write of the same object waits for it, and our write stays laid over.
        """
        for number, write in enumerate(list(self.writes.get(seq, ()))):
            updates = _updates_in(reply) if number == 0 else {}
            ahead = self.entities.writes_to(write.identity)
            if failure is None and ahead and ahead[0].seq < seq:
                write.confirmed = updates
                continue
            self._settle(write, updates, failure)
            self._settle_confirmed(write.identity)

    def _settle(
        self, write: Write, updates: Mapping[str, Any], failure: Mapping[str, Any] | None
    ) -> None:
        self._take_out(write)
        entity = self.entities.unwrite(write)
        if entity is None:
            self.changed_at[write.kind] = self.tick
        elif failure is not None:
            self._refused(entity, str(failure.get("class", "")))
        else:
            self._applied(entity, write, updates)

    def _take_out(self, write: Write) -> None:
        writes = self.writes[write.seq]
        writes.remove(write)
        if not writes:
            del self.writes[write.seq]
        self.dirty_writes.add(write.seq)

    def _settle_confirmed(self, identity: Identity) -> None:
        """Settle those whose turn it is, now that an older one is out of the way."""
        while writes := self.entities.writes_to(identity):
            updates = writes[0].confirmed
            if updates is None:
                break
            self._settle(writes[0], updates, None)

    def part(self, entity: Entity) -> None:
        """Remember where an instance was that is about to be forgotten, of the latest few."""
        if entity.kind != "Instance" or "host" not in entity.central:
            return
        self.parted.pop(entity.key, None)
        self.parted[entity.key] = entity.central["host"]
        if len(self.parted) > _MOST_PARTED:
            del self.parted[next(iter(self.parted))]

    def _refused(self, entity: Entity, failure: str) -> None:
        self.part(entity)
        if failure == _NO_SUCH_ROW.get(entity.kind):
            self.gone(entity)
        else:
            self.forget(entity)

    def _applied(self, entity: Entity, write: Write, updates: Mapping[str, Any]) -> None:
        if write.destroys:
            self.gone(entity)
            return
        fields = dict(entity.central)
        write.apply(fields)
        for name in entity.central.keys() - fields.keys():
            entity.drop_field(name)
        if write.answers_for:
            inner = {write.answers_for: dict(updates)}
            dataclasses.replace(write, changes={}, inner=inner).apply(fields)
            news: Mapping[str, Any] = inner
        else:
            news = effects.news_in(updates, write)
            fields.update(news)
        entity.update_central(fields, self.tick)
        entity.settled((*write.changes, *write.inner, *news), self.tick)
        self._touched(entity)

    def forget(self, entity: Entity, *, but_within: Conditions | None = None) -> None:
        """Rely no more on what was known of an object; it may exist, or not."""
        self.coverage.void(
            entity.kind, _lasting(entity.kind, entity.central), but_within=but_within
        )
        self.entities.remove(entity, keep_writes=True)
        self.changed_at[entity.kind] = self.tick

    def gone(self, entity: Entity) -> None:
        """The object's row is deleted; sets of live rows stay complete without it."""
        self.coverage.void(entity.kind, {**entity.view, "deleted": True})
        for write in [each for each in entity.writes if each.confirmed is not None]:
            self._take_out(write)
        self.entities.remove(entity, keep_writes=False)
        self.changed_at[entity.kind] = self.tick

    def members(self, kind: str, wanted: Conditions) -> list[Entity] | None:
        """Return every object that meets *wanted*; None unless that is certain."""
        candidates = self._candidates(kind, wanted)
        if candidates is None:
            return None
        found = []
        for entity in candidates:
            holds = conditions.evaluate(wanted, entity.view)
            if holds is None:
                return None
            if holds:
                found.append(entity)
        return found

    def possible(self, kind: str, wanted: Conditions) -> list[Entity]:
        """Return the known objects that may meet *wanted*, by their keys alone."""
        for condition in wanted:
            if isinstance(condition, conditions.Field) and condition.identifies:
                if KEY_FIELDS[kind] == (condition.name,):
                    found = (self.entities.get(kind, str(each)) for each in condition.values)
                    return [each for each in found if each is not None]
        return list(self.entities.of(kind))

    def _candidates(self, kind: str, wanted: Conditions) -> list[Entity] | None:
        """All known objects that may meet *wanted*, if no unknown one can."""
        if self.coverage.for_question(kind, wanted, self.tick):
            return self.possible(kind, wanted)
        for condition in wanted:
            if isinstance(condition, conditions.Field) and condition.identifies:
                return self._identified(kind, condition, wanted)
        return None

    def _identified(
        self, kind: str, condition: conditions.Field, wanted: Conditions
    ) -> list[Entity] | None:
        """The objects that *condition* names, each known or known not to meet *wanted*."""
        known, unknown = [], set()
        for value in condition.values:
            entity = self.entities.find(kind, condition.name, value)
            if entity is None:
                unknown.add(value)
            else:
                known.append(entity)
        if unknown:
            rest = (wanted - {condition}) | {conditions.among(condition.name, *unknown)}
            if not self.coverage.for_question(kind, rest, self.tick):
                return None
        return known


def _lasting(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that no row ever changes."""
    lasting = _LASTING.get(kind, _LASTING_ELSEWHERE)
    return {name: value for name, value in fields.items() if name in lasting}


def _updates_in(reply: Any) -> Mapping[str, Any]:
    """The fields in the reply ``[updates, result]`` to a method of an object."""
    if not isinstance(reply, list) or not reply or not isinstance(reply[0], Mapping):
        return {}
    return {name: each for name, each in reply[0].items() if name != "obj_what_changed"}
