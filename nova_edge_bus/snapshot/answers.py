# SPDX-License-Identifier: Apache-2.0
"""Answering reads from what is known: the whole answer or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nova_edge_bus.snapshot import calls
from nova_edge_bus.snapshot import primitives
from nova_edge_bus.snapshot import questions
from nova_edge_bus.snapshot import rules
from nova_edge_bus.snapshot.entities import KEY_FIELDS
from nova_edge_bus.snapshot.entities import Entity
from nova_edge_bus.snapshot.entities import key_of
from nova_edge_bus.snapshot.knowledge import Knowledge
from nova_edge_bus.snapshot.outcomes import Answer


def answer(known: Knowledge, call: calls.Call, scope: calls.Scope) -> Answer | None:
    """Return the answer to a read, None when it is not certain."""
    if call.target is not None:
        return _refreshed(known, call) if call.method == "refresh" else None
    question = rules.question(call, scope)
    if question is None or not known.acceptable_to(call.manifest):
        return None
    if isinstance(question, questions.FactQuestion):
        if question.key not in known.facts:
            return None
        return Answer(known.facts[question.key])
    if isinstance(question, questions.FieldQuestion):
        return _field(known, question)
    return _objects(known, question)


def _field(known: Knowledge, question: questions.FieldQuestion) -> Answer | None:
    entity = known.entities.get("Instance", question.instance)
    if entity is None or entity.destroyed:
        return None
    value = entity.view.get(question.field)
    if value is None and question.null_found and question.field in entity.view:
        return Answer(None)
    # Where the field is null, the centre raises an exception of its own.
    return Answer(value) if primitives.is_object(value) else None


def _objects(known: Knowledge, question: questions.Question) -> Answer | None:
    members = known.members(question.kind, question.conditions)
    if members is None or any(each.destroyed for each in members):
        return None
    if not members and not question.none_found:
        return None
    members.sort(key=_newness if question.newest_first else _age, reverse=question.newest_first)
    if question.result == questions.UUIDS:
        return Answer([each.key for each in members])
    if question.result == questions.ROWS:
        return Answer([[each.key] for each in members])
    built = [each.build(question.attributes) for each in members]
    if None in built or (question.result == questions.ONE and len(built) > 1):
        return None
    if question.result == questions.ONE:
        return Answer(built[0] if built else None)
    version = known.versions.get(question.list_name)
    if version is None:
        return None
    return Answer(primitives.make(question.list_name, version, {"objects": built}))


def _age(entity: Entity) -> int:
    identity = entity.central.get("id")
    return identity if isinstance(identity, int) else 0


def _newness(entity: Entity) -> tuple[str, int]:
    return str(entity.central.get("created_at") or ""), _age(entity)


def _refreshed(known: Knowledge, call: calls.Call) -> Answer | None:
    """The reply to refresh(): newer values of the fields that the caller has."""
    if call.name == "InstanceInfoCache":
        entity = known.entities.get("Instance", str(call.data.get("instance_uuid")))
        cache = entity.view.get("info_cache") if entity and not entity.destroyed else None
        return _updates(call, cache[primitives.DATA]) if primitives.is_object(cache) else None
    key = key_of(call.name, call.data) if call.name == "Instance" else None
    entity = known.entities.get(call.name, key) if key and call.name in KEY_FIELDS else None
    if entity is None or entity.destroyed or not entity.base <= entity.view.keys():
        return None
    target = call.target or {}
    if entity.version != target.get(primitives.VERSION):
        return None
    return _updates(call, entity.view)


def _updates(call: calls.Call, current: Mapping[str, Any]) -> Answer | None:
    held = primitives.clean(dict(call.data))
    if not held.keys() <= current.keys():
        return None
    updates: dict[str, Any] = {
        name: current[name] for name, value in held.items() if current[name] != value
    }
    updates["obj_what_changed"] = []
    return Answer([updates, None])
