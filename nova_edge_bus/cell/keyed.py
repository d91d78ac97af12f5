# SPDX-License-Identifier: Apache-2.0
"""Metadata of an instance, changed on both sides of a cut.

A save replaces an instance's metadata and system_metadata as a whole. One that was written at the
edge therefore takes away what the centre has added since. Merged three ways, it does to the keys
what the edge did to them: what the edge has changed, added or deleted, against what it had found,
is done to what the centre has now, and where both have changed a key, the centre's value stays.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import sqlalchemy

_DATA = "nova_object.data"
FIELDS = ("metadata", "system_metadata")
"""The fields of an instance whose values are sets of keys."""
_instances = sqlalchemy.table("instances", sqlalchemy.column("uuid"))
_TABLES = {
    name: sqlalchemy.table(
        f"instance_{name}",
        sqlalchemy.column("instance_uuid"),
        sqlalchemy.column("key"),
        sqlalchemy.column("value"),
        sqlalchemy.column("deleted"),
    )
    for name in FIELDS
}


def merged(
    base: Mapping[str, Any], ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> dict[str, Any]:
    """Do to *theirs* what *ours* did to *base*; where both changed a key, theirs stays."""
    result = dict(theirs)
    for key in base.keys() | ours.keys():
        changed_here = base.get(key) != ours.get(key) or (key in base) != (key in ours)
        changed_there = base.get(key) != theirs.get(key) or (key in base) != (key in theirs)
        if not changed_here or changed_there:
            continue
        if key in ours:
            result[key] = ours[key]
        else:
            result.pop(key, None)
    return result


def merge(
    message: Mapping[str, Any], base: Mapping[str, Any], connection: sqlalchemy.Connection
) -> dict[str, Any] | None:
    """Return a save of an instance with its keyed fields merged into what the database has.

    :param base: by field, what the edge found
    :returns: None when the instance is not in this database
    """
    uuid = str(message["args"]["objinst"][_DATA]["uuid"])
    known = sqlalchemy.select(_instances.c.uuid).where(_instances.c.uuid == uuid)
    if connection.execute(known).first() is None:
        return None
    result = copy.deepcopy(dict(message))
    data = result["args"]["objinst"][_DATA]
    for field, found in base.items():
        if field in _TABLES and field in data:
            theirs = read(connection, field, uuid)
            data[field] = merged(found, data[field], theirs)
    return result


def read(connection: sqlalchemy.Connection, field: str, instance: str) -> dict[str, Any]:
    """Return what the database has in a field of :data:`FIELDS`."""
    rows = _TABLES[field]
    query = sqlalchemy.select(rows.c.key, rows.c.value).where(
        rows.c.instance_uuid == instance, rows.c.deleted == 0
    )
    return {row.key: row.value for row in connection.execute(query)}
