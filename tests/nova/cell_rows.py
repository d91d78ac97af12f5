# SPDX-License-Identifier: Apache-2.0
"""Put one compute host with its instances into a cell's database, as a nova of its own would.

    python -m tests.nova.cell_rows --config-file FILE HOST INSTANCES

The configuration is one with database access, such as nova-conductor's.
"""

from __future__ import annotations

import sys
import uuid
from typing import Any


def main() -> None:
    """Make the service, the compute node and the instances, all of them active."""
    host, count = sys.argv[-2:]
    del sys.argv[-2:]

    from nova import monkey_patch

    monkey_patch.patch(backend="threading")

    from nova import config
    from nova import objects

    config.parse_args(sys.argv)
    objects.register_all()
    fill(host, int(count))


def fill(host: str, count: int) -> list[Any]:
    """Make the rows of a host; returns its instances as nova's own objects."""
    from nova import context
    from nova import objects

    admin = context.get_admin_context()
    service = objects.Service(
        admin, host=host, binary="nova-compute", topic="compute", report_count=0
    )
    service.create()
    node = objects.ComputeNode(admin, **_node(host, service.id))
    node.create()
    made = []
    for number in range(count):
        instance = objects.Instance(admin, **_instance(host, node.id, number))
        instance.flavor = objects.Flavor(**_FLAVOR)
        instance.old_flavor = instance.new_flavor = None
        instance.create()
        made.append(instance)
    return made


_FLAVOR: dict[str, Any] = {
    "id": 1,
    "flavorid": "small",
    "name": "small",
    "memory_mb": 256,
    "vcpus": 1,
    "root_gb": 1,
    "ephemeral_gb": 0,
    "swap": 0,
    "rxtx_factor": 1.0,
    "vcpu_weight": 0,
    "disabled": False,
    "is_public": True,
    "extra_specs": {},
}


def _node(host: str, service_id: int) -> dict[str, Any]:
    return {
        "host": host,
        "service_id": service_id,
        "uuid": str(uuid.uuid4()),
        "hypervisor_hostname": host,
        "hypervisor_type": "fake",
        "hypervisor_version": 1000,
        "vcpus": 64,
        "vcpus_used": 0,
        "memory_mb": 65536,
        "memory_mb_used": 0,
        "local_gb": 1024,
        "local_gb_used": 0,
        "cpu_info": "{}",
        "disk_available_least": 1024,
        "host_ip": "127.0.0.1",
        "stats": {},
    }


def _instance(host: str, node_id: int, number: int) -> dict[str, Any]:
    return {
        "uuid": str(uuid.uuid4()),
        "user_id": "user",
        "project_id": "project",
        "display_name": f"guest-{number}",
        "hostname": f"guest-{number}",
        "host": host,
        "node": host,
        "compute_id": node_id,
        "launched_on": host,
        "vm_state": "active",
        "task_state": None,
        "power_state": 1,
        "progress": 0,
        "vcpus": 1,
        "memory_mb": 256,
        "root_gb": 1,
        "ephemeral_gb": 0,
        "system_metadata": {"image_base_image_ref": str(uuid.uuid4())},
    }


if __name__ == "__main__":
    main()
