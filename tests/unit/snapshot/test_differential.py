# SPDX-License-Identifier: Apache-2.0
"""Random histories: a cut-off host hears what a real database would say, or nothing.

The *shadow* is a second database: a copy of the centre's as it was at the last contact, to which
our own writes of the cut are applied as well. While cut off, each answer must equal the shadow's.
"""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import hypothesis
import oslo_messaging
import pytest
from hypothesis import strategies as st
from nova import exception
from nova import objects
from nova.network import model

from tests.unit.snapshot import rows
from tests.unit.snapshot.centre import Centre
from tests.unit.snapshot.centre import direct
from tests.unit.snapshot.centre import over
from tests.unit.snapshot.edge import HOST
from tests.unit.snapshot.edge import Edge

CLOCKED = {"updated_at", "last_seen_up", "deleted_at"}
"""What only the centre's clock can tell."""

STATES = [None, "powering-off", "rebooting", "deleting"]
Read = Callable[[Any], Any]


def numa_topology(uuid: str, cores: int) -> Any:
    cell = objects.InstanceNUMACell(
        id=0,
        cpuset=set(range(cores)),
        pcpuset=set(),
        memory=512,
        pagesize=None,
        cpu_pinning_raw={},
    )
    return objects.InstanceNUMATopology(instance_uuid=uuid, cells=[cell])


def reads(uuids: list[str]) -> dict[str, Read]:
    """Every read to compare, by name."""
    instances, migrations = objects.InstanceList, objects.MigrationList
    building = {"vm_state": "building", "host": HOST, "deleted": False}
    images = {"deleted": False, "soft_deleted": True, "host": [HOST]}
    pending = {"deleted": True, "soft_deleted": False, "host": HOST, "cleaned": False}
    reaped = {"deleted": True, "soft_deleted": False, "uuid": uuids}
    rebooting = {"task_state": ["rebooting", "powering-off"], "host": HOST}
    found: dict[str, Read] = {
        "startup": lambda c: instances.get_by_host(
            c, HOST, expected_attrs=list(rows.STARTUP_ATTRIBUTES)
        ),
        "audit": lambda c: instances.get_by_host_and_node(
            c, HOST, rows.NODE, expected_attrs=list(rows.AUDIT_ATTRIBUTES)
        ),
        "power": lambda c: instances.get_by_host(c, HOST, expected_attrs=[], use_slave=True),
        "uuids": lambda c: instances.get_uuids_by_host(c, HOST),
        "node uuids": lambda c: instances.get_uuids_by_host_and_node(c, HOST, rows.NODE),
        "building": lambda c: instances.get_by_filters(c, dict(building), expected_attrs=[]),
        "images": lambda c: instances.get_by_filters(c, dict(images), expected_attrs=[]),
        "pending deletes": lambda c: instances.get_by_filters(
            c, dict(pending), expected_attrs=["system_metadata"]
        ),
        "reaped": lambda c: instances.get_by_filters(c, dict(reaped)),
        "rebooting": lambda c: instances.get_by_filters(c, dict(rebooting), expected_attrs=[]),
        "migrations": lambda c: migrations.get_in_progress_and_error(c, HOST, rows.NODE),
        "in progress": lambda c: migrations.get_in_progress_by_host_and_node(c, HOST, rows.NODE),
        "evacuations": lambda c: migrations.get_by_filters(
            c, {"source_compute": HOST, "status": ["done"], "migration_type": "evacuation"}
        ),
        "nodes": lambda c: objects.ComputeNodeList.get_all_by_host(c, HOST),
        "service": lambda c: objects.Service.get_by_host_and_binary(c, HOST, "nova-compute"),
    }
    bdms = objects.BlockDeviceMappingList.get_by_instance_uuid
    for uuid in uuids:
        found[f"volumes {uuid}"] = lambda c, uuid=uuid: bdms(c, uuid)
        found[f"instance {uuid}"] = lambda c, uuid=uuid: objects.Instance.get_by_uuid(
            c, uuid, expected_attrs=["system_metadata", "flavor"]
        )
        found[f"topology {uuid}"] = lambda c, uuid=uuid: (
            objects.InstanceNUMATopology.get_by_instance_uuid(c, uuid)
        )
    return found


def told(value: Any) -> Any:
    """A reply as compared: without what the centre's clock decides."""
    if isinstance(value, dict):
        return {name: told(each) for name, each in value.items() if name not in CLOCKED}
    return [told(each) for each in value] if isinstance(value, list) else value


class History:
    """A centre, its shadow, an edge, and what may happen to them."""

    def __init__(self, directory: pathlib.Path, empty: pathlib.Path, choose: Any) -> None:
        self.choose = choose
        self.directory = directory
        self.centre = Centre(empty).copy(directory / "centre.sqlite")
        self.edge = Edge(self.centre)
        self.shadow = self.centre
        self.uuids: list[str] = []
        self.copies = 0
        self.answered: set[str] = set()
        rows.service(self.centre)
        rows.compute_node(self.centre)

    def pick(self, *values: Any) -> Any:
        return self.choose(st.sampled_from(values))

    def contact(self) -> None:
        """Read everything from the centre; the shadow then holds what is known."""
        with over(self.edge):
            for read in reads(self.uuids).values():
                self._outcome(read, self.edge.context())
        if self.shadow is not self.centre:
            self.shadow.close()
        self.copies += 1
        self.shadow = self.centre.copy(self.directory / f"shadow-{self.copies}.sqlite")

    @staticmethod
    def _outcome(read: Read, context: Any) -> tuple[str, Any]:
        try:
            return "reply", told(rows.primitive(read(context)))
        except oslo_messaging.MessagingTimeout:
            return "absent", None
        except exception.NovaException as error:
            return "failure", type(error)

    def compare(self) -> None:
        """Ask everything of both."""
        for name, read in reads(self.uuids).items():
            with over(self.edge):
                kind, local = self._outcome(read, self.edge.context())
            with over(self.shadow):
                wanted = self._outcome(read, self.edge.context())
            if kind != "absent":
                assert (kind, local) == wanted, name
                self.answered.add(name.split()[0])

    def central_change(self, *, is_told: bool = False) -> None:
        """Somebody else changes the centre; *is_told* in a command that brings the instance."""
        if not self.uuids:
            return
        uuid, state = self.pick(*self.uuids), self.pick(*STATES)
        host = HOST if is_told else self.pick(HOST, "other")
        for centre in [self.centre, self.shadow] if is_told else [self.centre]:
            with direct():
                try:
                    instance = objects.Instance.get_by_uuid(
                        centre.context(), uuid, expected_attrs=["system_metadata"]
                    )
                except exception.InstanceNotFound:
                    return
                instance.task_state = state
                if not is_told:
                    instance.host = host
                instance.save()
        if is_told:
            message = {"method": "stop_instance", "args": {"instance": rows.wire(instance)}}
            self.edge.snapshot.learn_command(message)

    def boot(self) -> None:
        made = rows.instance(self.centre, vm_state=self.pick("active", "building", "stopped"))
        self.uuids.append(made.uuid)
        if self.pick(True, False):
            rows.volume(self.centre, made.uuid)
        if self.pick(True, False):
            rows.migration(self.centre, made.uuid)

    def own_write(self) -> None:
        """Write as nova-compute would, to the edge and to the shadow alike."""
        before = len(self.edge.messages)
        try:
            with over(self.edge):
                self._write_something()
            local: Any = None
        except oslo_messaging.MessagingTimeout:
            return
        except exception.NovaException as error:
            local = type(error)
        writes = [each for each in self.edge.messages[before:] if "objinst" in each["args"]]
        for message in writes if not self.edge.linked else ():
            try:
                self.shadow(self.edge.context().to_dict(), message)
                outcome: Any = None
            except exception.NovaException as error:
                outcome = type(error)
            assert local == outcome, message["args"]["objmethod"]

    def _write_something(self) -> None:
        context = self.edge.context()
        what = self.pick("instance", "instance", "instance", "node", "service", "migration", "bdm")
        if what == "node":
            node = objects.ComputeNodeList.get_all_by_host(context, HOST)[0]
            node.vcpus_used = self.pick(1, 2, 3)
            node.stats = {"load": str(self.pick(1, 2))}
            node.save()
        elif what == "service":
            service = objects.Service.get_by_compute_host(context, HOST)
            service.report_count += 1
            service.save()
        elif what == "migration":
            for each in objects.MigrationList.get_in_progress_and_error(context, HOST, rows.NODE):
                each.status = self.pick("running", "completed", "error")
                each.save()
        elif self.uuids:
            uuid = self.pick(*self.uuids)
            if what == "instance":
                self._write_instance(context, uuid)
                return
            for bdm in objects.BlockDeviceMappingList.get_by_instance_uuid(context, uuid):
                bdm.connection_info = self.pick("{}", '{"a": 1}')
                bdm.destroy() if self.pick(True, False, False) else bdm.save()

    def _write_instance(self, context: Any, uuid: str) -> None:
        attributes = list(rows.STARTUP_ATTRIBUTES) if self.pick(True, False) else []
        instance = objects.Instance.get_by_uuid(context, uuid, expected_attrs=attributes)
        way = self.pick("save", "save", "compare", "move", "destroy", "network", "numa", "flavor")
        if way == "destroy":
            instance.destroy()
            return
        if way == "network" and attributes:
            instance.info_cache.network_info = model.NetworkInfo.hydrate(
                [{"id": self.pick("a", "b")}]
            )
            instance.info_cache.save() if self.pick(True, False) else instance.save()
            return
        if way == "numa":
            instance.numa_topology = numa_topology(uuid, self.pick(1, 2))
        if way == "flavor" and attributes:
            instance.old_flavor, instance.new_flavor = instance.flavor, rows.flavor()
        if way == "move":
            instance.host, instance.node, instance.compute_id = "other", "other-node", 2
        if attributes:
            instance.system_metadata["s"] = self.pick("1", "2")
        instance.power_state = self.pick(1, 4)
        instance.task_state = self.pick(*STATES)
        expected = [self.pick(*STATES), self.pick(*STATES)] if way == "compare" else None
        instance.save(expected_task_state=expected)

    def heal(self) -> None:
        """Replay; what the centre refuses is discarded, as delivery would."""
        self.edge.linked = True
        for seq, context, message in self.edge.journal:
            try:
                reply = self.centre(context, message)
            except exception.NovaException as error:
                self.edge.snapshot.settled(seq, None, {"class": type(error).__name__})
            else:
                self.edge.snapshot.settled(seq, reply, None)
        self.edge.journal.clear()

    def restart(self) -> None:
        """Forget all but the rows."""
        rows_kept = list(self.edge.snapshot.dump())
        self.edge.snapshot.load(rows_kept)

    def close(self) -> None:
        self.centre.close()
        self.shadow.close()


def _run(data: Any, empty_database: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        history = History(pathlib.Path(directory), empty_database, data.draw)
        try:
            for _ in range(2):
                _one_round(history)
            assert {"startup", "audit", "power", "nodes", "service"} <= history.answered
        finally:
            history.close()


def _settings(examples: int) -> hypothesis.settings:
    # Shrinking would take hours at this pace.
    return hypothesis.settings(
        max_examples=examples,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("centre")
@_settings(3)
@hypothesis.given(data=st.data())
def test_answers_are_absent_or_the_shadows(empty_database: pathlib.Path, data: Any) -> None:
    _run(data, empty_database)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.usefixtures("centre")
@_settings(300)
@hypothesis.given(data=st.data())
def test_many_histories(empty_database: pathlib.Path, data: Any) -> None:
    _run(data, empty_database)


def _one_round(history: History) -> None:
    history.edge.linked = True
    for _ in range(history.choose(st.integers(1, 3))):
        history.boot()
    for _ in range(history.choose(st.integers(0, 3))):
        history.pick(history.own_write, history.central_change)()
    history.contact()
    for _ in range(history.choose(st.integers(0, 2))):
        history.central_change(is_told=True)
    history.edge.linked = False
    for _ in range(history.choose(st.integers(1, 6))):
        history.pick(history.own_write, history.own_write, history.central_change)()
        if history.pick(True, False, False):
            history.restart()
        history.compare()
    history.heal()
