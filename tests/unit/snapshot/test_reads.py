# SPDX-License-Identifier: Apache-2.0
"""Reads while cut off: answered in full, or not at all."""

from __future__ import annotations

from typing import Any

import oslo_messaging
import pytest
from nova import exception
from nova import objects
from nova.network import model

from tests.unit.snapshot import rows
from tests.unit.snapshot.centre import Centre
from tests.unit.snapshot.centre import direct
from tests.unit.snapshot.centre import over
from tests.unit.snapshot.edge import HOST
from tests.unit.snapshot.edge import Edge


def audit(edge: Edge) -> Any:
    """The read of the resource tracker."""
    return objects.InstanceList.get_by_host_and_node(
        edge.context(), HOST, rows.NODE, expected_attrs=list(rows.AUDIT_ATTRIBUTES)
    )


def startup(edge: Edge) -> Any:
    return objects.InstanceList.get_by_host(
        edge.context(), HOST, expected_attrs=list(rows.STARTUP_ATTRIBUTES)
    )


def by_uuid(edge: Edge, uuid: str, *attributes: str) -> Any:
    return objects.Instance.get_by_uuid(edge.context(), uuid, expected_attrs=list(attributes))


def reaper(edge: Edge, *uuids: str) -> Any:
    filters = {"deleted": True, "soft_deleted": False, "uuid": list(uuids)}
    return objects.InstanceList.get_by_filters(edge.context(read_deleted="yes"), filters)


def absent() -> Any:
    return pytest.raises(oslo_messaging.MessagingTimeout)


def test_list_is_answered_as_the_centre_would(centre: Centre, edge: Edge) -> None:
    for _ in range(3):
        rows.instance(centre)
    with over(edge):
        before = rows.primitive(audit(edge))
        edge.linked = False
        after = rows.primitive(audit(edge))
    assert len(before["nova_object.data"]["objects"]) == 3
    assert after == before


def test_unasked_list_is_absent(centre: Centre, edge: Edge) -> None:
    rows.instance(centre)
    edge.linked = False
    with over(edge), absent():
        audit(edge)


def test_fields_are_exactly_those_asked_for(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        audit(edge)
        by_uuid(edge, uuid, "pci_requests", "metadata")
        edge.linked = False
        found = audit(edge)[0]
        assert not found.obj_attr_is_set("pci_requests")
        assert not found.obj_attr_is_set("metadata")
        assert found.obj_what_changed() == set()


def test_list_with_unknown_attribute_is_absent(centre: Centre, edge: Edge) -> None:
    rows.instance(centre)
    with over(edge):
        audit(edge)
        edge.linked = False
        with absent():
            startup(edge)


def test_narrower_questions_follow_from_a_complete_list(centre: Centre, edge: Edge) -> None:
    uuids = sorted(rows.instance(centre).uuid for _ in range(3))
    with over(edge):
        startup(edge)
        edge.linked = False
        context = edge.context()
        assert sorted(objects.InstanceList.get_uuids_by_host(context, HOST)) == uuids
        by_node = objects.InstanceList.get_by_host_and_node(context, HOST, rows.NODE)
        assert sorted(each.uuid for each in by_node) == uuids
        building = {"vm_state": "building", "host": HOST, "deleted": False}
        assert not objects.InstanceList.get_by_filters(context, building, expected_attrs=[])
        assert by_uuid(edge, uuids[0]).uuid == uuids[0]


def test_wider_question_does_not_follow(centre: Centre, edge: Edge) -> None:
    rows.instance(centre)
    with over(edge):
        audit(edge)
        edge.linked = False
        with absent():
            objects.InstanceList.get_by_host(edge.context(), HOST, expected_attrs=[])


def test_deleted_filter_never_returns_a_live_row(centre: Centre, edge: Edge) -> None:
    uuids = [rows.instance(centre).uuid for _ in range(2)]
    with over(edge):
        startup(edge)
        edge.linked = False
        assert not reaper(edge, *uuids)


def test_deleted_filter_on_an_unknown_instance_is_absent(centre: Centre, edge: Edge) -> None:
    known = rows.instance(centre).uuid
    unknown = rows.instance(centre, host="other").uuid
    with over(edge):
        startup(edge)
        edge.linked = False
        with absent():
            reaper(edge, known, unknown)


def test_destroyed_instance_leaves_live_lists_and_makes_deleted_ones_absent(
    centre: Centre, edge: Edge
) -> None:
    keep, drop = (rows.instance(centre).uuid for _ in range(2))
    with over(edge):
        startup(edge)
        filters = {"deleted": True, "soft_deleted": False, "host": HOST, "cleaned": False}
        assert not objects.InstanceList.get_by_filters(edge.context(), dict(filters))
        edge.linked = False
        by_uuid(edge, drop).destroy()
        assert [each.uuid for each in startup(edge)] == [keep]
        with absent():
            reaper(edge, keep, drop)
        with absent():
            objects.InstanceList.get_by_filters(edge.context(), dict(filters))
        edge.heal()
        edge.linked = False
        assert [each.uuid for each in startup(edge)] == [keep]


def test_moved_instance_leaves_the_list(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        edge.linked = False
        moved = by_uuid(edge, uuid)
        moved.host = "other"
        moved.save()
        assert not startup(edge)


def test_claimed_instance_joins_the_list(centre: Centre, edge: Edge) -> None:
    rows.instance(centre)
    with over(edge):
        startup(edge)
        built = rows.instance(centre, host=None, node=None, compute_id=None)
        with direct():
            fresh = objects.Instance.get_by_uuid(
                centre.context(), built.uuid, expected_attrs=list(rows.STARTUP_ATTRIBUTES)
            )
        edge.snapshot.learn_command(
            {"method": "build_and_run_instance", "args": {"instance": rows.wire(fresh)}}
        )
        edge.linked = False
        fresh._context = edge.context()
        fresh.host, fresh.node, fresh.compute_id = HOST, rows.NODE, 1
        fresh.save()
        assert built.uuid in [each.uuid for each in startup(edge)]


def test_unknown_instance_that_may_have_joined_makes_lists_absent(
    centre: Centre, edge: Edge
) -> None:
    rows.instance(centre)
    with over(edge):
        startup(edge)
        stranger = rows.instance(centre)
        edge.linked = False
        stranger._context = edge.context()
        stranger.display_name = "changed"
        stranger.save()
        with absent():
            startup(edge)


def test_compute_nodes_are_all_there_or_absent(centre: Centre, edge: Edge) -> None:
    context = edge.context()
    with over(edge):
        with pytest.raises(exception.NotFound):
            objects.ComputeNodeList.get_all_by_host(context, HOST)
        node = rows.compute_node(centre)
        edge.linked = False
        with absent():
            objects.ComputeNodeList.get_all_by_host(context, HOST)
        edge.linked = True
        objects.ComputeNodeList.get_all_by_host(context, HOST)
        edge.linked = False
        found = objects.ComputeNodeList.get_all_by_host(context, HOST)
        assert [each.uuid for each in found] == [node.uuid]
        assert objects.ComputeNode.get_by_uuid(context, node.uuid).id == node.id
        found[0].vcpus_used = 3
        found[0].save()
        assert objects.ComputeNode.get_by_uuid(context, node.uuid).vcpus_used == 3
        with absent():
            objects.ComputeNode.get_by_nodename(context, rows.NODE)


def test_service_that_did_not_exist_is_not_denied_after_its_creation(
    centre: Centre, edge: Edge
) -> None:
    context = edge.context()
    with over(edge):
        assert objects.Service.get_by_host_and_binary(context, HOST, "nova-compute") is None
        edge.linked = False
        assert objects.Service.get_by_host_and_binary(context, HOST, "nova-compute") is None
        edge.linked = True
        made = rows.service(centre)
        made._context = context
        made.report_count = 1
        made.save()
        edge.linked = False
        with absent():
            objects.Service.get_by_host_and_binary(context, HOST, "nova-compute")


def test_service_heartbeat_is_seen(centre: Centre, edge: Edge) -> None:
    context = edge.context()
    rows.service(centre)
    with over(edge):
        found = objects.Service.get_by_host_and_binary(context, HOST, "nova-compute")
        edge.linked = False
        found.report_count = 7
        found.save()
        assert objects.Service.get_by_compute_host(context, HOST).report_count == 7


def test_minimum_version_is_kept_until_our_own_changes(centre: Centre, edge: Edge) -> None:
    context = edge.context()
    rows.service(centre)
    with over(edge):
        service = objects.Service.get_by_host_and_binary(context, HOST, "nova-compute")
        version = objects.Service.get_minimum_version(context, "nova-compute")
        edge.linked = False
        assert objects.Service.get_minimum_version(context, "nova-compute") == version
        service.version += 1
        service.save()
        with absent():
            objects.Service.get_minimum_version(context, "nova-compute")


def test_migrations_leave_the_list_when_they_end(centre: Centre, edge: Edge) -> None:
    context = edge.context()
    instance = rows.instance(centre)
    rows.migration(centre, instance.uuid)
    rows.migration(centre, instance.uuid, status="completed")
    with over(edge):
        read = objects.MigrationList.get_in_progress_and_error
        found = read(context, HOST, rows.NODE)
        edge.linked = False
        assert rows.primitive(read(context, HOST, rows.NODE)) == rows.primitive(found)
        found[0].status = "completed"
        found[0].save()
        assert not read(context, HOST, rows.NODE)


def test_volumes_follow_their_own_destruction(centre: Centre, edge: Edge) -> None:
    context = edge.context()
    instance = rows.instance(centre)
    first, second = (rows.volume(centre, instance.uuid) for _ in range(2))
    read = objects.BlockDeviceMappingList.get_by_instance_uuid
    with over(edge):
        found = read(context, instance.uuid)
        edge.linked = False
        assert rows.primitive(read(context, instance.uuid)) == rows.primitive(found)
        changed = next(each for each in found if each.id == first.id)
        changed.connection_info = '{"a": 1}'
        changed.save()
        assert read(context, instance.uuid)[0].connection_info == '{"a": 1}'
        changed.destroy()
        assert [each.id for each in read(context, instance.uuid)] == [second.id]
        one = objects.BlockDeviceMapping.get_by_volume_and_instance
        assert one(context, second.volume_id, instance.uuid).id == second.id
        with absent():
            one(context, first.volume_id, instance.uuid)


def test_info_cache_follows_its_own_save(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        found = startup(edge)[0]
        edge.linked = False
        found.info_cache.network_info = model.NetworkInfo.hydrate([{"id": "port-1"}])
        found.info_cache.save()
        assert startup(edge)[0].info_cache.network_info[0]["id"] == "port-1"
        cache = objects.InstanceInfoCache.get_by_instance_uuid(edge.context(), uuid)
        assert cache.network_info[0]["id"] == "port-1"


def test_refresh_shows_what_is_known(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        edge.linked = False
        old = by_uuid(edge, uuid, "system_metadata")
        newer = by_uuid(edge, uuid)
        newer.task_state = "rebooting"
        newer.save()
        old.refresh()
        assert old.task_state == "rebooting"
        assert old.obj_what_changed() == set()


def test_departed_instance_is_not_relied_on(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre).uuid
    rows.instance(centre)
    with over(edge):
        startup(edge)
        with direct():
            moved = objects.Instance.get_by_uuid(centre.context(), uuid)
            moved.host = "other"
            moved.save()
        audit(edge)
        edge.linked = False
        assert len(audit(edge)) == 1
        with absent():
            by_uuid(edge, uuid)
        with absent():
            startup(edge)


def test_resources_that_are_null_are_null(centre: Centre, edge: Edge) -> None:
    """The end of a guest loads them, and must not wait for the link."""
    uuid = rows.instance(centre).uuid
    with over(edge):
        assert by_uuid(edge, uuid, "resources").resources is None
        expected = objects.ResourceList.get_by_instance_uuid(edge.context(), uuid)
        edge.linked = False
        assert objects.ResourceList.get_by_instance_uuid(edge.context(), uuid) is expected is None


def test_resources_that_were_never_read_are_absent(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        by_uuid(edge, uuid)
        edge.linked = False
        with absent():
            objects.ResourceList.get_by_instance_uuid(edge.context(), uuid)
