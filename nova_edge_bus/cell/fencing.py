# SPDX-License-Identifier: Apache-2.0
"""Fencing: a write that was answered at the edge lands only where that edge still has its say.

While a host was cut off, the centre may have evacuated its instances, or deleted them. What the
host wrote meanwhile was true of a guest that is not the instance any more. The check is made when
nova's transaction begins, in that transaction, with the row locked until its end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any
from typing import Protocol

import sqlalchemy

from nova_edge_bus import errors

_instances = sqlalchemy.table(
    "instances",
    sqlalchemy.column("uuid"),
    sqlalchemy.column("host"),
    sqlalchemy.column("deleted"),
)
_OF_INSTANCE = frozenset(
    {
        "Instance",
        "InstanceInfoCache",
        "InstanceFault",
        "BlockDeviceMapping",
        "VirtualInterface",
        "ShareMapping",
    }
)
"""Objects whose rows speak of an instance where it is. Not those of its history."""
_ENDS_WITH_IT = frozenset({"Instance", "InstanceInfoCache", "InstanceFault"})
"""Those that nothing is written to after the instance is deleted."""

_END_OF_PORTS = ("VirtualInterface", "delete_by_instance_uuid")
"""The one class method that changes rows of these objects."""
_UUID = "instance_uuid"


@dataclasses.dataclass(frozen=True, slots=True)
class Fence:
    """The condition under which a write may land.

    ``host`` is where the instance was when the write was made.
    """

    instance: str
    host: str | None
    while_deleted: bool

    def check(self, connection: sqlalchemy.Connection) -> None:
        """Lock the instance's row and look.

        :raises Fenced: when the write must not land
        """
        query = (
            sqlalchemy.select(_instances.c.host, _instances.c.deleted)
            .where(_instances.c.uuid == self.instance)
            .with_for_update()
        )
        row = connection.execute(query).first()
        if row is None or row.deleted:
            if self.while_deleted:
                return
            raise errors.Fenced(
                f"instance {self.instance} was deleted at the centre", actual={"deleted": True}
            )
        if row.host != self.host:
            raise errors.Fenced(
                f"instance {self.instance} is on host {row.host} at the centre; the entry was "
                f"written while it was on {self.host}",
                expected={"host": self.host},
                actual={"host": row.host},
            )


class Check(Protocol):
    """A condition under which a write may land."""

    def check(self, connection: sqlalchemy.Connection) -> None:
        """Look whether it holds, at the beginning of nova's transaction.

        :raises Fenced: when it does not
        """


@dataclasses.dataclass(frozen=True, slots=True)
class All:
    """Several conditions, all of which must hold."""

    checks: tuple[Check, ...]

    def check(self, connection: sqlalchemy.Connection) -> None:
        """See :class:`Check`."""
        for each in self.checks:
            each.check(connection)


def both(*checks: Check | None) -> Check | None:
    """Return what there is of these as one condition, None when there is none."""
    given = tuple(check for check in checks if check is not None)
    return All(given) if given else None


def fence_of(message: Mapping[str, Any], note: Mapping[str, Any] | None) -> Fence | None:
    """The fence of a write, None when it has none.

    :param note: what the edge knew; None for what was not answered there
    """
    if note is None or "instance_host" not in note:
        return None
    name, instance = _subject(message)
    if name not in _OF_INSTANCE or not instance:
        return None
    return Fence(str(instance), note["instance_host"], name not in _ENDS_WITH_IT)


def _subject(message: Mapping[str, Any]) -> tuple[str, Any]:
    """The object that a write is made by, and the instance that it speaks of."""
    arguments = message.get("args") or {}
    if message.get("method") == "object_class_action_versions":
        name = str(arguments.get("objname"))
        if (name, arguments.get("objmethod")) != _END_OF_PORTS:
            return name, None
        positional = arguments.get("args") or ((arguments.get("kwargs") or {}).get(_UUID),)
        return name, positional[0]
    target = arguments.get("objinst") or {}
    name = str(target.get("nova_object.name"))
    data = target.get("nova_object.data") or {}
    return name, data.get("uuid" if name == "Instance" else _UUID)
