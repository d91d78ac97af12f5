# SPDX-License-Identifier: Apache-2.0
"""The published table: the methods of nova 34's remotable objects, but for its ordinary reads."""

from nova_edge_bus.contracts.terms import ANY
from nova_edge_bus.contracts.terms import Contract
from nova_edge_bus.contracts.terms import Kind
from nova_edge_bus.contracts.terms import Row

_RECORD = (
    ("BlockDeviceMapping.destroy", "instance", "end of an attachment"),
    ("BlockDeviceMapping.save", "instance", "connection of a volume"),
    ("ConsoleAuthToken.clean_console_auths_for_instance", "instance", "part of a guest's end"),
    ("Instance.destroy", "instance", "the guest is gone"),
    ("Instance.drop_migration_context", "instance", "end of a move"),
    ("Instance.save", "instance", "compare-and-set too"),
    ("InstanceAction.action_finish", "instance", "the history users see"),
    ("InstanceAction.action_start", "instance", "the history users see"),
    ("InstanceActionEvent.event_finish", "instance", "the history users see"),
    ("InstanceActionEvent.event_finish_with_failure", "instance", "the history users see"),
    ("InstanceActionEvent.event_start", "instance", "the history users see"),
    ("InstanceFault.create", "instance", "every fault counts"),
    ("Migration.save", "instance", "every step counts"),
    ("ShareMapping.delete", "instance", "end of a share"),
    ("ShareMapping.save", "instance", "state of a share"),
    ("VirtualInterface.delete_by_instance_uuid", "instance", "end of all ports"),
    ("VirtualInterface.destroy", "instance", "end of a port"),
)
"""Changes of state that need nothing back that only the centre can know."""

_MERGE = (
    ("ComputeNode.save", "host", "the newest resources"),
    ("InstanceInfoCache.save", "instance", "the newest network state"),
    ("PciDevice.save", "node", "the newest state"),
    ("Service.save", "host", "heartbeat, goes last"),
)
_LAST = frozenset({"Service.save"})

_READ = (
    ("ConsoleAuthToken.validate", "", "a read by another name"),
    ("InstanceGroup.count_members_by_user", "", "a read by another name"),
    ("SecurityGroup.in_use", "", "a read by another name"),
    ("Tag.exists", "", "a read by another name"),
)

_REFUSE = (
    ("BlockDeviceMapping.create", "instance", "returns an id"),
    ("BlockDeviceMapping.update_or_create", "instance", "returns an id"),
    ("ComputeNode.create", "host", "returns an id"),
    ("ComputeNode.destroy", "host", "gives up its resources"),
    ("ConsoleAuthToken.authorize", "instance", "returns a token"),
    ("ConsoleAuthToken.clean_expired_console_auths", "", "by the centre's clock"),
    ("ConsoleAuthToken.clean_expired_console_auths_for_host", "", "by the centre's clock"),
    ("Instance.create", "instance", "returns an id"),
    ("Instance.delete_metadata_key", "instance", "nova-api's own"),
    ("InstanceAction.create", "instance", "returns an id"),
    ("InstanceAction.finish", "instance", "returns what was stored"),
    ("InstanceActionEvent.create", "", "returns an id"),
    ("InstanceActionEvent.finish", "", "returns what was stored"),
    ("InstanceActionEvent.finish_with_failure", "", "returns what was stored"),
    ("InstanceInfoCache.delete", "instance", "not nova-compute's"),
    ("InstanceNUMATopology.create", "instance", "part of a build"),
    ("Migration.create", "instance", "returns an id"),
    ("Service.create", "host", "returns an id"),
    ("Service.destroy", "host", "nova-api's own"),
    ("TaskLog.begin_task", "", "one host may begin it"),
    ("TaskLog.end_task", "", "with its beginning"),
    ("VirtualInterface.create", "instance", "returns an id"),
    ("VirtualInterface.save", "instance", "not nova-compute's"),
    ("VolumeUsage.save", "instance", "adds up; returns totals"),
)
"""What returns an id, a token or a sum, and what no compute does on its own account."""

_API_DATABASE = (
    "Aggregate",
    "BuildRequest",
    "CellMapping",
    "Flavor",
    "HostMapping",
    "InstanceGroup",
    "InstanceMapping",
    "KeyPair",
    "Quotas",
    "QuotasNoOp",
    "RequestSpec",
)
_CELL_DATABASE = ("EC2InstanceMapping", "S3ImageMapping", "SecurityGroup", "Tag", "TagList")


def _rows() -> list[Row]:
    rows = [
        Row(name, Kind.CALL, contract, group, remark, last=name in _LAST)
        for contract, lines in (
            (Contract.RECORD, _RECORD),
            (Contract.MERGE, _MERGE),
            (Contract.REFUSE, _REFUSE),
        )
        for name, group, remark in lines
    ]
    rows += [
        Row(name, Kind.CALL, Contract.RELAY, group, remark, repeatable=True)
        for name, group, remark in _READ
    ]
    for objects, remark in (
        (_API_DATABASE, "in the API database"),
        (_CELL_DATABASE, "nova-api's own"),
    ):
        rows += [Row(f"{name}.*", Kind.CALL, Contract.REFUSE, ANY, remark) for name in objects]
    return sorted(rows, key=lambda row: row.name)


ROWS: tuple[Row, ...] = tuple(_rows())
"""Sorted by name."""
