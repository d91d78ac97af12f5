# SPDX-License-Identifier: Apache-2.0
"""Message bodies that look like nova's: instances with realistic text, a few fields changing.

The wire of the edge bus compresses, so a body of one repeated letter would flatter it. What is
generated here differs from instance to instance, and from message to message in the fields that a
real save changes.
"""

import base64
import datetime
import json
import random
import typing
import uuid

INSTANCES = 64
"""How many different instances the messages of a run speak of, in turns, unless told otherwise."""

_WORDS = """
    apt-get systemctl enable restart network interface address gateway resolver mount format
    volume user group sudo nologin shell authorized keys password expire chrony timezone locale
    journal rotate kernel module sysctl hugepages isolcpus firewall accept drop policy chain
    proxy certificate bundle trust mirror repository package upgrade reboot write_files runcmd
    path permissions owner content encoding gzip append defer template hostname fqdn manage
""".split()  # noqa: SIM905 - a list of strings would take a page

_START = datetime.datetime(2025, 3, 1, 6, 0, 0)
_TASKS: tuple[tuple[str, str | None, int], ...] = (
    ("building", "scheduling", 0),
    ("building", "networking", 0),
    ("building", "block_device_mapping", 0),
    ("building", "spawning", 0),
    ("active", None, 1),
    ("active", "powering-off", 1),
    ("stopped", None, 4),
    ("stopped", "powering-on", 4),
)

Primitive = dict[str, typing.Any]


def _wrapped(name: str, version: str, data: Primitive) -> Primitive:
    return {
        "nova_object.name": name,
        "nova_object.namespace": "nova",
        "nova_object.version": version,
        "nova_object.data": data,
    }


def _timestamp(offset: int) -> str:
    return (_START + datetime.timedelta(seconds=offset)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _core(source: random.Random, index: int) -> Primitive:
    return {
        "id": 1000 + index,
        "uuid": str(uuid.UUID(int=source.getrandbits(128), version=4)),
        "host": f"edge-{source.randrange(400):03d}-compute-{index % 8}",
        "vm_state": "building",
        "task_state": "scheduling",
        "power_state": 0,
    }


def _attributes(source: random.Random, index: int) -> Primitive:
    return {
        "user_id": f"{source.getrandbits(128):032x}",
        "project_id": f"{source.getrandbits(128):032x}",
        "hostname": f"{source.choice(_WORDS)}-{index}",
        "display_name": f"{source.choice(_WORDS)}-{source.choice(_WORDS)}-{index}",
        "display_description": " ".join(source.choices(_WORDS, k=8)),
        "image_ref": str(uuid.UUID(int=source.getrandbits(128), version=4)),
        "reservation_id": f"r-{source.getrandbits(40):08x}",
        "memory_mb": 4096,
        "vcpus": 2,
        "root_gb": 20,
        "ephemeral_gb": 0,
        "launch_index": 0,
        "availability_zone": f"edge-{source.randrange(40)}",
        "node": f"edge-{index:03d}.example.net",
        "root_device_name": "/dev/vda",
        "config_drive": "True",
        "locked": False,
        "progress": 0,
        "deleted": False,
        "created_at": _timestamp(-source.randrange(10**7)),
        "launched_at": None,
        "terminated_at": None,
        "updated_at": _timestamp(0),
        "key_name": source.choice(_WORDS),
        "key_data": "ssh-ed25519 "
        + base64.b64encode(source.randbytes(51)).decode()
        + f" {source.choice(_WORDS)}@example.net",
        "access_ip_v4": None,
        "access_ip_v6": None,
        "shutdown_terminate": False,
        "disable_terminate": False,
        "auto_disk_config": True,
        "cell_name": None,
    }


def _flavor(source: random.Random) -> Primitive:
    data = {
        "id": source.randrange(50),
        "name": f"m1.{source.choice(_WORDS)}",
        "memory_mb": 4096,
        "vcpus": 2,
        "root_gb": 20,
        "ephemeral_gb": 0,
        "flavorid": str(uuid.UUID(int=source.getrandbits(128), version=4)),
        "swap": 0,
        "rxtx_factor": 1.0,
        "vcpu_weight": 0,
        "disabled": False,
        "is_public": True,
        "extra_specs": {"hw:cpu_policy": "dedicated", "hw:mem_page_size": "large"},
    }
    return _wrapped("Flavor", "1.2", data)


def _system_metadata(source: random.Random) -> dict[str, str]:
    return {
        "image_os_distro": "debian",
        "image_hw_disk_bus": "virtio",
        "image_hw_vif_model": "virtio",
        "image_hw_machine_type": "q35",
        "image_min_ram": "0",
        "image_min_disk": "20",
        "image_disk_format": "qcow2",
        "image_container_format": "bare",
        "image_base_image_ref": str(uuid.UUID(int=source.getrandbits(128), version=4)),
        "image_owner_specified.openstack.sha256": f"{source.getrandbits(256):064x}",
        "owner_user_name": source.choice(_WORDS),
        "owner_project_name": source.choice(_WORDS),
        "boot_roles": "member,reader",
    }


def _interface(source: random.Random) -> Primitive:
    port = uuid.UUID(int=source.getrandbits(128), version=4)
    octet = source.randrange(256)
    return {
        "id": str(port),
        "address": "fa:16:3e:" + ":".join(f"{byte:02x}" for byte in source.randbytes(3)),
        "network": {
            "id": str(uuid.UUID(int=source.getrandbits(128), version=4)),
            "bridge": "br-int",
            "label": f"{source.choice(_WORDS)}-net",
            "subnets": [
                {
                    "cidr": f"10.{octet}.0.0/16",
                    "dns": [{"address": f"10.{octet}.0.2", "type": "dns", "version": 4}],
                    "gateway": {"address": f"10.{octet}.0.1", "type": "gateway", "version": 4},
                    "ips": [
                        {
                            "address": f"10.{octet}.0.{source.randrange(4, 256)}",
                            "type": "fixed",
                            "version": 4,
                            "meta": {},
                            "floating_ips": [],
                        }
                    ],
                    "routes": [],
                    "version": 4,
                    "meta": {"dhcp_server": f"10.{octet}.0.3"},
                }
            ],
            "meta": {"tenant_id": f"{source.getrandbits(128):032x}", "mtu": 1442},
        },
        "type": "ovs",
        "details": {"port_filter": True, "connectivity": "l2", "bound_drivers": {"0": "ovn"}},
        "devname": f"tap{str(port)[:11]}",
        "ovs_interfaceid": str(port),
        "vnic_type": "normal",
        "active": True,
        "preserve_on_delete": False,
    }


def _info_cache(source: random.Random, owner: str, interfaces: int) -> Primitive:
    network = json.dumps([_interface(source) for _ in range(interfaces)])
    data = {"instance_uuid": owner, "network_info": network, "updated_at": _timestamp(0)}
    return _wrapped("InstanceInfoCache", "1.5", data)


def _user_data(source: random.Random, length: int) -> str:
    """A cloud-init script in base64, as the API stores it, *length* characters long."""
    lines = ["#cloud-config"]
    size = 0
    while size < length:
        lines.append(f"  - [ {', '.join(source.choices(_WORDS, k=source.randrange(3, 9)))} ]")
        size += len(lines[-1])
    return base64.b64encode("\n".join(lines).encode()).decode()[:length]


def json_size(value: object) -> int:
    """Bytes that *value* takes as JSON, which is how oslo.messaging serializes it."""
    return len(json.dumps(value).encode())


def instance(size: int, index: int) -> Primitive:
    """The primitive of instance number *index*, about *size* bytes of JSON; always the same one.

    :param size: bytes, at least 400; what the object's own fields do not fill is user data.
    """
    source = random.Random(f"{size}/{index}")
    data = _core(source, index)
    built = _wrapped("Instance", "2.8", data)
    built["nova_object.changes"] = ["vm_state", "task_state", "power_state"]
    sections: tuple[Primitive, ...] = (
        _attributes(source, index),
        {"system_metadata": _system_metadata(source)},
        {"flavor": _flavor(source), "old_flavor": None, "new_flavor": None},
        {"info_cache": _info_cache(source, data["uuid"], 1)},
        {"info_cache": _info_cache(source, data["uuid"], 3)},
    )
    room = size - json_size(built) - 20
    for section in sections:
        if json_size(section) < room:
            data.update(section)
            room = size - json_size(built) - 20
    if room > 0:
        data["user_data"] = _user_data(source, room)
    return built


def changed(base: Primitive, number: int, turn: int) -> Primitive:
    """A copy of instance *base* as the message *number* of a run saves it, its *turn*-th change.

    State, progress and times move; everything else is shared with *base*.
    """
    vm_state, task_state, power_state = _TASKS[turn % len(_TASKS)]
    data = dict(base["nova_object.data"])
    data["vm_state"] = vm_state
    data["task_state"] = task_state
    data["power_state"] = power_state
    if "updated_at" in data:
        data["updated_at"] = _timestamp(number)
        data["progress"] = number % 101
    return {**base, "nova_object.data": data}


class Bodies:
    """The instances of one body size, made once and handed out in turns."""

    def __init__(self, size: int, instances: int = INSTANCES) -> None:
        self.size = size
        self._instances = [instance(size, index) for index in range(instances)]
        self._by_uuid = {one["nova_object.data"]["uuid"]: one for one in self._instances}

    def saved(self, number: int) -> Primitive:
        """The instance that message *number* carries."""
        turn, index = divmod(number, len(self._instances))
        return changed(self._instances[index], number, turn)

    def uuid(self, number: int) -> str:
        """The uuid of the instance that message *number* asks for."""
        found: str = self._instances[number % len(self._instances)]["nova_object.data"]["uuid"]
        return found

    def stored(self, uuid: str, number: int) -> Primitive:
        """The instance *uuid* as a read numbered *number* finds it.

        :raises KeyError: when no instance has that uuid.
        """
        found = changed(self._by_uuid[uuid], number, number // len(self._instances))
        found.pop("nova_object.changes")
        return found


def payload(instance: Primitive, request_id: str) -> Primitive:
    """A notification about *instance*.

    It names its request itself, as nova's payloads do: oslo.messaging sends no context that is a
    mere dict with a notification.
    """
    data = {**instance["nova_object.data"], "request_id": request_id}
    return _wrapped("InstanceUpdatePayload", "2.1", data)


def context(request_id: str) -> Primitive:
    """The context of nova-compute's own tasks, which carries neither token nor catalogue."""
    return {
        "user_id": None,
        "project_id": None,
        "project_name": None,
        "user_name": None,
        "is_admin": True,
        "is_admin_project": True,
        "read_deleted": "no",
        "remote_address": None,
        "timestamp": "2025-03-01T06:00:00.000000",
        "request_id": request_id,
        "global_request_id": None,
        "quota_class": None,
        "service_catalog": [],
        "auth_token": None,
        "roles": [],
        "system_scope": None,
        "user_domain": None,
        "project_domain": None,
        "resource_uuid": None,
        "show_deleted": False,
        "read_only": False,
    }


def request_id(round_number: int, number: int) -> str:
    """A request id, formed like nova's, by which the receiver counts the message."""
    return f"req-{round_number:08x}-0000-4000-8000-{number:012x}"


def parse_request_id(text: str) -> tuple[int, int]:
    """Round and number out of :func:`request_id`.

    :raises ValueError: when *text* is not such an id.
    """
    return int(text[4:12], 16), int(text[28:], 16)
