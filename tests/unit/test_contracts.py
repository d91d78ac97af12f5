# SPDX-License-Identifier: Apache-2.0
"""The contracts of nova's calls, held against nova's own objects and what it puts on the wire."""

import importlib
import os
from typing import Any

import pytest

from nova_edge_bus import contracts

Contract = contracts.Contract
UUID = "5ab4d9a0-9d8c-4d2f-a3ad-4b3c0a7a4c4e"
OTHER = "0e4b8f52-54a5-4dd4-8c92-6a1e6fbbd2f1"
CLASS_RECORDS = [
    ("InstanceAction", "action_start"),
    ("InstanceAction", "action_finish"),
    ("InstanceActionEvent", "event_start"),
    ("InstanceActionEvent", "event_finish_with_failure"),
    ("InstanceActionEvent", "event_finish"),
    ("VirtualInterface", "delete_by_instance_uuid"),
]


@pytest.fixture(scope="module")
def objects() -> Any:
    """Nova's objects, all of them registered."""
    try:
        module = importlib.import_module("nova.objects")
    except ImportError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"cannot import nova: {error}", pytrace=False)
        pytest.skip(f"cannot import nova: {error}")
    module.register_all()
    return module


class Wire:
    """Stands where the RPC client does: keeps what nova would send, as it would send it."""

    def __init__(self, context: Any) -> None:
        self.messages: list[dict[str, Any]] = []
        self._context = context
        base = importlib.import_module("nova.objects.base")
        self._serializer = base.NovaObjectSerializer()

    def prepare(self, **how: Any) -> "Wire":
        return self

    def call(self, context: Any, method: str, **args: Any) -> Any:
        packed = {
            name: self._serializer.serialize_entity(context, value) for name, value in args.items()
        }
        self.messages.append({"method": method, "args": packed})
        return ({}, None) if method == "object_action" else None

    cast = call

    def terms(self, *, is_call: bool = True) -> contracts.Terms:
        """The terms of the last message."""
        return contracts.classify(self.messages[-1], is_call=is_call)


@pytest.fixture
def context(objects: Any) -> Any:
    module = importlib.import_module("nova.context")
    return module.RequestContext("user", "project", is_admin=True)


@pytest.fixture
def wire(objects: Any, context: Any, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Nova's objects call through the conductor's RPC API, which ends here."""
    rpcapi = importlib.import_module("nova.conductor.rpcapi")
    base = importlib.import_module("nova.objects.base")
    wire = Wire(context)
    api = rpcapi.ConductorAPI.__new__(rpcapi.ConductorAPI)
    api.client = wire
    monkeypatch.setattr(base.NovaObject, "indirection_api", api)
    return wire


def instance(objects: Any, context: Any) -> Any:
    made = objects.Instance(context, uuid=UUID, host="edge-7")
    made.obj_reset_changes()
    made.display_name = "changed"
    return made


# What nova sends


@pytest.mark.parametrize(("name", "action"), CLASS_RECORDS)
def test_the_instance_of_a_class_action_is_its_first_argument_on_the_wire(
    objects: Any, context: Any, wire: Wire, name: str, action: str
) -> None:
    further = ["event"] if action != "action_finish" and name != "VirtualInterface" else []
    getattr(getattr(objects, name), action)(context, UUID, *further)
    sent = wire.messages[-1]["args"]
    assert (sent["objname"], sent["objmethod"], sent["args"][0]) == (name, action, UUID)
    assert wire.terms() == contracts.Terms(Contract.RECORD, f"instance:{UUID}", f"{name}.{action}")
    getattr(getattr(objects, name), action)(context, *further, instance_uuid=UUID)
    assert wire.terms().group == f"instance:{UUID}"


def test_a_save_is_a_record_of_its_instance(objects: Any, context: Any, wire: Wire) -> None:
    instance(objects, context).save(expected_task_state=[None])
    assert wire.terms() == contracts.Terms(Contract.RECORD, f"instance:{UUID}", "Instance.save")


def test_what_belongs_to_an_instance_stays_in_its_group(
    objects: Any, context: Any, wire: Wire
) -> None:
    objects.Migration(context, id=3, instance_uuid=UUID, status="done").save()
    assert wire.terms() == contracts.Terms(Contract.RECORD, f"instance:{UUID}", "Migration.save")
    objects.BlockDeviceMapping(context, id=3, instance_uuid=UUID, device_name="vda").save()
    assert wire.terms().group == f"instance:{UUID}"
    objects.InstanceFault(context, instance_uuid=UUID, code=500, message="x").create()
    assert wire.terms().contract is Contract.RECORD
    assert wire.terms().group == f"instance:{UUID}"
    objects.InstanceInfoCache(context, instance_uuid=UUID).save()
    assert wire.terms().contract is Contract.MERGE
    assert wire.terms().group == f"instance:{UUID}"


def test_what_belongs_to_a_host_stays_in_its_group(objects: Any, context: Any, wire: Wire) -> None:
    service = objects.Service(context, id=1, host="edge-7", binary="nova-compute")
    service.obj_reset_changes()
    service.report_count = 5
    service.save()
    assert wire.terms() == contracts.Terms(
        Contract.MERGE, "host:edge-7", "Service.save", last=True
    )
    node = objects.ComputeNode(context, id=1, host="edge-7", memory_mb=1)
    node.save()
    assert wire.terms() == contracts.Terms(Contract.MERGE, "host:edge-7", "ComputeNode.save")


def test_a_device_stays_in_one_group_while_it_changes_hands(
    objects: Any, context: Any, wire: Wire
) -> None:
    free = objects.PciDevice(context, compute_node_id=4, address="0:1", instance_uuid=None)
    free.status = "available"
    free.save()
    assert wire.terms().group == "node:4"
    taken = objects.PciDevice(context, compute_node_id=4, address="0:1", instance_uuid=UUID)
    taken.status = "allocated"
    taken.save()
    assert wire.terms() == contracts.Terms(Contract.MERGE, "node:4", "PciDevice.save")
    objects.PciDeviceList.get_by_compute_node(context, 4)
    assert wire.terms().group == "node:4"


def test_creates_and_destroys_that_need_an_answer_are_refused_when_cut_off(
    objects: Any, context: Any, wire: Wire
) -> None:
    objects.Migration(context, instance_uuid=UUID).create()
    assert wire.terms() == contracts.Terms(Contract.REFUSE, f"instance:{UUID}", "Migration.create")
    objects.Service(context, host="edge-7", binary="nova-compute").create()
    assert wire.terms() == contracts.Terms(Contract.REFUSE, "host:edge-7", "Service.create")


def reads(objects: Any) -> list[tuple[Any, tuple[Any, ...], str]]:
    """Class methods that read, with arguments, and the group that each has to wait for."""
    group = f"instance:{UUID}"
    return [
        (objects.Instance.get_by_uuid, (UUID,), group),
        (objects.InstanceInfoCache.get_by_instance_uuid, (UUID,), group),
        (objects.BlockDeviceMappingList.get_by_instance_uuid, (UUID,), group),
        (objects.BlockDeviceMapping.get_by_volume_and_instance, (OTHER, UUID), group),
        (objects.Migration.get_by_id_and_instance, (7, UUID), group),
        (objects.Migration.get_by_instance_and_status, (UUID, "done"), group),
        (objects.InstanceAction.get_by_request_id, (UUID, "req-1"), group),
        (objects.VirtualInterface.get_by_instance_and_network, (UUID, OTHER), group),
        (objects.Service.get_by_host_and_binary, ("edge-7", "nova-compute"), "host:edge-7"),
        (objects.Service.get_by_compute_host, ("edge-7",), "host:edge-7"),
        (objects.ComputeNode.get_by_host_and_nodename, ("edge-7", "n"), "host:edge-7"),
        (objects.ComputeNodeList.get_all_by_host, ("edge-7",), "host:edge-7"),
        (objects.InstanceList.get_by_host, ("edge-7",), ""),
        (objects.MigrationList.get_by_filters, ({"host": "edge-7"},), ""),
        (objects.ComputeNode.get_by_uuid, (OTHER,), ""),
    ]


def test_a_read_waits_for_the_writes_of_its_group_and_may_be_repeated(
    objects: Any, context: Any, wire: Wire
) -> None:
    for method, arguments, group in reads(objects):
        method(context, *arguments)
        terms = wire.terms()
        assert (terms.contract, terms.repeatable) == (Contract.RELAY, True), terms
        assert terms.group == group, terms
        assert not terms.journaled


def test_a_refresh_is_a_read_of_its_instance(objects: Any, context: Any, wire: Wire) -> None:
    made = instance(objects, context)
    message = {
        "method": "object_action",
        "args": {"objinst": made.obj_to_primitive(), "objmethod": "refresh", "args": []},
    }
    terms = contracts.classify(message, is_call=True)
    assert terms == contracts.Terms(
        Contract.RELAY, f"instance:{UUID}", "Instance.refresh", repeatable=True
    )


# Calls and casts of the services


def test_a_cast_stays_in_the_group_of_its_instance(objects: Any, context: Any) -> None:
    packed = instance(objects, context).obj_to_primitive()
    stop = {"method": "stop_instance", "args": {"instance": packed, "clean_shutdown": True}}
    terms = contracts.classify(stop, is_call=False)
    assert terms == contracts.Terms(Contract.COMMAND, f"instance:{UUID}", "stop_instance")
    again = {"method": "build_instances", "args": {"instances": [packed]}}
    assert contracts.classify(again, is_call=False).group == f"instance:{UUID}"
    two = {"method": "external_instance_event", "args": {"instances": [packed, packed]}}
    assert contracts.classify(two, is_call=False).group == ""


def test_a_call_that_acts_is_refused_when_cut_off_and_never_repeated() -> None:
    message = {"method": "attach_interface", "args": {"instance_uuid": UUID}}
    terms = contracts.classify(message, is_call=True)
    assert terms == contracts.Terms(Contract.REFUSE, f"instance:{UUID}", "attach_interface")


def test_the_namespace_tells_methods_of_one_name_apart() -> None:
    message = {"method": "attach_volume", "args": {}}
    of_the_compute = contracts.classify(message, is_call=True)
    assert of_the_compute == contracts.Terms(Contract.RELAY, "", "attach_volume")
    of_the_conductor = contracts.classify({**message, "namespace": "compute_task"}, is_call=True)
    assert of_the_conductor == contracts.Terms(Contract.REFUSE, "", "attach_volume")


def test_a_call_that_no_row_names_is_relayed_and_never_repeated() -> None:
    message = {"method": "get_what_nova_will_have", "args": {"instance_uuid": UUID}}
    terms = contracts.classify(message, is_call=True)
    assert terms == contracts.Terms(Contract.RELAY, f"instance:{UUID}", "get_what_nova_will_have")


@pytest.mark.parametrize(
    ("namespace", "method"),
    [
        ("baseapi", "ping"),
        (None, "oslo_rpc_server_ping"),
        (None, "object_backport_versions"),
    ],
)
def test_calls_without_effect_may_be_repeated(namespace: str | None, method: str) -> None:
    message = {"method": method, "namespace": namespace, "args": {"arg": "x"}}
    terms = contracts.classify(message, is_call=True)
    assert terms == contracts.Terms(Contract.RELAY, "", method, repeatable=True)


def test_a_fanout_is_not_kept() -> None:
    message = {"method": "update_instance_info", "args": {"instance_uuid": UUID}}
    terms = contracts.classify(message, is_call=False, fanout=True)
    assert terms == contracts.Terms(Contract.DROP, "", "update_instance_info")


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"method": "object_action"},
        {"method": "object_action", "args": {"objinst": None, "objmethod": None}},
        {"method": "object_class_action_versions", "args": {"args": None, "kwargs": None}},
        {"method": "stop_instance", "args": {"instance": {"uuid": UUID}, "instances": []}},
        {"method": "stop_instance", "args": None},
    ],
)
def test_a_message_of_any_other_shape_is_classified_too(message: dict[str, Any]) -> None:
    terms = contracts.classify(message, is_call=True)
    assert (terms.group, terms.repeatable) == ("", False)
