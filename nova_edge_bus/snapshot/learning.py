# SPDX-License-Identifier: Apache-2.0
"""Taking over what the centre says: replies to reads and writes, objects inside commands."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from nova_edge_bus.snapshot import calls
from nova_edge_bus.snapshot import conditions
from nova_edge_bus.snapshot import primitives
from nova_edge_bus.snapshot import questions
from nova_edge_bus.snapshot.entities import KEY_FIELDS
from nova_edge_bus.snapshot.entities import Entity
from nova_edge_bus.snapshot.entities import key_of
from nova_edge_bus.snapshot.knowledge import Knowledge


def learn_question(
    known: Knowledge, question: questions.AnyQuestion, reply: Any, asked_at: int
) -> None:
    """Take over the reply to a read.

    :param asked_at: the tick at which the read was sent; what has changed since is newer
    """
    if isinstance(question, questions.FactQuestion):
        known.set_fact(question.key, reply)
    elif isinstance(question, questions.FieldQuestion):
        entity = known.entities.get("Instance", question.instance)
        if entity is not None and entity.tick <= asked_at and primitives.is_object(reply):
            known.update(entity, {question.field: reply})
    else:
        _learn_objects(known, question, reply, asked_at)


def _learn_objects(
    known: Knowledge, question: questions.Question, reply: Any, asked_at: int
) -> None:
    overtaken = known.changed_at.get(question.kind, 0) > asked_at
    before = {each.key for each in known.entities.of(question.kind)}
    keys = _keys_in(question, reply)
    if question.result in (questions.ONE, questions.LIST):
        for primitive in _objects_in(known, question, reply):
            key = _learn_object(known, question, primitive, asked_at)
            keys = None if key is None or keys is None else keys | {key}
    if keys is None:
        known.coverage.remove(question.kind, question.conditions)
        return
    if overtaken:
        # It makes no set complete. One that was stays so if all that differs is newer.
        if not keys <= before or _departed_before(known, question, keys, asked_at):
            known.coverage.remove(question.kind, question.conditions)
        return
    _forget_departed(known, question, keys)
    if _is_confirmed(known, question, keys):
        known.coverage.put(question.kind, question.conditions, known.tick)
    else:
        known.coverage.remove(question.kind, question.conditions)


def _keys_in(question: questions.Question, reply: Any) -> set[str] | None:
    """The uuids in a reply that has nothing else; None when it is not what the rule expects."""
    if question.result in (questions.ONE, questions.LIST):
        return set()
    listed = reply if isinstance(reply, list) else [None]
    if question.result == questions.ROWS:
        listed = [each[0] if isinstance(each, list) and each else None for each in listed]
    return (
        {str(each) for each in listed} if all(isinstance(each, str) for each in listed) else None
    )


def _objects_in(
    known: Knowledge, question: questions.Question, reply: Any
) -> Iterator[Mapping[str, Any]]:
    if not primitives.is_object(reply):
        return
    if question.result == questions.ONE:
        yield reply
        return
    name, version = reply[primitives.NAME], reply[primitives.VERSION]
    if known.versions.get(name) != version:
        known.versions[name] = version
        known.dirty_meta = True
    yield from reply[primitives.DATA].get("objects") or ()


def _learn_object(
    known: Knowledge, question: questions.Question, primitive: Mapping[str, Any], asked_at: int
) -> str | None:
    """Take one object over; return its key, None when it is not what the rule expects."""
    data = primitive.get(primitives.DATA)
    if primitive.get(primitives.NAME) != question.kind or not isinstance(data, Mapping):
        return None
    key = key_of(question.kind, data)
    if key is None:
        return None
    entity = known.entities.get(question.kind, key)
    if entity is not None and entity.tick > asked_at:
        # Overtaken, but only in what has changed meanwhile; who asked has seen the rest of it.
        if entity.version == primitive[primitives.VERSION]:
            known.update(entity, entity.unchanged_since(asked_at, data))
        return key
    base = known.intern_base(question.kind, frozenset(data) - question.attributes)
    before = entity.tick if entity else -1
    entity = known.absorb(question.kind, key, primitive[primitives.VERSION], base, data)
    if entity.tick != before:
        known.note_versions(primitive)
    return key


def _forget_departed(known: Knowledge, question: questions.Question, keys: set[str]) -> None:
    """Forget objects that should be in the reply and are not: they have changed or gone."""
    for entity in _missing_in(known, question, keys):
        known.forget(entity, but_within=question.conditions)


def _departed_before(
    known: Knowledge, question: questions.Question, keys: set[str], asked_at: int
) -> bool:
    """Whether the reply lacks an object that has not changed since it was asked for."""
    return any(each.tick <= asked_at for each in _missing_in(known, question, keys))


def _missing_in(known: Knowledge, question: questions.Question, keys: set[str]) -> list[Entity]:
    """The objects that should be in a reply with these keys, by what is known of them."""
    return [
        entity
        for entity in known.possible(question.kind, question.conditions)
        if entity.key not in keys
        and conditions.evaluate(question.conditions, entity.central) is not False
        and conditions.evaluate(question.conditions, entity.view) is not False
    ]


def _is_confirmed(known: Knowledge, question: questions.Question, keys: set[str]) -> bool:
    """Whether our reading of the query agrees with the reply, and no unknown object matters."""
    if question.result == questions.ONE and not keys and not question.none_found:
        return False
    for key in keys:
        entity = known.entities.get(question.kind, key)
        if entity is None or not conditions.evaluate(question.conditions, entity.central):
            return False
    return not any(
        conditions.evaluate(question.conditions, fields) is not False
        for fields in known.entities.strays(question.kind)
    )


def learn_action(known: Knowledge, call: calls.Call, reply: Any) -> None:
    """Take over the reply ``[updates, result]`` to a method of one object."""
    kind, target = call.name, call.target or {}
    if not isinstance(reply, list) or len(reply) != 2 or not isinstance(reply[0], Mapping):
        return
    updates = {name: each for name, each in reply[0].items() if name != "obj_what_changed"}
    whole = {**call.data, **updates}
    if kind == "InstanceInfoCache" and call.method == "refresh":
        entity = known.entities.get("Instance", str(whole.get("instance_uuid")))
        if entity is not None:
            cache = primitives.make(kind, target[primitives.VERSION], whole)
            known.update(entity, {"info_cache": cache})
        return
    key = key_of(kind, whole) if kind in KEY_FIELDS else None
    if key is None:
        return
    entity = known.entities.get(kind, key)
    if call.method in ("create", "update_or_create"):
        _adopt(known, kind, key, target[primitives.VERSION], whole, is_new=True)
    elif call.method in ("destroy", "delete"):
        if entity is not None:
            known.gone(entity)
    elif call.method == "refresh" and entity is not None:
        known.update(entity, whole)


def learn_command(known: Knowledge, message: Mapping[str, Any]) -> None:
    """Take over the objects inside the arguments of a command."""
    arguments = message.get("args")
    for value in arguments.values() if isinstance(arguments, Mapping) else ():
        for primitive in _candidates(value):
            _learn_newer(known, primitive)


def _candidates(value: Any) -> Iterator[Mapping[str, Any]]:
    if primitives.is_object(value):
        within = value[primitives.DATA].get("objects")
        yield from _candidates(within) if isinstance(within, list) else (value,)
    elif isinstance(value, list):
        for each in value:
            yield from _candidates(each)


def _learn_newer(known: Knowledge, primitive: Mapping[str, Any]) -> None:
    kind, version = primitive[primitives.NAME], primitive[primitives.VERSION]
    data = primitive[primitives.DATA]
    key = key_of(kind, data) if kind in KEY_FIELDS else None
    if key is None or known.versions.get(kind) != version:
        return
    unsaved = primitives.changed(primitive)
    foreign = {name for name, value in data.items() if not _versions_are_ours(known, value)}
    saved = {name: data[name] for name in data.keys() - unsaved - foreign}
    entity = known.entities.get(kind, key)
    if entity is None:
        _adopt(known, kind, key, version, saved)
    elif not _is_older(saved, entity) and not foreign & entity.view.keys():
        known.update(entity, saved)


def _versions_are_ours(known: Knowledge, value: Any) -> bool:
    """Other services may be newer than we are; the centre's replies are in our versions."""
    return all(known.versions.get(name) == version for name, version in primitives.versions(value))


def _is_older(data: Mapping[str, Any], entity: Entity) -> bool:
    mine, theirs = entity.central.get("updated_at"), data.get("updated_at")
    return bool(mine) and (theirs or "") < str(mine)


def _adopt(
    known: Knowledge,
    kind: str,
    key: str,
    version: str,
    data: Mapping[str, Any],
    *,
    is_new: bool = False,
) -> None:
    """Take up an object that was not known, provided that all its usual fields are there.

    Unless it is new, every set that it may belong to had missed it and is not relied on.
    """
    base = known.bases.get(kind)
    whole = base is not None and base <= data.keys() and known.versions.get(kind) == version
    if not (is_new and whole):
        known.coverage.void(kind, data)
    if base is not None and whole:
        known.absorb(kind, key, version, base, data)
