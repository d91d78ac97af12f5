# SPDX-License-Identifier: Apache-2.0
"""Train the compression dictionary of a wire version on messages as nova makes them.

Usage: ``python tools/train_dictionary.py OUTPUT`` in an environment with nova installed.

The messages are made here from nova's own object classes with random values, so that the
dictionary holds the words of nova's RPC (names of objects, fields and methods) and nothing of any
real cloud. A dictionary that has been released is never trained again: both ends of a session
must have the same bytes, so another one needs another encoding number.
"""

import argparse
import collections.abc
import datetime
import json
import pathlib
import random
import string
import uuid
from typing import Any

import zstandard
from nova import context as nova_context
from nova import objects
from nova.network import model as network_model
from nova.objects import base
from nova.objects import fields as nova_fields
from oslo_serialization import jsonutils
from oslo_versionedobjects import base as versioned_base

from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import messages

SIZE = 64 * 1024
ROUNDS = 60

RANDOM = random.Random(1)

STATES = [
    ("active", None), ("active", "powering-off"), ("stopped", None), ("stopped", "powering-on"),
    ("building", "scheduling"), ("building", "networking"), ("building", "spawning"),
    ("building", "block_device_mapping"), ("active", "rebooting"), ("active", "deleting"),
    ("active", "reboot_started_hard"), ("error", None), ("deleted", None), ("paused", None),
    ("active", "resize_prep"), ("active", "migrating"), ("suspended", None), ("resized", None),
]  # fmt: skip
TEXTS: dict[str, list[Any]] = {
    "binary": ["nova-compute"],
    "topic": ["compute"],
    "availability_zone": ["nova", "az1"],
    "hypervisor_type": ["QEMU"],
    "metrics": ["[]"],
    "root_device_name": ["/dev/vda"],
    "device_name": ["/dev/vda", "/dev/vdb"],
    "os_type": ["linux", None],
    "architecture": ["x86_64", None],
    "vm_mode": ["hvm", None],
    "config_drive": ["", "True"],
    "disk_bus": ["virtio"],
    "status": ["accepted", "pre-migrating", "post-migrating", "finished", "running"],
    "container_format": ["bare"],
    "disk_format": ["qcow2", "raw"],
    "kernel_id": [""],
    "ramdisk_id": [""],
    "cell_name": [None],
    "user_data": [None],
    "locked_by": [None],
    "key_data": [None],
    "disabled_reason": [None],
    "guest_format": [None],
    "tag": [None],
}
NULL_OBJECTS = {
    "numa_topology", "device_metadata", "vcpu_model", "migration_context", "trusted_certs",
    "resources", "old_flavor", "new_flavor", "fault", "instance", "compute_node", "retry",
    "instance_group", "requested_destination",
}  # fmt: skip
UNSET = {"ec2_ids", "keypairs", "services", "projects"}


def word(length: int, letters: str = string.ascii_lowercase) -> str:
    """Random letters."""
    return "".join(RANDOM.choices(letters, k=length))


def hexadecimal(length: int = 32) -> str:
    """An id as keystone makes them."""
    return word(length, "0123456789abcdef")


def new_uuid() -> str:
    """A random UUID."""
    return str(uuid.UUID(int=RANDOM.getrandbits(128), version=4))


def moment() -> datetime.datetime:
    """Some second of some years."""
    return datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(
        seconds=RANDOM.randrange(10**8)
    )


def host() -> str:
    """The name of a host that nobody has."""
    return f"{RANDOM.choice(['edge', 'compute', 'site'])}-{RANDOM.randrange(40000)}"


def system_metadata() -> dict[str, str]:
    """An instance's system metadata, as it is after a boot from an image."""
    return {
        "image_base_image_ref": new_uuid(),
        "image_container_format": "bare",
        "image_disk_format": "qcow2",
        "image_min_disk": str(RANDOM.choice([0, 10, 20])),
        "image_min_ram": "0",
        "image_hw_disk_bus": "virtio",
        "image_hw_machine_type": "q35",
        "image_hw_cdrom_bus": "sata",
        "image_hw_input_bus": "usb",
        "image_hw_pointer_model": "usbtablet",
        "image_hw_video_model": "virtio",
        "image_hw_vif_model": "virtio",
        "image_os_type": "linux",
        "boot_roles": "reader,member",
        "owner_user_name": word(6),
        "owner_project_name": word(6),
        "network_allocated": "True",
        "clean_attempts": "1",
    }


def network_info() -> network_model.NetworkInfo:
    """The network of an instance with one port."""
    address = f"10.{RANDOM.randrange(256)}.{RANDOM.randrange(256)}"
    subnet = network_model.Subnet(
        cidr=f"{address}.0/24",
        dns=[],
        gateway=network_model.IP(address=f"{address}.1", type="gateway"),
        ips=[network_model.FixedIP(address=f"{address}.{RANDOM.randrange(2, 254)}")],
        routes=[],
        version=4,
        dhcp_server=f"{address}.2",
    )
    network = network_model.Network(
        id=new_uuid(), bridge="br-int", label=word(7), subnets=[subnet],
        tenant_id=hexadecimal(), mtu=1442, physical_network=None, tunneled=True,
    )  # fmt: skip
    port = new_uuid()
    vif = network_model.VIF(
        id=port, address=":".join(["fa", "16", "3e", *(hexadecimal(2) for _ in range(3))]),
        network=network, type=network_model.VIF_TYPE_OVS, vnic_type="normal",
        devname=f"tap{port[:11]}", ovs_interfaceid=port, active=RANDOM.random() < 0.7,
        profile={}, details={"port_filter": True, "connectivity": "l2", "bridge_name": "br-int",
                             "datapath_type": "system", "bound_drivers": {"0": "ovn"}},
    )  # fmt: skip
    return network_model.NetworkInfo([vif])


def cpu_info() -> str:
    """What libvirt says of a processor."""
    return json.dumps(
        {
            "arch": "x86_64", "model": RANDOM.choice(["Cascadelake-Server", "EPYC-Rome"]),
            "vendor": RANDOM.choice(["Intel", "AMD"]),
            "topology": {"cells": 2, "sockets": 1, "cores": 16, "threads": 2},
            "features": ["sse4.2", "avx2", "aes", "vmx", "svm", "pdpe1gb", "rdtscp", "x2apic",
                         "popcnt", "xsave", "fsgsbase", "bmi1", "smep", "erms", "invpcid"],
        }
    )  # fmt: skip


MADE: dict[str, collections.abc.Callable[[], Any]] = {
    "host": host, "node": host, "launched_on": host, "source_compute": host, "dest_compute": host,
    "source_node": host, "dest_node": host, "hypervisor_hostname": host, "hostname": host,
    "display_name": lambda: f"vm-{word(6)}", "display_description": lambda: f"vm-{word(6)}",
    "project_id": hexadecimal, "user_id": hexadecimal, "checksum": hexadecimal,
    "owner": hexadecimal, "image_ref": new_uuid, "instance_uuid": new_uuid, "volume_id": new_uuid,
    "image_id": new_uuid, "reservation_id": lambda: f"r-{word(8)}", "key_name": lambda: word(6),
    "system_metadata": system_metadata, "metadata": lambda: {word(5): word(8)},
    "network_info": network_info, "cpu_info": cpu_info, "flavorid": lambda: word(1, "12345"),
    "name": lambda: f"m1.{RANDOM.choice(['tiny', 'small', 'medium', 'large'])}",
    "extra_specs": lambda: RANDOM.choice([{}, {"hw:cpu_policy": "dedicated"}]),
    "connection_info": lambda: json.dumps({"driver_volume_type": "rbd", "serial": new_uuid()}),
    "stats": lambda: {"failed_builds": "0", "num_instances": str(RANDOM.randrange(40)),
                      "num_vm_active": "3", "num_task_None": "4", "num_os_type_linux": "5",
                      "num_proj_" + hexadecimal(): "1", "io_workload": "0"},
}  # fmt: skip


def field_value(name: str, field: Any) -> Any:
    """A plausible value for one field of an object."""
    if name in MADE:
        return MADE[name]()
    if name in TEXTS:
        return RANDOM.choice(TEXTS[name])
    kinds: list[tuple[Any, collections.abc.Callable[[], Any]]] = [
        (nova_fields.BooleanField, lambda: RANDOM.random() < 0.3),
        (nova_fields.FlexibleBooleanField, lambda: True),
        (nova_fields.IntegerField, lambda: RANDOM.choice([0, 1, 4, 20, 512, 65536, 1048576])),
        (nova_fields.FloatField, lambda: RANDOM.choice([1.0, 1.5, 4.0, 16.0])),
        (nova_fields.DateTimeField, moment),
        (nova_fields.UUIDField, new_uuid),
        (nova_fields.IPAddressField, lambda: f"192.168.{RANDOM.randrange(256)}.7"),
        (nova_fields.ListOfStringsField, list),
    ]
    for kind, make in kinds:
        if isinstance(field, kind):
            return make()
    valid = getattr(field, "valid_values", None)
    if valid:
        return RANDOM.choice(list(valid))
    return None if field.nullable else word(8)


def fill(cls: Any) -> Any:
    """An object of a class with most of its fields set, as if it had come from the database."""
    made = cls()
    for name, field in cls.fields.items():
        if name in UNSET or (name in ("deleted_at", "terminated_at") and not field.nullable):
            continue
        if isinstance(field, nova_fields.ObjectField):
            value = None if name in NULL_OBJECTS else fill_related(field)
        elif isinstance(field, nova_fields.ListOfObjectsField):
            value = []
        elif name in ("deleted_at", "terminated_at"):
            value = None
        else:
            value = field_value(name, field)
        try:
            setattr(made, name, value)
        except (ValueError, TypeError):
            continue
    if isinstance(made, objects.Instance):
        made.vm_state, made.task_state = RANDOM.choice(STATES)
    made.obj_reset_changes(recursive=True)
    return made


def fill_related(field: Any) -> Any:
    """The value of a field that is an object itself."""
    cls = getattr(objects, field.AUTO_TYPE._obj_name, None)
    if cls is None:
        return None
    return cls(objects=[]) if issubclass(cls, base.ObjectListBase) else fill(cls)


def request_context() -> dict[str, Any]:
    """The context of a user's request, or that of a periodic task."""
    if RANDOM.random() < 0.6:
        made = nova_context.RequestContext(is_admin=True, request_id=f"req-{new_uuid()}")
    else:
        endpoint = {"publicURL": "http://controller/volume/v3", "region": "RegionOne",
                    "internalURL": "http://controller/volume/v3"}  # fmt: skip
        made = nova_context.RequestContext(
            user_id=hexadecimal(), project_id=hexadecimal(), roles=["reader", "member"],
            is_admin=False, auth_token="gAAAAAB",
            user_name=word(6), project_name=word(6), user_domain_id="default",
            project_domain_id="default", request_id=f"req-{new_uuid()}",
            remote_address=f"192.168.7.{RANDOM.randrange(256)}",
            service_catalog=[{"endpoints": [endpoint], "type": "block-storage", "name": "cinder"}],
        )  # fmt: skip
    context: dict[str, Any] = made.to_dict()
    return context


def primitive(made: Any) -> Any:
    """As nova serialises it."""
    return base.NovaObjectSerializer().serialize_entity(None, made)


def save(cls: Any, *changed: str) -> dict[str, Any]:
    """The message of a ``save`` of one object with some fields changed."""
    made = fill(cls)
    for name in changed:
        made._changed_fields.add(name)
    kwargs: dict[str, Any] = {}
    if cls is objects.Instance and RANDOM.random() < 0.5:
        kwargs = {"expected_task_state": [RANDOM.choice(STATES)[1]]}
    args = {"objinst": primitive(made), "objmethod": "save", "args": [], "kwargs": kwargs}
    return {"method": "object_action", "args": args, "version": "3.0"}


def class_action(name: str, method: str, *arguments: Any, **kwargs: Any) -> dict[str, Any]:
    """The message of a call of a class method of an object."""
    cls = getattr(objects, name)
    versions = versioned_base.obj_tree_get_versions(cls.obj_name())
    args = {"objname": name, "objmethod": method, "object_versions": versions,
            "args": list(arguments), "kwargs": kwargs}  # fmt: skip
    return {"method": "object_class_action_versions", "args": args, "version": "3.0"}


def cast(method: str, **args: Any) -> dict[str, Any]:
    """The message of a cast to a compute."""
    return {"method": method, "args": args, "version": "6.0"}


def requests() -> list[dict[str, Any]]:
    """One round of the messages that computes, conductors and the API send."""
    instance = objects.Instance
    return [
        *(save(objects.Service, "report_count") for _ in range(4)),
        save(instance, "vm_state", "task_state"),
        save(instance, "power_state", "vm_state", "task_state", "launched_at"),
        save(instance, "task_state", "host", "node", "launched_on"),
        save(instance, "system_metadata"),
        save(objects.ComputeNode, "free_ram_mb", "memory_mb_used", "stats", "running_vms"),
        save(objects.Migration, "status"),
        save(objects.BlockDeviceMapping, "connection_info"),
        save(objects.InstanceInfoCache, "network_info"),
        class_action("InstanceList", "get_by_host", host(), expected_attrs=[], use_slave=True),
        class_action("InstanceList", "get_by_host_and_node", host(), host(),
                     expected_attrs=["pci_devices", "resources", "migration_context"]),
        class_action("MigrationList", "get_in_progress_and_error", host(), host()),
        class_action("ComputeNodeList", "get_all_by_host", host(), use_slave=True),
        class_action("Service", "get_by_compute_host", host(), use_slave=True),
        class_action("Instance", "get_by_uuid", new_uuid(), expected_attrs=["flavor"]),
        class_action("InstanceActionEvent", "event_start", new_uuid(), "compute_stop_instance",
                     want_result=False, host=host()),
        class_action("InstanceActionEvent", "event_finish_with_failure", new_uuid(),
                     "compute_stop_instance", exc_val=None, exc_tb=None, want_result=False),
        class_action("InstanceActionEvent", "event_finish", new_uuid(), "compute_reboot_instance"),
        cast("stop_instance", instance=primitive(fill(instance)), clean_shutdown=True),
        cast("start_instance", instance=primitive(fill(instance))),
        cast("reboot_instance", instance=primitive(fill(instance)), block_device_info=None,
             reboot_type="SOFT"),
        cast("terminate_instance", instance=primitive(fill(instance)),
             bdms=primitive(objects.BlockDeviceMappingList(
                 objects=[fill(objects.BlockDeviceMapping)]))),
        cast("sync_instance_info", host_name=host(), instance_uuids=[new_uuid(), new_uuid()]),
        cast("update_instance_info", host_name=host(), instance_info=primitive(
            objects.InstanceList(objects=[fill(instance)]))),
    ]  # fmt: skip


def replies() -> list[Any]:
    """One round of what the conductor answers."""
    changed = ["updated_at", "vm_state", "task_state", "power_state", "launched_at"]
    count = RANDOM.randrange(1, len(changed))
    stamp = moment().isoformat().replace("+00:00", "Z")
    return [
        [{"updated_at": stamp, "obj_what_changed": changed[:count]}, None],
        [{"updated_at": stamp, "last_seen_up": stamp, "obj_what_changed": []}, None],
        primitive(objects.InstanceList(objects=[fill(objects.Instance)])),
        primitive(objects.MigrationList(objects=[fill(objects.Migration)])),
        primitive(objects.ComputeNodeList(objects=[fill(objects.ComputeNode)])),
        primitive(fill(objects.Service)),
        {"class": "UnexpectedTaskStateError", "module": "nova.exception", "message":
         f"Conflict updating instance {new_uuid()}. Expected: {{'task_state': ['spawning']}}. "
         "Actual: {'task_state': 'deleting'}", "tb": ["Traceback (most recent call last):\n"],
         "args": [], "kwargs": {"instance_uuid": new_uuid(), "code": 500}},
    ]  # fmt: skip


def packets() -> collections.abc.Iterator[bytes]:
    """One round of packets, as they are before compression."""
    plain = codec.Codec(compress=False)
    for number, message in enumerate(requests()):
        body = jsonutils.dump_as_bytes([request_context(), message])
        yield plain.encode(
            [
                messages.Deliver(
                    RANDOM.randbytes(8), 1, RANDOM.randbytes(8), RANDOM.randbytes(8), 3,
                    RANDOM.choice(list(messages.Kind)), RANDOM.randrange(9**6), number, 0,
                    new_uuid(), "/nova/conductor", 60000, 0, body,
                )
            ]
        )[1:]  # fmt: skip
    for reply in replies():
        body = jsonutils.dump_as_bytes(reply)
        yield plain.encode(
            [messages.Reply(RANDOM.randbytes(8), RANDOM.randbytes(8), 2, 7, 0, body)]
        )[1:]


def samples(rounds: int) -> list[bytes]:
    """Many packets, no two alike."""
    objects.register_all()
    return [packet for _ in range(rounds) for packet in packets()]


def main() -> None:
    """Write a dictionary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=pathlib.Path, help="where to write the dictionary")
    output = parser.parse_args().output
    trained = zstandard.train_dictionary(SIZE, samples(ROUNDS))
    output.write_bytes(trained.as_bytes())
    print(f"{output}: {len(trained)} bytes, dictionary id {trained.dict_id()}")


if __name__ == "__main__":
    main()
