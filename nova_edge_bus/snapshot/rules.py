# SPDX-License-Identifier: Apache-2.0
"""Which reads can be answered from known objects, and what each asks for.

A read that is not named here is never answered. The conditions say what nova 34's database
queries say; a reply that disagrees with them is not relied on (see ``Snapshot.learn``).
"""

from __future__ import annotations

from nova_edge_bus.snapshot import calls
from nova_edge_bus.snapshot import instance_rules
from nova_edge_bus.snapshot.conditions import among
from nova_edge_bus.snapshot.questions import LIST
from nova_edge_bus.snapshot.questions import AnyQuestion
from nova_edge_bus.snapshot.questions import Arguments
from nova_edge_bus.snapshot.questions import FactQuestion
from nova_edge_bus.snapshot.questions import FieldQuestion
from nova_edge_bus.snapshot.questions import Question
from nova_edge_bus.snapshot.questions import Rule
from nova_edge_bus.snapshot.questions import live


def _exactly(kind: str, *pairs: tuple[str, str], deleted: bool = False) -> Rule:
    """One object whose fields equal arguments; *pairs* are (field, argument)."""

    def rule(asked: Arguments, scope: calls.Scope) -> Question | None:
        if asked.get("expected_attrs"):
            return None
        where = [among(field, asked[argument]) for field, argument in pairs]
        return Question(kind, frozenset((*where, *(() if deleted else live(scope)))))

    return rule


def _service(asked: Arguments, scope: calls.Scope) -> Question:
    binary = asked.get("binary", "nova-compute")
    where = (among("host", asked["host"]), among("binary", binary), among("deleted", False))
    return Question("Service", frozenset(where), none_found="binary" in asked)


def _listed(kind: str, field: str, argument: str, *, can_be_empty: bool = True) -> Rule:
    """Every live object with a field among the argument's value or values."""

    def rule(asked: Arguments, scope: calls.Scope) -> Question:
        value = asked[argument]
        values = value if isinstance(value, list) else [value]
        where = frozenset((among(field, *values), *live(scope)))
        name = f"{kind}List"
        return Question(kind, where, result=LIST, list_name=name, none_found=can_be_empty)

    return rule


def _field(name: str, argument: str = "instance_uuid", *, null_found: bool = False) -> Rule:
    def rule(asked: Arguments, scope: calls.Scope) -> FieldQuestion:
        return FieldQuestion(asked[argument], name, null_found)

    return rule


def _pci_devices_of_instance(asked: Arguments, scope: calls.Scope) -> Question:
    where = (among("instance_uuid", asked["uuid"]), among("status", "allocated"), *live(scope))
    return Question(
        "PciDevice", frozenset(where), result=LIST, list_name="PciDeviceList", none_found=True
    )


def _minimum_version(asked: Arguments, scope: calls.Scope) -> FactQuestion:
    return FactQuestion(f"minimum-version:{asked['binary']}")


def _ping(asked: Arguments, scope: calls.Scope) -> FactQuestion:
    """A service at its start asks this until it is answered, and makes nothing of the answer."""
    return FactQuestion(f"ping:{asked['arg']}")


_BDM = "BlockDeviceMapping"

RULES: dict[tuple[str, str], tuple[tuple[str, ...], Rule]] = {
    ("BaseAPI", "ping"): (("arg",), _ping),
    ("Instance", "get_by_uuid"): (
        ("uuid", "expected_attrs", "use_slave"),
        instance_rules.instance_by("uuid", "uuid"),
    ),
    ("Instance", "get_by_id"): (
        ("inst_id", "expected_attrs"),
        instance_rules.instance_by("id", "inst_id"),
    ),
    ("InstanceList", "get_by_host"): (
        ("host", "expected_attrs", "use_slave"),
        instance_rules.by_host,
    ),
    ("InstanceList", "get_by_host_and_node"): (
        ("host", "node", "expected_attrs"),
        instance_rules.by_node,
    ),
    ("InstanceList", "get_uuids_by_host"): (("host",), instance_rules.uuids_by_host),
    ("InstanceList", "get_uuids_by_host_and_node"): (
        ("host", "node"),
        instance_rules.uuids_by_node,
    ),
    ("InstanceList", "get_by_filters"): (
        (
            "filters",
            "sort_key",
            "sort_dir",
            "limit",
            "marker",
            "expected_attrs",
            "use_slave",
            "sort_keys",
            "sort_dirs",
        ),
        instance_rules.instances_by_filters,
    ),
    ("Migration", "get_by_id"): (("migration_id",), _exactly("Migration", ("id", "migration_id"))),
    ("Migration", "get_by_uuid"): (
        ("migration_uuid",),
        _exactly("Migration", ("uuid", "migration_uuid")),
    ),
    ("Migration", "get_by_id_and_instance"): (
        ("migration_id", "instance_uuid"),
        _exactly("Migration", ("id", "migration_id"), ("instance_uuid", "instance_uuid")),
    ),
    ("Migration", "get_by_instance_and_status"): (
        ("instance_uuid", "status"),
        _exactly(
            "Migration", ("instance_uuid", "instance_uuid"), ("status", "status"), deleted=True
        ),
    ),
    ("MigrationList", "get_by_filters"): (
        ("filters", "sort_keys", "sort_dirs", "limit", "marker"),
        instance_rules.migrations_by_filters,
    ),
    ("MigrationList", "get_in_progress_by_host_and_node"): (
        ("host", "node"),
        instance_rules.migrations_in_progress("error"),
    ),
    ("MigrationList", "get_in_progress_and_error"): (
        ("host", "node"),
        instance_rules.migrations_in_progress(),
    ),
    ("MigrationList", "get_in_progress_by_instance"): (
        ("instance_uuid", "migration_type"),
        instance_rules.migrations_of_instance,
    ),
    (_BDM, "get_by_volume_and_instance"): (
        ("volume_id", "instance_uuid", "expected_attrs"),
        _exactly(_BDM, ("volume_id", "volume_id"), ("instance_uuid", "instance_uuid")),
    ),
    ("BlockDeviceMappingList", "get_by_instance_uuid"): (
        ("instance_uuid", "use_slave"),
        _listed(_BDM, "instance_uuid", "instance_uuid"),
    ),
    ("BlockDeviceMappingList", "get_by_instance_uuids"): (
        ("instance_uuids", "use_slave"),
        _listed(_BDM, "instance_uuid", "instance_uuids"),
    ),
    ("ComputeNode", "get_by_uuid"): (
        ("compute_uuid",),
        _exactly("ComputeNode", ("uuid", "compute_uuid")),
    ),
    ("ComputeNode", "get_by_nodename"): (
        ("hypervisor_hostname",),
        _exactly("ComputeNode", ("hypervisor_hostname", "hypervisor_hostname")),
    ),
    ("ComputeNode", "get_by_host_and_nodename"): (
        ("host", "nodename"),
        _exactly("ComputeNode", ("host", "host"), ("hypervisor_hostname", "nodename")),
    ),
    ("ComputeNodeList", "get_all_by_uuids"): (
        ("compute_uuids",),
        _listed("ComputeNode", "uuid", "compute_uuids"),
    ),
    ("ComputeNodeList", "get_all_by_host"): (
        ("host", "use_slave"),
        _listed("ComputeNode", "host", "host", can_be_empty=False),
    ),
    ("Service", "get_by_host_and_binary"): (("host", "binary"), _service),
    ("Service", "get_by_compute_host"): (("host", "use_slave"), _service),
    ("Service", "get_minimum_version"): (("binary", "use_slave"), _minimum_version),
    ("PciDeviceList", "get_by_compute_node"): (
        ("node_id",),
        _listed("PciDevice", "compute_node_id", "node_id"),
    ),
    ("PciDeviceList", "get_by_instance_uuid"): (("uuid",), _pci_devices_of_instance),
    ("VirtualInterfaceList", "get_by_instance_uuid"): (
        ("instance_uuid", "use_slave"),
        _listed("VirtualInterface", "instance_uuid", "instance_uuid"),
    ),
    ("VirtualInterface", "get_by_uuid"): (
        ("vif_uuid",),
        _exactly("VirtualInterface", ("uuid", "vif_uuid")),
    ),
    ("ShareMappingList", "get_by_instance_uuid"): (
        ("instance_uuid",),
        _listed("ShareMapping", "instance_uuid", "instance_uuid"),
    ),
    ("InstanceInfoCache", "get_by_instance_uuid"): (("instance_uuid",), _field("info_cache")),
    ("InstanceNUMATopology", "get_by_instance_uuid"): (
        ("instance_uuid",),
        _field("numa_topology"),
    ),
    ("InstancePCIRequests", "get_by_instance_uuid"): (("instance_uuid",), _field("pci_requests")),
    ("InstanceDeviceMetadata", "get_by_instance_uuid"): (
        ("instance_uuid",),
        _field("device_metadata"),
    ),
    ("VirtCPUModel", "get_by_instance_uuid"): (("instance_uuid",), _field("vcpu_model")),
    ("MigrationContext", "get_by_instance_uuid"): (
        ("instance_uuid",),
        _field("migration_context"),
    ),
    ("TrustedCerts", "get_by_instance_uuid"): (("instance_uuid",), _field("trusted_certs")),
    ("ResourceList", "get_by_instance_uuid"): (
        ("instance_uuid",),
        _field("resources", null_found=True),
    ),
    ("TagList", "get_by_resource_id"): (("resource_id",), _field("tags")),
}
"""Parameter names and rule of each read, by class and method."""


def question(call: calls.Call, scope: calls.Scope) -> AnyQuestion | None:
    """Return what a class method asks for, None when it cannot be told."""
    known = RULES.get((call.name, call.method))
    if known is None or call.target is not None or scope.deleted not in ("no", "yes"):
        return None
    parameters, rule = known
    asked = call.bound(*parameters)
    if asked is None:
        return None
    try:
        return rule(asked, scope)
    except (KeyError, TypeError):  # an argument is missing or not what nova passes
        return None
