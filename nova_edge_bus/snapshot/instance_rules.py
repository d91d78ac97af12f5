# SPDX-License-Identifier: Apache-2.0
"""What nova's queries for instances and migrations ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from nova_edge_bus.snapshot import calls
from nova_edge_bus.snapshot.conditions import Condition
from nova_edge_bus.snapshot.conditions import Conditions
from nova_edge_bus.snapshot.conditions import Either
from nova_edge_bus.snapshot.conditions import among
from nova_edge_bus.snapshot.conditions import not_among
from nova_edge_bus.snapshot.questions import LIST
from nova_edge_bus.snapshot.questions import ONE
from nova_edge_bus.snapshot.questions import ROWS
from nova_edge_bus.snapshot.questions import UUIDS
from nova_edge_bus.snapshot.questions import Arguments
from nova_edge_bus.snapshot.questions import Question
from nova_edge_bus.snapshot.questions import Rule
from nova_edge_bus.snapshot.questions import live

_FLAVORS = frozenset({"flavor", "old_flavor", "new_flavor"})


def _attributes(names: Any) -> frozenset[str]:
    asked = frozenset(names or ())
    return asked | _FLAVORS if asked & _FLAVORS else asked


def _instances(conditions: Conditions, asked: Arguments, result: str = LIST) -> Question:
    attributes = _attributes(asked.get("expected_attrs"))
    return Question("Instance", conditions, attributes, result, "InstanceList", result != ONE)


def instance_by(field: str, argument: str) -> Rule:
    """One instance by a field that identifies."""

    def rule(asked: Arguments, scope: calls.Scope) -> Question:
        conditions = frozenset((among(field, asked[argument]), *live(scope)))
        names = asked.get("expected_attrs")
        return Question(
            "Instance", conditions, _attributes(["info_cache"] if names is None else names)
        )

    return rule


def by_host(asked: Arguments, scope: calls.Scope) -> Question:
    """A host's instances."""
    return _instances(frozenset((among("host", asked["host"]), *live(scope))), asked)


def by_node(asked: Arguments, scope: calls.Scope) -> Question:
    """A node's instances."""
    where = (among("host", asked["host"]), among("node", asked["node"]), *live(scope))
    return _instances(frozenset(where), asked)


def uuids_by_host(asked: Arguments, scope: calls.Scope) -> Question:
    """The uuids of a host's instances; deleted ones are never among them."""
    where = (among("host", asked["host"]), among("deleted", False))
    return _instances(frozenset(where), {}, UUIDS)


def uuids_by_node(asked: Arguments, scope: calls.Scope) -> Question:
    """The uuids of a node's instances; deleted ones are never among them."""
    where = (
        among("host", asked["host"]),
        among("node", asked["node"]),
        among("deleted", False),
    )
    # Nova passes on what the database returns: rows of one column.
    return _instances(frozenset(where), {}, ROWS)


_SOFT_DELETED = "soft-delete"
_INSTANCE_FILTERS = frozenset({"host", "uuid", "vm_state", "task_state"})


def instances_by_filters(asked: Arguments, scope: calls.Scope) -> Question | None:
    """Instances by filters on columns."""
    filters = asked.get("filters")
    usual_order = asked.get("sort_key", "created_at") == "created_at"
    plain = not any(asked.get(each) for each in ("limit", "marker", "sort_keys", "sort_dirs"))
    if not isinstance(filters, Mapping) or not (usual_order and plain and scope.is_admin):
        return None
    rest = dict(filters)
    conditions: list[Condition] = [among("hidden", False, None), *_deleted_filter(rest)]
    if "cleaned" in rest:
        conditions.append(among("cleaned", bool(rest.pop("cleaned"))))
    if rest.keys() - _INSTANCE_FILTERS:
        return None
    for name, value in rest.items():
        if isinstance(value, list):
            # SQL's IN never matches a null.
            conditions.append(among(name, *(each for each in value if each is not None)))
        else:
            conditions.append(among(name, value))
    question = _instances(frozenset(conditions), asked)
    newest_first = asked.get("sort_dir", "desc") == "desc"
    return dataclasses.replace(question, newest_first=newest_first)


def _deleted_filter(filters: dict[str, Any]) -> list[Condition]:
    """Take the two filters on deletion; without them nova returns deleted rows as well."""
    if "deleted" not in filters:
        return []
    if filters.pop("deleted"):
        gone = among("deleted", True)
        if filters.pop("soft_deleted", True):
            soft = among("vm_state", _SOFT_DELETED)
            return [Either(frozenset((frozenset((gone,)), frozenset((soft,)))))]
        return [gone]
    live: list[Condition] = [among("deleted", False)]
    if not filters.pop("soft_deleted", False):
        live.append(not_among("vm_state", _SOFT_DELETED))
    return live


_ENDED = ("confirmed", "reverted", "failed", "completed", "cancelled", "done", None)
"""States of a migration that is over; SQL's NOT IN never matches a null."""


def _touching(host: Any, node: Any) -> Either:
    source = frozenset((among("source_compute", host), among("source_node", node)))
    target = frozenset((among("dest_compute", host), among("dest_node", node)))
    return Either(frozenset((source, target)))


def _migrations(*conditions: Condition) -> Question:
    return Question(
        "Migration",
        frozenset(conditions),
        result=LIST,
        list_name="MigrationList",
        none_found=True,
    )


def migrations_in_progress(*also_ended: str) -> Rule:
    """Migrations from or to a node that are not over."""

    def rule(asked: Arguments, scope: calls.Scope) -> Question:
        touching = _touching(asked["host"], asked["node"])
        return _migrations(touching, not_among("status", *_ENDED, *also_ended), *live(scope))

    return rule


_UNDER_WAY = ("queued", "preparing", "running", "post-migrating")


def migrations_of_instance(asked: Arguments, scope: calls.Scope) -> Question:
    """Migrations of an instance that are under way."""
    kinds = asked.get("migration_type")
    where = [among("instance_uuid", asked["instance_uuid"]), among("status", *_UNDER_WAY)]
    if kinds:
        where.append(among("migration_type", kinds))
    return _migrations(*where, *live(scope))


_MIGRATION_FILTERS = frozenset(
    {"status", "host", "source_compute", "migration_type", "instance_uuid", "hidden", "uuid"}
)


def migrations_by_filters(asked: Arguments, scope: calls.Scope) -> Question | None:
    """Migrations by filters on columns."""
    filters = asked.get("filters")
    if not isinstance(filters, Mapping) or filters.keys() - _MIGRATION_FILTERS:
        return None
    if any(asked.get(each) for each in ("sort_keys", "sort_dirs", "limit", "marker")):
        return None
    rest = dict(filters)
    conditions: list[Condition] = list(live(scope))
    if "host" in rest:
        host = rest.pop("host")
        rest.pop("source_compute", None)
        ends = (among("source_compute", host), among("dest_compute", host))
        conditions.append(Either(frozenset(frozenset((each,)) for each in ends)))
    for name, value in rest.items():
        values = value if isinstance(value, list) else [value]
        if isinstance(value, list) and (None in value or name not in ("status", "uuid")):
            return None
        conditions.append(among(name, *values))
    return _migrations(*conditions)
