# SPDX-License-Identifier: Apache-2.0
"""Answers that would make nova destroy something are never given.

What a real nova-compute can be made to show is in tests/nova/test_wrong_answers.py.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import oslo_messaging
import pytest
from nova import exception
from nova import objects
from nova.pci import manager as pci_manager

from tests.unit.snapshot import rows
from tests.unit.snapshot.centre import Centre
from tests.unit.snapshot.centre import direct
from tests.unit.snapshot.centre import over
from tests.unit.snapshot.edge import HOST
from tests.unit.snapshot.edge import Edge

_DELETED_QUERIES: tuple[dict[str, Any], ...] = (
    {"deleted": True, "soft_deleted": False},
    {"deleted": True},
    {"deleted": True, "soft_deleted": False, "host": HOST, "cleaned": False},
    {"deleted": True, "host": HOST},
    {"deleted": True, "vm_state": "active"},
)
_LIFE: tuple[dict[str, Any], ...] = (
    {"task_state": "powering-off"},
    {"vm_state": "stopped", "task_state": None, "power_state": 4},
    {"task_state": "deleting"},
    {"vm_state": "error", "task_state": None},
)


def absent() -> Any:
    return pytest.raises(oslo_messaging.MessagingTimeout)


def known(edge: Edge) -> Any:
    return objects.InstanceList.get_by_host(
        edge.context(), HOST, expected_attrs=list(rows.STARTUP_ATTRIBUTES)
    )


def audit(edge: Edge) -> Any:
    return objects.InstanceList.get_by_host_and_node(
        edge.context(), HOST, rows.NODE, expected_attrs=list(rows.AUDIT_ATTRIBUTES)
    )


def deleted(edge: Edge, filters: dict[str, Any], uuids: list[str]) -> list[str] | None:
    """The uuids in the answer to a query for deleted rows; None when there is no answer."""
    asked = {**filters, "uuid": list(uuids)} if "host" not in filters else dict(filters)
    try:
        found = objects.InstanceList.get_by_filters(edge.context(read_deleted="yes"), asked)
    except oslo_messaging.MessagingTimeout:
        return None
    return [each.uuid for each in found]


@pytest.mark.parametrize("filters", _DELETED_QUERIES, ids=str)
@pytest.mark.parametrize("asked_before", [True, False])
def test_a_query_for_deleted_rows_never_returns_a_live_one(
    centre: Centre, edge: Edge, filters: dict[str, Any], asked_before: bool
) -> None:
    """Whatever the edge itself has written since, and whether or not the centre was asked."""
    uuids = [rows.instance(centre).uuid for _ in range(3)]
    with over(edge):
        known(edge)
        if asked_before:
            assert deleted(edge, filters, uuids) == []
        edge.linked = False
        for changes in _LIFE:
            instance = objects.Instance.get_by_uuid(edge.context(), uuids[0])
            instance.update(changes)
            instance.save()
            assert deleted(edge, filters, uuids) in ([], None)
        objects.Instance.get_by_uuid(edge.context(), uuids[1]).destroy()
        # the time of its end is not known here, and the reaper would look at it
        assert deleted(edge, filters, uuids) is None


def test_devices_of_running_guests_are_not_freed(centre: Centre, edge: Edge) -> None:
    """As the resource audit does it, of a guest that it is told of, and of one that moved off."""
    node = rows.compute_node(centre)
    guests = [rows.instance(centre) for _ in range(2)]
    for number, guest in enumerate(guests):
        _pci_device(centre, node.id, number, guest.uuid)
    with over(edge):
        _devices(edge, node)
        audit(edge)
        edge.linked = False
        tracker = _devices(edge, node)
        tracker.clean_usage(audit(edge), [])
        assert {each.status for each in tracker.pci_devs} == {"allocated"}
        moved = objects.Instance.get_by_uuid(edge.context(), guests[0].uuid, expected_attrs=[])
        moved.host = "other"
        moved.save()
        tracker.clean_usage(audit(edge), [])
        assert [each.status for each in tracker.pci_devs] == ["available", "allocated"]


def test_an_audit_that_was_never_answered_frees_nothing(centre: Centre, edge: Edge) -> None:
    node = rows.compute_node(centre)
    _pci_device(centre, node.id, 0, rows.instance(centre).uuid)
    with over(edge):
        _devices(edge, node)
        assert not objects.InstanceList.get_by_host(edge.context(), "other", expected_attrs=[])
        edge.linked = False
        tracker = _devices(edge, node)
        with absent():
            tracker.clean_usage(audit(edge), [])
        assert [each.status for each in tracker.pci_devs] == ["allocated"]


def test_nodes_of_other_hosts_are_not_ours(centre: Centre, edge: Edge) -> None:
    """A node that the driver does not report is destroyed, so a foreign one must not be listed."""
    other = rows.compute_node(centre)
    with direct():
        other.host, other.hypervisor_hostname = "other", "node-2"
        other.save()
    own = rows.compute_node(centre)
    context = edge.context()
    with over(edge):
        objects.ComputeNodeList.get_all_by_uuids(context, [own.uuid, other.uuid])
        objects.ComputeNodeList.get_all_by_host(context, HOST)
        edge.linked = False
        found = objects.ComputeNodeList.get_all_by_host(context, HOST)
        assert [each.uuid for each in found] == [own.uuid]
        assert len(objects.ComputeNodeList.get_all_by_uuids(context, [own.uuid, other.uuid])) == 2


def test_a_node_is_neither_denied_nor_destroyed(centre: Centre, edge: Edge) -> None:
    """Told of none, nova drops its resource provider."""
    context = edge.context()
    with over(edge):
        edge.linked = False
        with absent():
            objects.ComputeNodeList.get_all_by_host(context, HOST)
        edge.linked = True
        with pytest.raises(exception.NotFound):
            objects.ComputeNodeList.get_all_by_host(context, HOST)
        edge.linked = False
        with absent():
            objects.ComputeNodeList.get_all_by_host(context, HOST)
        edge.linked = True
        node = rows.compute_node(centre)
        (found,) = objects.ComputeNodeList.get_all_by_host(context, HOST)
        edge.linked = False
        with absent():
            found.destroy()
        assert [each.id for each in objects.ComputeNodeList.get_all_by_host(context, HOST)] == [
            node.id
        ]


def test_the_centre_s_requests_outlive_saves_of_the_edge(centre: Centre, edge: Edge) -> None:
    """A save writes back all fields that its object has, asked for or not."""
    guest = rows.instance(centre)
    with over(edge):
        known(edge)
        objects.Instance.get_by_uuid(edge.context(), guest.uuid, expected_attrs=["pci_requests"])
        edge.linked = False
        with direct():
            _request_devices(centre, guest.uuid)
        for found in (known(edge)[0], objects.Instance.get_by_uuid(edge.context(), guest.uuid)):
            found.power_state = 4
            found.save()
        edge.heal()
    with direct():
        after = objects.Instance.get_by_uuid(
            centre.context(), guest.uuid, expected_attrs=["pci_requests"]
        )
        assert after.power_state == 4
        assert [each.alias_name for each in after.pci_requests.requests] == ["gpu"]


def test_a_start_is_told_the_task_state_that_this_host_has_written(
    centre: Centre, edge: Edge
) -> None:
    """Not the one of the command that began it, which a start would take up again."""
    guest = rows.instance(centre)
    with over(edge):
        known(edge)
        with direct():
            begun = objects.Instance.get_by_uuid(centre.context(), guest.uuid)
            begun.task_state = "powering-off"
            begun.save()
        edge.snapshot.learn_command(
            {"method": "stop_instance", "args": {"instance": rows.wire(begun)}}
        )
        edge.linked = False
        assert [each.task_state for each in known(edge)] == ["powering-off"]
        found = objects.Instance.get_by_uuid(edge.context(), guest.uuid)
        found.vm_state, found.task_state, found.power_state = "stopped", None, 4
        found.save(expected_task_state=["powering-off"])
        (started,) = known(edge)
        assert (started.vm_state, started.task_state) == ("stopped", None)


def test_an_overtaken_reply_with_somebody_unknown_ends_the_list(
    centre: Centre, edge: Edge
) -> None:
    first = rows.instance(centre)
    with over(edge):
        known(edge)
        message, asked_at = edge.messages[-1], edge.snapshot.moment()
        rows.instance(centre)
        reply = edge.centre(edge.context().to_dict(), message)
        _save(edge, first.uuid)
        edge.snapshot.learn(message, reply, asked_at=asked_at)
        edge.linked = False
        with absent():
            known(edge)


def test_an_overtaken_reply_without_somebody_known_ends_the_list(
    centre: Centre, edge: Edge
) -> None:
    first, second = (rows.instance(centre) for _ in range(2))
    with over(edge):
        known(edge)
        with direct():
            objects.Instance.get_by_uuid(centre.context(), second.uuid).destroy()
        message, asked_at = edge.messages[-1], edge.snapshot.moment()
        reply = edge.centre(edge.context().to_dict(), message)
        _save(edge, first.uuid)
        edge.snapshot.learn(message, reply, asked_at=asked_at)
        edge.linked = False
        with absent():
            known(edge)


def test_of_a_guest_in_a_command_only_fields_in_known_versions_are_taken(
    centre: Centre, edge: Edge
) -> None:
    """A build brings fields that are never read; the guest joins the lists all the same."""
    rows.instance(centre)
    with over(edge):
        known(edge)
        built = rows.instance(centre, host=None, node=None, compute_id=None)
        with direct():
            fresh = objects.Instance.get_by_uuid(
                centre.context(), built.uuid, expected_attrs=list(rows.STARTUP_ATTRIBUTES)
            )
        wire = rows.wire(fresh)
        data = wire["nova_object.data"]
        data["keypairs"] = {
            "nova_object.name": "KeyPairList",
            "nova_object.namespace": "nova",
            "nova_object.version": "1.3",
            "nova_object.data": {"objects": []},
        }
        data["flavor"]["nova_object.version"] = "9.9"
        edge.snapshot.learn_command(
            {"method": "build_and_run_instance", "args": {"instance": wire}}
        )
        edge.linked = False
        read = objects.Instance.get_by_uuid
        assert read(edge.context(), built.uuid, expected_attrs=["metadata"]).metadata
        with absent():
            read(edge.context(), built.uuid, expected_attrs=["flavor"])
        fresh._context = edge.context()
        fresh.host, fresh.node, fresh.compute_id = HOST, rows.NODE, 1
        fresh.save(expected_task_state=[None])
        listed = objects.InstanceList.get_by_host(edge.context(), HOST, expected_attrs=[])
        assert built.uuid in [each.uuid for each in listed]


def _save(edge: Edge, guest: str) -> None:
    found = objects.Instance.get_by_uuid(edge.context(), guest)
    found.power_state = 4
    found.save()


def _devices(edge: Edge, node: Any) -> Any:
    found = objects.ComputeNode.get_by_uuid(edge.context(), node.uuid)
    return pci_manager.PciDevTracker(edge.context(), found)


def _pci_device(centre: Centre, node_id: int, number: int, guest: str) -> None:
    with direct():
        device = objects.PciDevice.create(
            centre.context(),
            {
                "compute_node_id": node_id,
                "address": f"0000:81:00.{number}",
                "vendor_id": "8086",
                "product_id": "1520",
                "dev_id": f"pci_{number}",
                "label": "label",
                "dev_type": "type-PCI",
                "status": "allocated",
                "parent_addr": None,
                "numa_node": None,
                "extra_info": json.dumps({}),
            },
        )
        device.status = "allocated"
        device.instance_uuid = guest
        device.save()


def _request_devices(centre: Centre, guest: str) -> None:
    changed = objects.Instance.get_by_uuid(
        centre.context(), guest, expected_attrs=["pci_requests"]
    )
    changed.pci_requests = objects.InstancePCIRequests(
        instance_uuid=guest,
        requests=[
            objects.InstancePCIRequest(
                count=1, alias_name="gpu", spec=[{}], request_id=str(uuid.uuid4())
            )
        ],
    )
    changed.save()
