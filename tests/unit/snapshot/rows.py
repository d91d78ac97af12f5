# SPDX-License-Identifier: Apache-2.0
"""Rows for a centre's database, made with nova's own objects."""

from __future__ import annotations

import json
import uuid
from typing import Any

from nova import objects
from nova.objects import base

from nova_edge_bus.snapshot import primitives
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot.edge import HOST

NODE = "node-1"
STARTUP_ATTRIBUTES = ["info_cache", "metadata", "system_metadata", "numa_topology", "flavor"]
AUDIT_ATTRIBUTES = [
    "system_metadata",
    "numa_topology",
    "flavor",
    "migration_context",
    "resources",
]


def flavor() -> Any:
    return objects.Flavor(
        id=1, name="m1.small", memory_mb=512, vcpus=1, root_gb=1, ephemeral_gb=0, swap=0,
        flavorid="1", rxtx_factor=1.0, vcpu_weight=None, disabled=False, is_public=True,
        extra_specs={}, description=None, created_at=None, updated_at=None, deleted_at=None,
        deleted=False,
    )  # fmt: skip


def instance(centre: centres.Centre, **values: Any) -> Any:
    """Create an instance, on our host unless told otherwise."""
    fields: dict[str, Any] = {
        "host": HOST,
        "node": NODE,
        "compute_id": 1,
        "vm_state": "active",
        "task_state": None,
        "power_state": 1,
        "display_name": "guest",
        "metadata": {"m": "1"},
        "system_metadata": {"s": "1"},
        **values,
    }
    with centres.direct():
        made = objects.Instance(
            centre.context(),
            uuid=values.pop("uuid", None) or str(uuid.uuid4()),
            project_id="project",
            user_id="user",
            flavor=flavor(),
            old_flavor=None,
            new_flavor=None,
            **{name: value for name, value in fields.items() if name != "uuid"},
        )
        made.create()
    return made


def compute_node(centre: centres.Centre, **values: Any) -> Any:
    with centres.direct():
        made = objects.ComputeNode(
            centre.context(), host=HOST, hypervisor_hostname=NODE, uuid=str(uuid.uuid4()),
            vcpus=4, memory_mb=4096, local_gb=100, vcpus_used=0, memory_mb_used=0,
            local_gb_used=0, hypervisor_type="fake", hypervisor_version=1, cpu_info="",
            **values,
        )  # fmt: skip
        made.create()
    return made


def service(centre: centres.Centre, **values: Any) -> Any:
    fields = {"host": HOST, "binary": "nova-compute", "topic": "compute", **values}
    with centres.direct():
        made = objects.Service(centre.context(), report_count=0, disabled=False, **fields)
        made.create()
    return made


def migration(centre: centres.Centre, instance_uuid: str, **values: Any) -> Any:
    fields = {
        "source_compute": HOST,
        "source_node": NODE,
        "dest_compute": "other",
        "dest_node": "other-node",
        "dest_compute_id": 2,
        "status": "running",
        "migration_type": "live-migration",
        **values,
    }
    with centres.direct():
        made = objects.Migration(centre.context(), instance_uuid=instance_uuid, **fields)
        made.create()
    return made


def volume(centre: centres.Centre, instance_uuid: str, **values: Any) -> Any:
    fields = {
        "source_type": "volume",
        "destination_type": "volume",
        "volume_id": str(uuid.uuid4()),
        "boot_index": 0,
        "device_name": "/dev/vda",
        "connection_info": "{}",
        **values,
    }
    with centres.direct():
        made = objects.BlockDeviceMapping(centre.context(), instance_uuid=instance_uuid, **fields)
        made.create()
    return made


def primitive(made: Any) -> Any:
    """What of a reply travels on the wire, without notes of changes.

    Lists are sorted: the database returns them in whichever order its plan yields.
    """
    reply = primitives.clean(wire(made))
    if isinstance(reply, list):
        return sorted(reply)
    if primitives.is_object(reply) and "objects" in reply[primitives.DATA]:
        reply[primitives.DATA]["objects"].sort(key=lambda each: each[primitives.DATA]["id"])
    return reply


def wire(made: Any) -> Any:
    """An object as it stands in a command's arguments."""
    return json.loads(centres.dumped(base.NovaObjectSerializer().serialize_entity(None, made)))
