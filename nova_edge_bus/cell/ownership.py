# SPDX-License-Identifier: Apache-2.0
"""Ownership: a compute writes what is of its own host, whatever it says in the message.

The message names a row, by an id or a uuid, and what else it says of that row is the sender's
word. So the row itself is looked at, in nova's own transaction and before that does anything.
Reads, and objects that belong to no host, are let pass.

An instance is of the host where it is. It is of the hosts of its migration as well, while that is
under way and for a while after, because source and destination both write then; and of any while
it has no host, for a compute that builds it has to be the first to say so.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

import sqlalchemy

from nova_edge_bus import errors
from nova_edge_bus.protocol import identity

AFTERWARDS = datetime.timedelta(hours=1)
"""How long both hosts of a migration that is over may go on writing."""
_OVER = ("completed", "confirmed", "reverted", "done", "error", "failed", "cancelled")
_READS = ("refresh", "obj_load_attr")
_DELETES = ("VirtualInterface", "delete_by_instance_uuid")


def _table(name: str, *columns: str) -> sqlalchemy.TableClause:
    return sqlalchemy.table(name, *map(sqlalchemy.column, columns))


_instances = _table("instances", "uuid", "host")
_migrations = _table(
    "migrations",
    "id",
    "instance_uuid",
    "source_compute",
    "dest_compute",
    "status",
    "migration_type",
    "updated_at",
)
_disks = _table("block_device_mapping", "id", "uuid", "instance_uuid")
_ports = _table("virtual_interfaces", "id", "uuid", "instance_uuid")
_services = _table("services", "id", "host")
_nodes = _table("compute_nodes", "id", "host")

_WITH_INSTANCE = frozenset({"InstanceInfoCache", "InstanceFault", "ShareMapping"})
"""Objects that are found by the uuid of their instance."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ownership:
    """The condition under which a write of a host may land: that its row is that host's.

    :param name: of the object
    :param data: its fields, as the writer has sent them
    """

    host: str
    name: str
    data: Mapping[str, Any]

    def check(self, connection: sqlalchemy.Connection) -> None:
        """Look at the row that the write goes to, and at the one that it belongs to.

        :raises Fenced: when it is another host's
        """
        match self.name:
            case "Instance":
                self._check_instance(connection, self.data.get("uuid"))
                # It is saved along, by a uuid of its own.
                cache = self.data.get("info_cache") or {}
                of_cache = (cache.get("nova_object.data") or {}).get("instance_uuid")
                self._check_instance(connection, of_cache)
            case "BlockDeviceMapping":
                self._check_part(connection, _disks)
            case "VirtualInterface":
                self._check_part(connection, _ports)
            case "Migration":
                self._check_migration(connection)
            case "Service":
                self._check_host(connection, _services)
            case "ComputeNode":
                self._check_host(connection, _nodes)
            case "PciDevice":
                node = _select(connection, _nodes, "id", self.data.get("compute_node_id"))
                if node is not None and node.host != self.host:
                    self._refuse(node.host)
            case _:
                self._check_instance(connection, self.data.get("instance_uuid"))

    def _check_host(self, connection: sqlalchemy.Connection, rows: sqlalchemy.TableClause) -> None:
        row = _select(connection, rows, "id", self.data.get("id"))
        owner = self.data.get("host") if row is None else row.host
        if owner != self.host:
            self._refuse(owner)

    def _check_part(self, connection: sqlalchemy.Connection, rows: sqlalchemy.TableClause) -> None:
        """The instance of the row that there is, and the one that it is to have."""
        for key in ("id", "uuid"):
            row = _select(connection, rows, key, self.data.get(key))
            if row is not None:
                self._check_instance(connection, row.instance_uuid)
        self._check_instance(connection, self.data.get("instance_uuid"))

    def _check_migration(self, connection: sqlalchemy.Connection) -> None:
        row = _select(connection, _migrations, "id", self.data.get("id"))
        ends = (
            (self.data.get("source_compute"), self.data.get("dest_compute"))
            if row is None
            else (row.source_compute, row.dest_compute)
        )
        # The destination of a migration that is being scheduled says itself that it is the one.
        if self.host not in ends and None not in ends:
            self._refuse(ends[0])

    def _check_instance(self, connection: sqlalchemy.Connection, uuid: Any) -> None:
        row = _select(connection, _instances, "uuid", uuid)
        if row is None or row.host in (None, self.host):
            return
        columns = _migrations.c
        since = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) - AFTERWARDS
        is_under_way = columns.status.not_in(_OVER)
        comes_here = (columns.dest_compute == self.host) & (
            is_under_way | (columns.updated_at > since)
        )
        is_scheduled = columns.dest_compute.is_(None) & is_under_way
        # An evacuated host has no say, for it is evacuated because nobody can tell what it does.
        goes_away = (
            (columns.source_compute == self.host)
            & (columns.migration_type != "evacuation")
            & (is_under_way | (columns.updated_at > since))
        )
        query = sqlalchemy.select(columns.id).where(
            columns.instance_uuid == str(uuid), comes_here | is_scheduled | goes_away
        )
        if connection.execute(query.limit(1)).first() is None:
            self._refuse(row.host)

    def _refuse(self, owner: Any) -> None:
        raise errors.Fenced(
            f"host {self.host} may not write {self.name} "
            f"{self.data.get('uuid') or self.data.get('id') or ''} of host {owner}",
            expected={"host": self.host},
            actual={"host": owner},
        )


_OWNED = _WITH_INSTANCE | {
    "Instance",
    "BlockDeviceMapping",
    "VirtualInterface",
    "Migration",
    "Service",
    "ComputeNode",
    "PciDevice",
}


def ownership_of(message: Mapping[str, Any], writer: str) -> Ownership | None:
    """The condition for a message to be carried out; None when there is none.

    :param writer: the identity that an endpoint vouches for; empty where there is none
    """
    if not writer:
        return None
    who = identity.Identity.parse(writer)
    if who.role is not identity.Role.COMPUTE:
        return None
    arguments = message.get("args") or {}
    if message.get("method") == "object_class_action_versions":
        if (arguments.get("objname"), arguments.get("objmethod")) != _DELETES:
            return None
        positional = arguments.get("args") or ()
        uuid = (
            positional[0] if positional else (arguments.get("kwargs") or {}).get("instance_uuid")
        )
        return Ownership(who.host, "VirtualInterface", {"instance_uuid": uuid})
    target = arguments.get("objinst")
    if message.get("method") != "object_action" or not isinstance(target, dict):
        return None
    name = str(target.get("nova_object.name"))
    if name not in _OWNED or arguments.get("objmethod") in _READS:
        return None
    return Ownership(who.host, name, target.get("nova_object.data") or {})


def _select(
    connection: sqlalchemy.Connection, rows: sqlalchemy.TableClause, key: str, value: Any
) -> Any:
    if value is None:
        return None
    query = sqlalchemy.select(rows).where(rows.c[key] == value)
    return connection.execute(query).first()
