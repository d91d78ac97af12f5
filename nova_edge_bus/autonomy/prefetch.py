# SPDX-License-Identifier: Apache-2.0
"""The reads that a snapshot has to be able to answer before it is needed.

nova-compute asks some of them only every half hour, or only when a guest crashes; by then the
centre may be out of reach. What of this list cannot be answered is therefore asked while there is
a link. The list is that of nova 34's start, its periodic tasks, and its handling of guests that
stop, are stopped or rebooted.
"""

import json
import uuid
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from nova_edge_bus.autonomy import bodies
from nova_edge_bus.snapshot import snapshot as snapshot_module

Manifest = Callable[[str], Mapping[str, str] | None]
"""The versions of an object and of those within it that this process takes, None if unknown."""

RPC_VERSION = "3.0"
"""The version of the conductor's interface that has the method."""
INSTANCE_FIELDS = [
    "info_cache",
    "metadata",
    "system_metadata",
    "security_groups",
    "numa_topology",
    "flavor",
    "migration_context",
    "resources",
    "pci_requests",
    "device_metadata",
    "vcpu_model",
    "trusted_certs",
]
"""What nova-compute asks of its instances beside their rows, at its start or while it handles one.

Not those that a change elsewhere makes outdated, or each such change would have them asked anew.
"""


_EVACUATIONS = ("MigrationList", "get_by_filters")


class Question(NamedTuple):
    """One read: the class and the method of the object, and the arguments."""

    name: str
    method: str
    arguments: dict[str, Any]
    read_deleted: str = "no"

    @property
    def key(self) -> str:
        """A name that no other question has."""
        return json.dumps(self, sort_keys=True)


def questions(host: str, nodes: list[tuple[str, int]], instances: list[str]) -> Iterator[Question]:
    """Yield the reads for a host.

    :param nodes: the name and the id of each compute node
    :param instances: the uuids of the instances that are on the host
    """
    yield Question("Service", "get_minimum_version", {"binary": "nova-compute"})
    yield Question("Service", "get_by_host_and_binary", {"host": host, "binary": "nova-compute"})
    yield Question("ComputeNodeList", "get_all_by_host", {"host": host})
    yield Question(
        "InstanceList", "get_by_host", {"host": host, "expected_attrs": INSTANCE_FIELDS}
    )
    yield from _migrations(host, nodes)
    deleted = {"deleted": True, "soft_deleted": False, "host": host, "cleaned": False}
    asked = {"filters": deleted, "expected_attrs": ["system_metadata"]}
    yield Question("InstanceList", "get_by_filters", asked, "yes")
    for _, number in nodes:
        yield Question("PciDeviceList", "get_by_compute_node", {"node_id": number})
    if instances:
        wanted = {"instance_uuids": sorted(instances)}
        yield Question("BlockDeviceMappingList", "get_by_instance_uuids", wanted, "yes")
    for instance in instances:
        # What a guest's own end sets off is asked with deleted rows; without them it follows.
        of_instance = {"instance_uuid": instance}
        yield Question("ShareMappingList", "get_by_instance_uuid", of_instance, "yes")
        yield Question("VirtualInterfaceList", "get_by_instance_uuid", of_instance, "yes")


def _migrations(host: str, nodes: list[tuple[str, int]]) -> Iterator[Question]:
    evacuations = {
        "source_compute": host,
        "status": ["accepted", "pre-migrating", "done"],
        "migration_type": "evacuation",
    }
    yield Question("MigrationList", "get_by_filters", {"filters": evacuations}, "yes")
    failed = {"host": host, "status": "error"}
    yield Question("MigrationList", "get_by_filters", {"filters": failed})
    for node, _ in nodes:
        yield Question("MigrationList", "get_in_progress_and_error", {"host": host, "node": node})


def is_asked_once(message: Mapping[str, Any]) -> bool:
    """Tell whether a read is the one by which nova-compute learns what was evacuated.

    It asks at its start and never again, and destroys the guests of those instances. An answer
    from before the cut would leave them running beside the evacuated ones.
    """
    arguments = message.get("args") or {}
    if (arguments.get("objname"), arguments.get("objmethod")) != _EVACUATIONS:
        return False
    values = [*(arguments.get("args") or ()), *(arguments.get("kwargs") or {}).values()]
    return any(
        isinstance(value, Mapping) and value.get("migration_type") == "evacuation"
        for value in values
    )


def request(question: Question, manifest: Manifest) -> bodies.Request | None:
    """The request that asks *question*; None when this process does not know the object."""
    versions = manifest(question.name)
    if versions is None:
        return None
    context = {
        "is_admin": True,
        "roles": ["admin"],
        "read_deleted": question.read_deleted,
        "request_id": f"req-{uuid.uuid4()}",
    }
    arguments = {
        "objname": question.name,
        "objmethod": question.method,
        "object_versions": dict(versions),
        "args": [],
        "kwargs": question.arguments,
    }
    message = {
        "method": "object_class_action_versions",
        "args": arguments,
        "version": RPC_VERSION,
    }
    return bodies.Request(context, message)


def missing(
    snapshot: snapshot_module.Snapshot, host: str, manifest: Manifest
) -> list[tuple[str, bodies.Request]]:
    """The questions that *snapshot* cannot answer, with their keys."""
    found = []
    for question in questions(host, snapshot.nodes_of(host), snapshot.instances_of(host)):
        asked = request(question, manifest)
        if asked is not None and snapshot.answer(asked.message, context=asked.context) is None:
            found.append((question.key, asked))
    return found
