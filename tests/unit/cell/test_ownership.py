# SPDX-License-Identifier: Apache-2.0
"""A compute writes what is of its own host, on each kind of database, through nova's own code."""

from __future__ import annotations

import datetime
import uuid as uuids
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy
from nova import objects
from nova.network import model

from nova_edge_bus import errors
from nova_edge_bus.cell import fencing
from nova_edge_bus.cell import once
from nova_edge_bus.cell import ownership
from tests.unit.cell import applying
from tests.unit.snapshot import rows
from tests.unit.snapshot.centre import Centre
from tests.unit.snapshot.centre import direct
from tests.unit.snapshot.edge import HOST

THIEF = "edge-2"
WRITER = f"compute:{THIEF}"
OWNER = f"compute:{HOST}"

pytestmark = pytest.mark.usefixtures("centre")


@pytest.fixture
def instance(centre: Centre) -> Any:
    uuid = rows.instance(centre).uuid
    with direct():
        return objects.Instance.get_by_uuid(
            centre.context(), uuid, ["metadata", "info_cache", "system_metadata"]
        )


def carry_out(
    centre: Centre, entry: applying.Entry, writer: str, *, journaled: bool = True
) -> Any:
    """Have an entry, or an unjournaled call, of this writer carried out as the driver does."""
    owned = ownership.ownership_of(entry.message, writer)
    if journaled:
        once.begin(entry.outbox, entry.seq, fencing.both(None, owned))
    elif owned is not None:
        once.guard(owned)
    try:
        return centre(entry.context, entry.message)
    finally:
        once.end()


def one(write: Callable[[], Any]) -> applying.Entry:
    (entry,) = applying.written(write)
    return entry


def save(thing: Any, **values: Any) -> applying.Entry:
    def write() -> None:
        for name, value in values.items():
            setattr(thing, name, value)
        thing.save()

    return one(write)


def stored(centre: Centre, uuid: str) -> Any:
    with direct():
        return objects.Instance.get_by_uuid(centre.context(), uuid)


def refused(centre: Centre, entry: applying.Entry, writer: str = WRITER, **how: Any) -> str:
    with pytest.raises(errors.Fenced) as caught:
        carry_out(centre, entry, writer, **how)
    return str(caught.value)


def migrate(centre: Centre, uuid: str, age: float | None = None, **values: Any) -> Any:
    """Make a migration of an instance that is on its way from us to the thief."""
    fields = {
        "source_compute": HOST,
        "dest_compute": THIEF,
        "status": "running",
        "migration_type": "live-migration",
        **values,
    }
    with direct():
        made = objects.Migration(centre.context(), instance_uuid=uuid, **fields)
        made.create()
        if age is not None:
            _age(centre, made.id, age)
        return objects.Migration.get_by_id(centre.context(), made.id)


def _age(centre: Centre, number: int, seconds: float) -> None:
    when = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    when -= datetime.timedelta(seconds=seconds)
    table = ownership._migrations
    engine = sqlalchemy.create_engine(centre.url)
    with engine.begin() as connection:
        connection.execute(table.update().where(table.c.id == number).values(updated_at=when))
    engine.dispose()


@pytest.mark.parametrize("journaled", [True, False])
def test_an_instance_of_another_host_is_not_written(
    centre: Centre, instance: Any, journaled: bool
) -> None:
    entry = save(instance, display_name="stolen")
    said = refused(centre, entry, journaled=journaled)
    assert said == f"host {THIEF} may not write Instance {instance.uuid} of host {HOST}"
    assert stored(centre, instance.uuid).display_name == "guest"
    carry_out(centre, entry, OWNER, journaled=journaled)
    assert stored(centre, instance.uuid).display_name == "stolen"


def test_it_does_not_help_to_say_that_it_is_ones_own(centre: Centre, instance: Any) -> None:
    entry = save(instance, host=THIEF)
    entry.message["args"]["objinst"]["nova_object.data"]["host"] = THIEF
    refused(centre, entry)
    assert stored(centre, instance.uuid).host == HOST


def test_nor_to_hide_it_in_ones_own(centre: Centre, instance: Any) -> None:
    own = rows.instance(centre, host=THIEF)
    with direct():
        own = objects.Instance.get_by_uuid(centre.context(), own.uuid, ["info_cache"])
    own.info_cache.network_info = model.NetworkInfo([])
    entry = save(own, display_name="mine")
    cache = entry.message["args"]["objinst"]["nova_object.data"]["info_cache"]
    cache["nova_object.data"]["instance_uuid"] = instance.uuid
    refused(centre, entry)


def test_what_belongs_to_the_instance(centre: Centre, instance: Any) -> None:
    fault = objects.InstanceFault(
        centre.context(), instance_uuid=instance.uuid, code=500, message="m", host=HOST
    )
    fault.details = ""
    for entry in (
        save(instance.info_cache, network_info=model.NetworkInfo([])),
        one(fault.create),
        one(instance.destroy),
        one(
            lambda: objects.VirtualInterface.delete_by_instance_uuid(
                centre.context(), instance.uuid
            )
        ),
    ):
        refused(centre, entry)


def test_a_disk_is_found_by_its_own_row(centre: Centre, instance: Any) -> None:
    """Whatever instance the message says that it belongs to."""
    own = rows.instance(centre, host=THIEF)
    with direct():
        disk = objects.BlockDeviceMapping(
            centre.context(),
            instance_uuid=instance.uuid,
            source_type="blank",
            destination_type="local",
            device_name="/dev/vdb",
        )
        disk.create()
    entry = save(disk, device_name="/dev/vdc")
    carry_out(centre, entry, OWNER)
    entry.message["args"]["objinst"]["nova_object.data"]["instance_uuid"] = own.uuid
    refused(centre, entry)


def test_services_and_nodes_of_another_host(centre: Centre) -> None:
    host = f"edge-{uuids.uuid4().hex[:8]}"
    with direct():
        service = objects.Service(centre.context(), host=host, binary="nova-compute", topic="c")
        service.create()
        node = objects.ComputeNode(
            centre.context(),
            host=host,
            hypervisor_hostname=host,
            uuid=str(uuids.uuid4()),
            **dict.fromkeys(
                (
                    "vcpus",
                    "memory_mb",
                    "local_gb",
                    "vcpus_used",
                    "memory_mb_used",
                    "local_gb_used",
                ),
                1,
            ),
            hypervisor_type="fake",
            hypervisor_version=1,
            cpu_info="",
        )
        node.create()
    entry = save(service, report_count=7)
    entry.message["args"]["objinst"]["nova_object.data"]["host"] = THIEF
    assert f"of host {host}" in refused(centre, entry)
    carry_out(centre, entry, f"compute:{host}")
    entry = save(node, memory_mb=2)
    refused(centre, entry)
    carry_out(centre, entry, f"compute:{host}")


def test_nothing_is_made_in_anothers_name(centre: Centre) -> None:
    made = objects.Service(centre.context(), host="edge-9", binary="nova-compute", topic="c")
    entry = one(made.create)
    assert "of host edge-9" in refused(centre, entry, journaled=False)
    carry_out(centre, entry, "compute:edge-9", journaled=False)


@pytest.mark.parametrize(
    ("values", "age", "lands"),
    [
        ({}, None, True),
        ({"status": "completed"}, 60, True),
        ({"status": "completed"}, 7200, False),
        ({"status": "running"}, 7200, True),
        ({"dest_compute": None, "status": "pre-migrating"}, None, True),
        ({"dest_compute": "edge-3"}, None, False),
        ({"source_compute": THIEF, "dest_compute": HOST}, None, True),
        (
            {"source_compute": THIEF, "dest_compute": HOST, "migration_type": "evacuation"},
            None,
            False,
        ),
    ],
)
def test_both_hosts_of_a_migration_write(
    centre: Centre, instance: Any, values: dict[str, Any], age: float | None, lands: bool
) -> None:
    migrate(centre, instance.uuid, age, **values)
    entry = save(instance, display_name="moved")
    if lands:
        carry_out(centre, entry, WRITER)
    else:
        refused(centre, entry)
    assert (stored(centre, instance.uuid).display_name == "moved") is lands


def test_a_migration_of_others(centre: Centre, instance: Any) -> None:
    entry = save(migrate(centre, instance.uuid, dest_compute="edge-3"), status="error")
    refused(centre, entry)
    carry_out(centre, entry, OWNER)


def test_an_instance_without_a_host_is_taken_by_who_builds_it(centre: Centre) -> None:
    uuid = rows.instance(centre, host=None, node=None).uuid
    with direct():
        waiting = objects.Instance.get_by_uuid(centre.context(), uuid)
    carry_out(centre, save(waiting, host=THIEF), WRITER)
    assert stored(centre, uuid).host == THIEF
    refused(centre, save(waiting, host=HOST), OWNER)


@pytest.mark.parametrize("writer", ["", "conductor:centre-1", "centre:centre-1", "api:centre-1"])
def test_the_centre_writes_everything(centre: Centre, instance: Any, writer: str) -> None:
    carry_out(centre, save(instance, display_name=writer or "x"), writer)
    assert stored(centre, instance.uuid).display_name == (writer or "x")


def test_a_call_leaves_no_row_of_an_entry(centre: Centre, instance: Any) -> None:
    """Else a second call would be taken for the first."""
    for name in ("first", "second"):
        carry_out(centre, save(instance, display_name=name), OWNER, journaled=False)
        assert stored(centre, instance.uuid).display_name == name


def test_reads_pass(centre: Centre, instance: Any) -> None:
    caught = applying.written(lambda: None)
    assert caught == []
    message = {"method": "object_action", "args": {"objmethod": "refresh", "objinst": {}}}
    message["args"]["objinst"] = {"nova_object.name": "Instance", "nova_object.data": {}}
    assert ownership.ownership_of(message, WRITER) is None
