# SPDX-License-Identifier: Apache-2.0
"""Knowledge as rows of a key and JSON, written only where something changed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

from nova_edge_bus.snapshot import conditions
from nova_edge_bus.snapshot.conditions import Conditions
from nova_edge_bus.snapshot.entities import Entity
from nova_edge_bus.snapshot.entities import Identity
from nova_edge_bus.snapshot.entities import Write
from nova_edge_bus.snapshot.knowledge import Knowledge

Row = tuple[str, bytes]
Change = tuple[str, bytes | None]

_META = "meta"


def dump(known: Knowledge) -> Iterator[Row]:
    """Yield every row."""
    yield _META, _meta(known)
    for kind in known.entities.kinds():
        for entity in known.entities.of(kind):
            yield _entity_key((kind, entity.key)), _entity(entity)
    for cover in known.coverage.all():
        key = (cover.kind, cover.conditions)
        yield _cover_key(*key), _encode([*_cover_body(*key), cover.tick])
    for name, value in known.facts.items():
        yield _fact_key(name), _encode(value)
    for seq, writes in known.writes.items():
        yield _write_key(seq), _encode([each.to_json() for each in writes])


def changes(known: Knowledge) -> list[Change]:
    """Return the rows that differ from when this was last called; None deletes a row."""
    found: list[Change] = []
    if known.dirty_meta:
        found.append((_META, _meta(known)))
    for kind, key in known.entities.dirty:
        entity = known.entities.get(kind, key)
        found.append((_entity_key((kind, key)), _entity(entity) if entity else None))
    for kind, wanted in known.coverage.dirty:
        cover = known.coverage.get(kind, wanted)
        body = _encode([*_cover_body(kind, wanted), cover.tick]) if cover else None
        found.append((_cover_key(kind, wanted), body))
    for name in known.dirty_facts:
        body = _encode(known.facts[name]) if name in known.facts else None
        found.append((_fact_key(name), body))
    for seq in known.dirty_writes:
        writes = known.writes.get(seq)
        if writes:
            found.append((_write_key(seq), _encode([each.to_json() for each in writes])))
            known.kept_writes.add(seq)
        elif seq in known.kept_writes:
            # Most writes are settled before anybody has kept them.
            found.append((_write_key(seq), None))
            known.kept_writes.discard(seq)
    forget_changes(known)
    return found


def forget_changes(known: Knowledge) -> None:
    """Take note that all rows are kept as they are now."""
    known.dirty_meta = False
    for each in (
        known.entities.dirty,
        known.coverage.dirty,
        known.dirty_facts,
        known.dirty_writes,
    ):
        each.clear()


def load(rows: Iterable[Row]) -> Knowledge:
    """Return the knowledge that the rows hold, in whatever order.

    :raises ValueError: when a row is not one of ours
    """
    known = Knowledge()
    decoded = {key: json.loads(body) for key, body in rows}
    meta = decoded.pop(_META, None)
    if meta is not None:
        known.versions = meta["versions"]
        known.bases = {kind: frozenset(base) for kind, base in meta["bases"].items()}
    writes: list[tuple[int, Any]] = []
    for key, value in decoded.items():
        sort, _, rest = key.partition("/")
        if sort == "entity":
            _load_entity(known, rest, value)
        elif sort == "cover":
            known.coverage.put(value[0], conditions.from_json(value[1]), value[2])
            known.tick = max(known.tick, value[2])
        elif sort == "fact":
            known.facts[rest] = value
        elif sort == "write":
            writes.append((int(rest), value))
        else:
            raise ValueError(f"row {key!r} is not part of a snapshot")
    for seq, items in sorted(writes, key=_seq):
        known.writes[seq] = [Write(seq, *item) for item in items]
        for write in known.writes[seq]:
            known.entities.write(write)
    known.kept_writes.update(known.writes)
    forget_changes(known)
    return known


def _seq(item: tuple[int, Any]) -> int:
    return item[0]


def _load_entity(known: Knowledge, rest: str, value: Any) -> None:
    kind, _, key = rest.partition("/")
    version, base, tick, central = value
    usual = frozenset(base)
    shared = known.bases.get(kind)
    entity = Entity(kind, key, version, shared if shared == usual else usual)
    entity.central = central
    entity.tick = tick
    known.entities.add(entity)
    known.entities.touch(entity)
    known.tick = max(known.tick, tick)


def _meta(known: Knowledge) -> bytes:
    bases = {kind: sorted(base) for kind, base in known.bases.items()}
    return _encode({"versions": known.versions, "bases": bases})


def _entity(entity: Entity) -> bytes:
    return _encode(entity.to_json())


def _cover_body(kind: str, wanted: Conditions) -> list[Any]:
    return [kind, conditions.to_json(wanted)]


def _entity_key(identity: Identity) -> str:
    return f"entity/{identity[0]}/{identity[1]}"


def _cover_key(kind: str, wanted: Conditions) -> str:
    return "cover/" + _encode(_cover_body(kind, wanted)).decode()


def _fact_key(name: str) -> str:
    return f"fact/{name}"


def _write_key(seq: int) -> str:
    return f"write/{seq}"


def _encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
