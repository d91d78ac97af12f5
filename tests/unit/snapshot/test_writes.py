# SPDX-License-Identifier: Apache-2.0
"""Own writes while cut off: what they come to, and what becomes of them."""

from __future__ import annotations

import oslo_messaging
import pytest
from nova import exception
from nova import objects

from nova_edge_bus.snapshot.outcomes import Answer
from nova_edge_bus.snapshot.outcomes import Failure
from tests.unit.snapshot import rows
from tests.unit.snapshot.centre import Centre
from tests.unit.snapshot.centre import direct
from tests.unit.snapshot.centre import over
from tests.unit.snapshot.edge import HOST
from tests.unit.snapshot.edge import Edge
from tests.unit.snapshot.test_reads import absent
from tests.unit.snapshot.test_reads import by_uuid
from tests.unit.snapshot.test_reads import startup


def test_save_leaves_the_object_clean(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        edge.linked = False
        instance = by_uuid(edge, uuid)
        instance.power_state = 4
        instance.save()
        assert instance.obj_what_changed() == set()
        assert by_uuid(edge, uuid).power_state == 4
        edge.heal()
    with direct():
        assert objects.Instance.get_by_uuid(centre.context(), uuid).power_state == 4


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("powering-off", exception.UnexpectedTaskStateError),
        ("deleting", exception.UnexpectedDeletingTaskStateError),
    ],
)
def test_refused_where_the_centre_would_refuse(
    centre: Centre, edge: Edge, state: str, expected: type[Exception]
) -> None:
    uuid = rows.instance(centre, task_state=state).uuid

    def compare_and_set(instance: objects.Instance) -> Exception:
        instance.vm_state = "stopped"
        with pytest.raises(expected) as caught:
            instance.save(expected_task_state=[None, "rebooting"])
        return caught.value

    with over(edge):
        startup(edge)
        edge.linked = False
        local = compare_and_set(by_uuid(edge, uuid))
    with direct():
        central = compare_and_set(objects.Instance.get_by_uuid(centre.context(), uuid))
    assert type(local) is type(central)
    assert local.kwargs == central.kwargs
    assert str(local) == str(central)


def test_refused_for_the_vm_state(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        edge.linked = False
        instance = by_uuid(edge, uuid)
        instance.task_state = "resize_prep"
        with pytest.raises(exception.InstanceUpdateConflict):
            instance.save(expected_vm_state=["stopped"], expected_task_state=None)


def test_compares_with_our_own_earlier_write(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        edge.linked = False
        instance = by_uuid(edge, uuid)
        instance.task_state = "powering-off"
        instance.save(expected_task_state=[None])
        instance.task_state = None
        instance.save(expected_task_state=["powering-off"])
        assert by_uuid(edge, uuid).task_state is None
        edge.heal()


def test_comparing_with_an_unknown_instance_is_left_to_the_centre(
    centre: Centre, edge: Edge
) -> None:
    stranger = rows.instance(centre)
    stranger._context = edge.context()
    edge.linked = False
    stranger.task_state = "powering-off"
    with over(edge):
        with pytest.raises(oslo_messaging.MessagingTimeout):
            stranger.save(expected_task_state=[None])
        stranger.save()


def test_command_brings_the_newer_task_state(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        with direct():
            instance = objects.Instance.get_by_uuid(centre.context(), uuid)
            instance.task_state = "powering-off"
            instance.save()
        edge.snapshot.learn_command(
            {"method": "stop_instance", "args": {"instance": rows.wire(instance)}}
        )
        edge.linked = False
        assert startup(edge)[0].task_state == "powering-off"


def test_old_command_changes_nothing(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre, task_state="powering-off").uuid
    with direct():
        old = rows.wire(objects.Instance.get_by_uuid(centre.context(), uuid))
        instance = objects.Instance.get_by_uuid(centre.context(), uuid)
        instance.task_state = None
        instance.save()
    old["nova_object.data"]["updated_at"] = "2001-01-01T00:00:00Z"
    with over(edge):
        startup(edge)
        edge.snapshot.learn_command({"method": "stop_instance", "args": {"instance": old}})
        edge.linked = False
        assert startup(edge)[0].task_state is None


def test_reply_does_not_undo_a_pending_write(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        edge.linked = False
        instance = by_uuid(edge, uuid)
        instance.power_state = 4
        instance.save()
        edge.linked = True
        startup(edge)
        edge.linked = False
        assert startup(edge)[0].power_state == 4


def test_refused_write_makes_the_instance_unknown(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        with direct():
            central = objects.Instance.get_by_uuid(centre.context(), uuid)
            central.task_state = "deleting"
            central.save()
        edge.linked = False
        instance = by_uuid(edge, uuid)
        instance.power_state = 4
        instance.task_state = "rebooting"
        instance.save(expected_task_state=[None])
        with pytest.raises(exception.UnexpectedDeletingTaskStateError):
            edge.heal()
        edge.linked = False
        with absent():
            by_uuid(edge, uuid)
        with absent():
            startup(edge)


def test_instance_deleted_centrally_leaves_the_list(centre: Centre, edge: Edge) -> None:
    uuid, other = (rows.instance(centre).uuid for _ in range(2))
    with over(edge):
        startup(edge)
        instance = by_uuid(edge, uuid)
        with direct():
            objects.Instance.get_by_uuid(centre.context(), uuid).destroy()
        instance.power_state = 4
        with pytest.raises(exception.InstanceNotFound):
            instance.save()
        edge.linked = False
        assert [each.uuid for each in startup(edge)] == [other]


def test_migration_context_is_dropped(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        by_uuid(edge, uuid, "migration_context")
        edge.linked = False
        instance = by_uuid(edge, uuid, "migration_context")
        instance.drop_migration_context()
        assert instance.migration_context is None


def test_events_return_nothing_when_told_so(edge: Edge) -> None:
    edge.linked = False
    event = objects.InstanceActionEvent
    with over(edge):
        context, uuid = edge.context(), "instance"
        assert event.event_start(context, uuid, "compute_stop", want_result=False) is None
        assert (
            event.event_finish_with_failure(
                context, uuid, "compute_stop", exc_val=None, exc_tb=None, want_result=False
            )
            is None
        )
        with pytest.raises(oslo_messaging.MessagingTimeout):
            event.event_start(context, uuid, "compute_stop")


def test_destroyed_instance_is_gone_for_later_saves(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        edge.linked = False
        instance, late = by_uuid(edge, uuid), by_uuid(edge, uuid)
        instance.destroy()
        assert instance.deleted
        late.power_state = 4
        with pytest.raises(exception.InstanceNotFound):
            late.save()


def test_flavors_are_saved_together(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        edge.linked = False
        first, second = (by_uuid(edge, uuid, "flavor") for _ in range(2))
        first.old_flavor = rows.flavor()
        first.save()
        second.flavor = rows.flavor()
        second.flavor.memory_mb = 1024
        second.save()
        seen = by_uuid(edge, uuid, "flavor")
        edge.heal()
        central = by_uuid(edge, uuid, "flavor")
    assert central.old_flavor is None
    for name in ("flavor", "old_flavor", "new_flavor"):
        assert rows.primitive(getattr(seen, name)) == rows.primitive(getattr(central, name))


def test_destroyed_instance_takes_its_volumes_and_migrations_along(
    centre: Centre, edge: Edge
) -> None:
    uuid = rows.instance(centre).uuid
    rows.volume(centre, uuid)
    rows.migration(centre, uuid)
    with over(edge):
        startup(edge)
        context = edge.context()
        volumes = objects.BlockDeviceMappingList.get_by_instance_uuid
        migrations = objects.MigrationList.get_in_progress_and_error
        assert volumes(context, uuid)
        assert migrations(context, HOST, rows.NODE)
        edge.linked = False
        by_uuid(edge, uuid).destroy()
        assert not volumes(context, uuid)
        assert not migrations(context, HOST, rows.NODE)


def test_a_write_that_was_not_journaled_leaves_nothing_behind(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre, task_state=None).uuid
    with over(edge):
        startup(edge)
        edge.linked = False
        instance = by_uuid(edge, uuid)
        before = edge.snapshot.unsettled()
        instance.task_state = "powering-off"
        instance.save(expected_task_state=[None])
        (seq,) = set(edge.snapshot.unsettled()) - set(before)
        edge.snapshot.retract(seq)
        assert by_uuid(edge, uuid).task_state is None


def test_a_write_in_flight_is_compared_with_what_was_before_it(centre: Centre, edge: Edge) -> None:
    """It is in the journal already, and must not be refused because of itself."""
    uuid = rows.instance(centre, task_state=None).uuid
    with over(edge):
        startup(edge)
        edge.linked = False
        instance = by_uuid(edge, uuid)
        instance.task_state = "powering-off"
        instance.save(expected_task_state=[None])
    (seq,) = edge.snapshot.unsettled()
    message = edge.messages[-1]
    assert isinstance(edge.snapshot.answer_write(message), Failure)
    assert isinstance(edge.snapshot.answer_write(message, before=seq), Answer)


def test_a_write_is_noted_with_the_host_of_its_instance(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre, task_state=None).uuid
    with over(edge):
        startup(edge)
        edge.linked = False
        instance = by_uuid(edge, uuid)
        instance.power_state = 4
        instance.save()
        save = edge.messages[-1]
        objects.VirtualInterface.delete_by_instance_uuid(edge.context(), uuid)
        end_of_ports = edge.messages[-1]
    for message in (save, end_of_ports):
        assert edge.snapshot.before(message) == {"instance_host": HOST}


@pytest.mark.parametrize("failure", ["Fenced", "UnexpectedTaskStateError", "InstanceNotFound"])
def test_a_write_after_a_refused_one_is_noted_with_the_host_too(
    centre: Centre, edge: Edge, failure: str
) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        edge.linked = False
        instance = by_uuid(edge, uuid)
        instance.power_state = 4
        instance.save()
        edge.snapshot.settled(*edge.snapshot.unsettled(), None, {"class": failure})
    assert edge.snapshot.before(edge.messages[-1]) == {"instance_host": HOST}


def test_a_write_is_noted_with_the_host_after_all_was_forgotten(
    centre: Centre, edge: Edge
) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        edge.linked = False
        instance = by_uuid(edge, uuid)
        edge.snapshot.forget()
        instance.power_state = 4
        instance.save()
    assert edge.snapshot.before(edge.messages[-1]) == {"instance_host": HOST}
