# SPDX-License-Identifier: Apache-2.0
"""From an RPC message to its terms."""

import hashlib
import types
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from nova_edge_bus.contracts import table
from nova_edge_bus.contracts.terms import Contract
from nova_edge_bus.contracts.terms import Kind
from nova_edge_bus.contracts.terms import Row
from nova_edge_bus.contracts.terms import Terms

MAX_IDENTITY = 128
"""Characters of an instance's or a host's name beyond which a digest stands for it."""

_INSTANCE_ARGUMENTS: dict[str, int] = {
    "get_by_instance_uuid": 0,
    "get_by_instance_uuid_and_share_id": 0,
    "get_latest_for_instance": 0,
    "get_by_instance": 0,
    "get_by_instance_and_network": 0,
    "get_by_instance_and_status": 0,
    "get_in_progress_by_instance": 0,
    "get_by_request_id": 0,
    "get_by_id_and_instance": 1,
    "get_by_volume_and_instance": 1,
}
"""Class methods that read of one instance, and which of their arguments is the instance."""

_HOST_ARGUMENTS: dict[str, int] = {
    "get_by_host_and_binary": 0,
    "get_by_host_and_topic": 0,
    "get_by_args": 0,
    "get_by_compute_host": 0,
    "get_by_host_and_nodename": 0,
    "get_all_by_host": 0,
}
"""Class methods of the objects of a host that read of one host, and which argument is the host."""

_GROUPED_BY_HOST = frozenset({"Service", "ComputeNode"})
_NO_OVERRIDES: Mapping[str, Contract] = types.MappingProxyType({})
_OBJECT_ACTIONS = frozenset(
    {"object_action", "object_class_action_versions", "object_backport_versions"}
)


def acts_on_objects(message: Mapping[str, Any]) -> bool:
    """Tell whether a message is carried out with the database alone.

    Nobody calls another service on behalf of the user for it, so the user's token is not needed.
    """
    return message.get("method") in _OBJECT_ACTIONS


def classify(
    message: Mapping[str, Any],
    *,
    is_call: bool,
    fanout: bool = False,
    overrides: Mapping[str, Contract] = _NO_OVERRIDES,
) -> Terms:
    """Look up the terms of an RPC message ``{method, args[, namespace, version]}``.

    :param overrides: an operator's contracts by the name of the row, as
        :func:`nova_edge_bus.contracts.overrides.parse` has passed them; they bear on calls alone
    """
    method = str(message.get("method", ""))
    args = message.get("args") or {}
    namespace = str(message.get("namespace") or "")
    if fanout:
        return _terms(table.service_row(namespace, method, Kind.FANOUT), "", method)
    if method == "object_action":
        return _object_action(args, overrides)
    if method == "object_class_action_versions":
        return _class_action(args, overrides)
    row = table.service_row(namespace, method, Kind.CALL if is_call else Kind.CAST)
    return _terms(row, _instance_group(args), method, overrides if is_call else _NO_OVERRIDES)


def _terms(
    row: Row, group: str, method: str, overrides: Mapping[str, Contract] = _NO_OVERRIDES
) -> Terms:
    override = overrides.get(row.name, overrides.get(method))
    if override is not None:
        row = table.with_contract(row, override)
    return Terms(row.contract, group, method, repeatable=row.repeatable, last=row.last)


def _object_action(args: Mapping[str, Any], overrides: Mapping[str, Contract]) -> Terms:
    primitive = args.get("objinst") or {}
    name = str(primitive.get("nova_object.name", ""))
    action = str(args.get("objmethod", ""))
    group = _object_group(name, primitive.get("nova_object.data") or {})
    return _terms(table.object_row(name, action), group, f"{name}.{action}", overrides)


def _class_action(args: Mapping[str, Any], overrides: Mapping[str, Contract]) -> Terms:
    name = str(args.get("objname", ""))
    action = str(args.get("objmethod", ""))
    row = table.object_row(name, action)
    positional = args.get("args") or ()
    named = args.get("kwargs") or {}
    if row.group == "instance":
        group = _argument_group("instance", positional, named, 0)
    elif (name, action) == ("Instance", "get_by_uuid"):
        group = _group("instance", named.get("uuid") or (positional[0] if positional else ""))
    elif action in _INSTANCE_ARGUMENTS:
        group = _argument_group("instance", positional, named, _INSTANCE_ARGUMENTS[action])
    elif name.removesuffix("List") in _GROUPED_BY_HOST and action in _HOST_ARGUMENTS:
        group = _argument_group("host", positional, named, _HOST_ARGUMENTS[action])
    elif (name, action) == ("PciDeviceList", "get_by_compute_node"):
        group = _argument_group("node", positional, named, 0)
    else:
        group = ""
    return _terms(row, group, f"{name}.{action}", overrides)


def _argument_group(
    kind: str, positional: Sequence[Any], named: Mapping[str, Any], position: int
) -> str:
    """The group named by an argument: an instance or its uuid, a node's id, a host's name."""
    value = positional[position] if len(positional) > position else None
    for name in (f"{kind}_uuid", f"{kind}_id", kind):
        value = named.get(name, value)
    if isinstance(value, Mapping):
        value = (value.get("nova_object.data") or {}).get("uuid")
    return _group(kind, value)


def _object_group(name: str, data: Mapping[str, Any]) -> str:
    """The group of an object; a device stays in its node's while it changes hands."""
    if name == "Instance":
        return _group("instance", data.get("uuid"))
    if name == "PciDevice":
        return _group("node", data.get("compute_node_id"))
    if data.get("instance_uuid"):
        return _group("instance", data["instance_uuid"])
    if name in _GROUPED_BY_HOST:
        return _group("host", data.get("host"))
    return ""


def _instance_group(args: Mapping[str, Any]) -> str:
    """The group of a command or call to a service: the one instance it speaks of, if any."""
    instances = args.get("instances")
    instance = args.get("instance")
    if instance is None and isinstance(instances, list | tuple) and len(instances) == 1:
        instance = instances[0]
    if isinstance(instance, Mapping):
        data = instance.get("nova_object.data")
        if isinstance(data, Mapping):
            return _group("instance", data.get("uuid"))
    return _group("instance", args.get("instance_uuid"))


def _group(kind: str, identity: object) -> str:
    """A group's name, of bounded length whatever the arguments of an RPC are."""
    if not identity:
        return ""
    name = str(identity)
    if len(name) > MAX_IDENTITY:
        name = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{kind}:{name}"
