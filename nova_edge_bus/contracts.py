# SPDX-License-Identifier: Apache-2.0
"""What each RPC of nova is worth: which contract it travels under, and in which group.

The methods are those of nova 34's conductor, compute and scheduler RPC interfaces and of its
remotable objects. What the table does not name is a relay when it is a call, and a command when
it is a cast or a notification.
"""

import dataclasses
import enum
import hashlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

MAX_IDENTITY = 128
"""Characters of an instance's or a host's name beyond which a digest stands for it."""


class Contract(enum.Enum):
    """What becomes of a message; see the table in the documentation."""

    RECORD = "record"
    """A journaled change of state; answered when it has been applied."""
    MERGE = "merge"
    """A record of which only the newest state matters."""
    RELAY = "relay"
    """A read: answered by the other side, and safe to repeat when it is named here."""
    REFUSE = "refuse"
    """A call that cannot be answered locally and must not be repeated."""
    COMMAND = "command"
    """A journaled cast or notification."""
    DROP = "drop"
    """Sent to whoever listens now, and not kept."""


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """The contract of one message, the group it must stay in order with, and its name in lists.

    ``repeatable`` tells that a call may be made again when nobody knows whether it was made.
    """

    contract: Contract
    group: str
    method: str
    repeatable: bool = False

    @property
    def journaled(self) -> bool:
        """Whether the message goes through the outbox."""
        return self.contract in (Contract.RECORD, Contract.MERGE, Contract.COMMAND)


OBJECT_ACTIONS: dict[tuple[str, str], Contract] = {
    ("Instance", "save"): Contract.RECORD,
    ("Instance", "destroy"): Contract.RECORD,
    ("Instance", "drop_migration_context"): Contract.RECORD,
    ("InstanceFault", "create"): Contract.RECORD,
    ("Migration", "save"): Contract.RECORD,
    ("BlockDeviceMapping", "save"): Contract.RECORD,
    ("BlockDeviceMapping", "destroy"): Contract.RECORD,
    ("ShareMapping", "save"): Contract.RECORD,
    ("ShareMapping", "delete"): Contract.RECORD,
    ("VirtualInterface", "destroy"): Contract.RECORD,
    ("InstanceInfoCache", "save"): Contract.MERGE,
    ("Service", "save"): Contract.MERGE,
    ("ComputeNode", "save"): Contract.MERGE,
    ("PciDevice", "save"): Contract.MERGE,
}
"""Object methods that change state and need nothing back that only the centre can know."""

CLASS_ACTIONS: dict[tuple[str, str], Contract] = {
    ("InstanceAction", "action_start"): Contract.RECORD,
    ("InstanceAction", "action_finish"): Contract.RECORD,
    ("InstanceActionEvent", "event_start"): Contract.RECORD,
    ("InstanceActionEvent", "event_finish_with_failure"): Contract.RECORD,
    ("InstanceActionEvent", "event_finish"): Contract.RECORD,
    ("VirtualInterface", "delete_by_instance_uuid"): Contract.RECORD,
}
"""Class methods of the same kind; their instance is the first argument."""

READ_PREFIXES = ("get", "_get", "refresh", "_load")
"""How the names of object methods begin that change nothing; any other is taken for a write."""

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
_REPEATABLE_CALLS = frozenset({"ping", "oslo_rpc_server_ping", "object_backport_versions"})


def classify(message: Mapping[str, Any], *, is_call: bool, fanout: bool = False) -> Terms:
    """Look up the terms of an RPC message ``{method, args[, namespace, version]}``."""
    method = str(message.get("method", ""))
    args = message.get("args") or {}
    if fanout:
        return Terms(Contract.DROP, "", method)
    if method == "object_action":
        return _object_action(args)
    if method == "object_class_action_versions":
        return _class_action(args)
    group = _instance_group(args)
    if not is_call:
        return Terms(Contract.COMMAND, group, method)
    return Terms(Contract.RELAY, group, method, repeatable=method in _REPEATABLE_CALLS)


def _object_action(args: Mapping[str, Any]) -> Terms:
    primitive = args.get("objinst") or {}
    name = str(primitive.get("nova_object.name", ""))
    action = str(args.get("objmethod", ""))
    data = primitive.get("nova_object.data") or {}
    method = f"{name}.{action}"
    group = _object_group(name, data)
    contract = OBJECT_ACTIONS.get((name, action))
    if contract is not None:
        return Terms(contract, group, method)
    return _call_terms(group, method, action)


def _class_action(args: Mapping[str, Any]) -> Terms:
    name = str(args.get("objname", ""))
    action = str(args.get("objmethod", ""))
    positional = args.get("args") or ()
    named = args.get("kwargs") or {}
    method = f"{name}.{action}"
    contract = CLASS_ACTIONS.get((name, action))
    if contract is not None:
        return Terms(contract, _argument_group("instance", positional, named, 0), method)
    if (name, action) == ("Instance", "get_by_uuid"):
        group = _group("instance", named.get("uuid") or (positional[0] if positional else ""))
    elif action in _INSTANCE_ARGUMENTS:
        group = _argument_group("instance", positional, named, _INSTANCE_ARGUMENTS[action])
    elif name.removesuffix("List") in _GROUPED_BY_HOST and action in _HOST_ARGUMENTS:
        group = _argument_group("host", positional, named, _HOST_ARGUMENTS[action])
    elif (name, action) == ("PciDeviceList", "get_by_compute_node"):
        group = _argument_group("node", positional, named, 0)
    else:
        group = ""
    return _call_terms(group, method, action)


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


def _call_terms(group: str, method: str, action: str) -> Terms:
    reads = action.startswith(READ_PREFIXES)
    contract = Contract.RELAY if reads else Contract.REFUSE
    return Terms(contract, group, method, repeatable=reads)


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
