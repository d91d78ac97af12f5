# SPDX-License-Identifier: Apache-2.0
"""Keeping the snapshot within its bound, without making anything partial."""

from __future__ import annotations

from nova_edge_bus.snapshot import conditions
from nova_edge_bus.snapshot.coverage import Cover
from nova_edge_bus.snapshot.entities import Entity
from nova_edge_bus.snapshot.knowledge import Knowledge

_LOW_WATER = 0.9
"""Eviction goes on to this part of the limit, so that it is not needed at every step."""


def shrink(known: Knowledge, host: str, limit: int) -> None:
    """Forget what was used least recently until all fits into *limit* bytes.

    The instances of *host*, its compute nodes and its service stay, as does the knowledge that
    these are all of them.
    """
    if _size(known) <= limit:
        return
    target = int(limit * _LOW_WATER)
    _drop_uncovered(known, host, target)
    covers = [each for each in known.coverage.all() if not _is_vital_cover(each, host)]
    for cover in sorted(covers, key=_tick):
        if _size(known) <= target:
            return
        known.coverage.remove(cover.kind, cover.conditions)
        _drop_members(known, host, cover)


def _size(known: Knowledge) -> int:
    return known.entities.bytes + known.coverage.bytes


def _tick(item: Cover | Entity) -> int:
    return item.tick


def _drop_uncovered(known: Knowledge, host: str, target: int) -> None:
    entities = [each for kind in known.entities.kinds() for each in known.entities.of(kind)]
    for entity in sorted(entities, key=_tick):
        if _size(known) <= target:
            return
        if _is_droppable(known, host, entity):
            known.entities.remove(entity, keep_writes=True)


def _drop_members(known: Knowledge, host: str, cover: Cover) -> None:
    for entity in list(known.entities.of(cover.kind)):
        if conditions.evaluate(cover.conditions, entity.view):
            if _is_droppable(known, host, entity):
                known.entities.remove(entity, keep_writes=True)


def _is_droppable(known: Knowledge, host: str, entity: Entity) -> bool:
    if entity.writes or host in (entity.central.get("host"), entity.view.get("host")):
        return False
    return not any(
        conditions.evaluate(cover.conditions, fields) is not False
        for cover in known.coverage.of(entity.kind)
        for fields in (entity.central, entity.view)
    )


def _is_vital_cover(cover: Cover, host: str) -> bool:
    return conditions.among("host", host) in cover.conditions
