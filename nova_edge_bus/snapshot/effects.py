# SPDX-License-Identifier: Apache-2.0
"""What our own writes do to the centre's rows, read off nova's objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nova_edge_bus.snapshot import calls
from nova_edge_bus.snapshot import primitives
from nova_edge_bus.snapshot.entities import KEY_FIELDS
from nova_edge_bus.snapshot.entities import Entities
from nova_edge_bus.snapshot.entities import Write
from nova_edge_bus.snapshot.entities import key_of

_NOT_SAVED = frozenset(
    {"id", "pci_devices", "tags", "services", "security_groups", "fault", "ec2_ids", "info_cache"}
)
"""Fields that a save leaves alone, or saves in another way."""
_FLAVORS = frozenset({"flavor", "old_flavor", "new_flavor"})
_NESTED = _FLAVORS | {
    "numa_topology",
    "pci_requests",
    "vcpu_model",
    "migration_context",
    "keypairs",
    "device_metadata",
    "trusted_certs",
    "resources",
}
"""Fields of an instance that are kept beside its row."""
_DESTROYERS = frozenset({"destroy", "delete"})
_OF_INSTANCE = ("BlockDeviceMapping", "Migration", "VirtualInterface")
"""Kinds whose rows nova deletes together with their instance."""

_END_OF_PORTS = ("VirtualInterface", "delete_by_instance_uuid")
"""The one class method that changes rows of an instance other than those of its history."""


def writes_of(seq: int, call: calls.Call, known: Entities) -> list[Write]:
    """Return what a write does, object by object; the one it is called on comes first."""
    if call.target is None:
        if (call.name, call.method) == _END_OF_PORTS:
            return _destroyed(seq, ("VirtualInterface",), _instance_of(call), known)
        return []
    if call.name == "InstanceInfoCache":
        return _info_cache_saved(seq, call.target, call.data.get("instance_uuid"))
    key = key_of(call.name, call.data) if call.name in KEY_FIELDS else None
    if key is None:
        return []
    write = Write(seq, call.name, key, {}, {})
    if known.get(call.name, key) is None:
        write.data = primitives.clean(dict(call.data))
    if call.method in _DESTROYERS or _is_removal(call):
        write.destroys = True
        if call.name == "Instance":
            return [write, *_destroyed(seq, _OF_INSTANCE, key, known)]
    elif call.method == "save":
        write.changes = _saved(call)
        if call.name == "Instance":
            write.inner = _inner(call.data)
    elif call.method == "drop_migration_context":
        write.changes = {"migration_context": None}
    return [write]


_KEYED = ("metadata", "system_metadata")
"""Fields of an instance that a save replaces as a whole, though their keys change one by one."""


def before(
    call: calls.Call, known: Entities, seq: int, parted: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a write finds: the host of its instance, and the keyed fields it replaces.

    :param seq: the write's own, where it has one already
    :param parted: the hosts of instances that are known no more
    """
    uuid = str(_instance_of(call) or "")
    entity = known.get("Instance", uuid) if uuid else None
    view = {} if entity is None else entity.view_before(seq)
    if "host" not in view:
        return {"instance_host": parted[uuid]} if uuid in parted else {}
    found: dict[str, Any] = {"instance_host": view["host"]}
    if call.name == "Instance" and call.method == "save":
        changed = primitives.changed(call.target or {})
        base = {
            name: dict(view[name])
            for name in _KEYED
            if name in changed and isinstance(view.get(name), Mapping)
        }
        if base:
            found["base"] = base
    return found


def _instance_of(call: calls.Call) -> Any:
    """The uuid of the instance that a write is about, None when it is about none."""
    if (call.name, call.method) == _END_OF_PORTS:
        return (call.bound("instance_uuid") or {}).get("instance_uuid")
    return call.data.get("uuid" if call.name == "Instance" else "instance_uuid")


def news_in(updates: Mapping[str, Any], write: Write) -> dict[str, Any]:
    """Return what of a reply's updates was read back from the database.

    The centre cannot compare most objects, so it also sends back those it was sent, which may
    be old.
    """
    read_back = "updated_at" in updates
    return {
        name: value
        for name, value in updates.items()
        if name in write.changes
        or not primitives.is_object(value)
        or (read_back and name not in _NESTED)
    }


def outdated_fields(call: calls.Call) -> list[tuple[str, str]]:
    """Fields of instances that hold, beside the rows themselves, what a write changes.

    :returns: (uuid of the instance or "" for all, field)
    """
    if call.name == "InstanceFault":
        return [(str(call.data.get("instance_uuid", "")), "fault")]
    if call.name == "PciDevice":
        return [("", "pci_devices")]
    if call.name == "Service":
        return [("", "services")]
    return []


def outdated_facts(call: calls.Call) -> bool:
    """Whether a write may change what services say of their versions."""
    return call.name == "Service" and "version" in primitives.changed(call.target or {})


def saves_columns(call: calls.Call) -> bool:
    """Whether a save of an instance changes its own row, where states are compared first."""
    names = primitives.changed(call.target or {}) - _NOT_SAVED
    return any(not _is_nested(name, call.data.get(name)) for name in names)


def _is_nested(name: str, value: Any) -> bool:
    return name in _NESTED or primitives.is_object(value)


def _is_removal(call: calls.Call) -> bool:
    return (
        call.name == "PciDevice" and call.method == "save" and call.data.get("status") == "removed"
    )


def _saved(call: calls.Call) -> dict[str, Any]:
    names = primitives.changed(call.target or {}) - _NOT_SAVED
    if call.name == "Instance":
        if names & _FLAVORS:
            names |= _FLAVORS
        # Nova rewrites these with every save that has them, changed or not.
        names |= {"pci_requests"}
    return {name: primitives.clean(call.data[name]) for name in names if name in call.data}


def _inner(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    cache = data.get("info_cache")
    if not primitives.is_object(cache) or "network_info" not in primitives.changed(cache):
        return {}
    return {"info_cache": {"network_info": cache[primitives.DATA].get("network_info")}}


def _info_cache_saved(seq: int, target: Mapping[str, Any], instance: Any) -> list[Write]:
    inner = _inner({"info_cache": target})
    if not inner or not instance:
        return []
    return [Write(seq, "Instance", str(instance), {}, inner, answers_for="info_cache")]


def _destroyed(seq: int, kinds: tuple[str, ...], instance: Any, known: Entities) -> list[Write]:
    return [
        Write(seq, kind, each.key, {}, {}, destroys=True)
        for kind in kinds
        for each in known.of(kind)
        if each.view.get("instance_uuid") == instance
    ]
