# SPDX-License-Identifier: Apache-2.0
"""A merged save leaves nova's database as the two saves in turn would."""

from __future__ import annotations

import copy
import json
import pathlib
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from nova import context as nova_context
from nova import objects
from nova.network import model

from nova_edge_bus.autonomy import bodies
from nova_edge_bus.autonomy import merging
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot import rows

Changes = dict[str, Any]
NETWORKS = st.sampled_from(["net-a", "net-b", "net-c"])


def service(centre: centres.Centre) -> Any:
    return rows.service(centre)


def compute_node(centre: centres.Centre) -> Any:
    return rows.compute_node(centre)


def pci_device(centre: centres.Centre) -> Any:
    node = rows.compute_node(centre)
    device = objects.PciDevice.create(
        centre.context(),
        {
            "compute_node_id": node.id, "address": "0000:81:00.1", "vendor_id": "8086",
            "product_id": "1520", "dev_type": "type-PCI", "status": "available", "numa_node": None,
            "dev_id": "pci_1", "label": "l", "parent_addr": None,
        },
    )  # fmt: skip
    with centres.direct():
        device.save()
    return device


def info_cache(centre: centres.Centre) -> Any:
    instance = rows.instance(centre)
    with centres.direct():
        found = objects.InstanceInfoCache.get_by_instance_uuid(centre.context(), instance.uuid)
    return found


def network(name: str) -> Any:
    return model.NetworkInfo([model.VIF(id=f"vif-{name}", network=model.Network(id=name))])


KINDS: dict[str, tuple[Callable[[centres.Centre], Any], st.SearchStrategy[Changes]]] = {
    "Service": (
        service,
        st.fixed_dictionaries(
            {},
            optional={
                "report_count": st.integers(1, 5),
                "disabled": st.booleans(),
                "disabled_reason": st.none() | st.sampled_from(["a", "b"]),
                "forced_down": st.booleans(),
            },
        ),
    ),
    "ComputeNode": (
        compute_node,
        st.fixed_dictionaries(
            {},
            optional={
                "vcpus_used": st.integers(0, 3),
                "memory_mb_used": st.integers(0, 3),
                "free_disk_gb": st.none() | st.integers(0, 3),
                "running_vms": st.integers(0, 3),
                "stats": st.dictionaries(st.sampled_from("ab"), st.sampled_from("12")),
            },
        ),
    ),
    "PciDevice": (
        pci_device,
        st.fixed_dictionaries(
            {},
            optional={
                "status": st.sampled_from(["claimed", "allocated"]),
                "instance_uuid": st.none() | st.sampled_from(["one", "two"]),
                "request_id": st.none() | st.sampled_from(["r", "s"]),
                "label": st.sampled_from("ab"),
                "extra_info": st.dictionaries(st.sampled_from("ab"), st.sampled_from("12")),
            },
        ),
    ),
    "InstanceInfoCache": (
        info_cache,
        st.fixed_dictionaries({}, optional={"network_info": NETWORKS.map(network)}),
    ),
}


class Recording:
    """A way that answers saves by itself and keeps what was asked."""

    def __init__(self) -> None:
        self.requests: list[bodies.Request] = []

    def __call__(self, context: centres.Json, message: centres.Json) -> Any:
        self.requests.append(bodies.Request(context, message))
        return [{"obj_what_changed": []}, None]


def saves(made: Any, steps: Sequence[Changes], anew: Sequence[bool] = ()) -> list[bodies.Request]:
    """The requests that nova makes for one change of an object after the other.

    :param anew: which of the changes are made to the object as it was at first, as by another
        thread that has read it earlier
    """
    way = Recording()
    made._context = nova_context.get_admin_context()
    first = copy.deepcopy(made)
    with centres.over(way):
        for number, changes in enumerate(steps):
            if number < len(anew) and anew[number]:
                made = copy.deepcopy(first)
            for name, value in changes.items():
                setattr(made, name, value)
            made.save()
    return way.requests


def rise(steps: Sequence[Changes]) -> None:
    """Let the count of a service grow, as it does in nova."""
    count = 0
    for changes in steps:
        if "report_count" in changes:
            count += changes["report_count"]
            changes["report_count"] = count


def table(centre: centres.Centre, kind: str) -> list[dict[str, Any]]:
    """The rows of an object's table, but for when they were written."""
    names = {
        "Service": "services",
        "ComputeNode": "compute_nodes",
        "PciDevice": "pci_devices",
        "InstanceInfoCache": "instance_info_caches",
    }
    engine = centre._connection.reader.get_engine()
    with engine.connect() as connection:
        found = connection.exec_driver_sql(f"SELECT * FROM {names[kind]}").mappings().all()
    # The time of the last report is written with a higher count, whatever was reported.
    clocks = {"updated_at", "last_seen_up"}
    return [
        {
            name: sorted(json.loads(value).items()) if name in ("stats", "extra_info") else value
            for name, value in row.items()
            if name not in clocks
        }
        for row in found
    ]


def applied(
    centre: centres.Centre, path: pathlib.Path, requests: Sequence[bodies.Request]
) -> centres.Centre:
    """A copy of the centre that has done what it was asked for."""
    copied = centre.copy(path)
    for request in requests:
        copied(request.context, copy.deepcopy(request.message))
    return copied


@pytest.mark.parametrize("kind", KINDS)
@hypothesis.settings(
    max_examples=15,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(data=st.data())
def test_a_merged_save_is_worth_the_saves_in_turn(
    kind: str,
    data: st.DataObject,
    centre: centres.Centre,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    make, changes = KINDS[kind]
    directory = tmp_path_factory.mktemp("merging")
    centre = centre.copy(directory / "centre.sqlite")
    steps = data.draw(st.lists(changes.filter(bool), min_size=2, max_size=4))
    rise(steps)
    anew = data.draw(st.lists(st.booleans(), max_size=4))
    requests = saves(make(centre), steps, anew)
    together = requests[0]
    for request in requests[1:]:
        assert merging.key(together) == merging.key(request) is not None
        together = merging.merged(together, request)
    apart = applied(centre, directory / "apart.sqlite", requests)
    merged = applied(centre, directory / "merged.sqlite", [together])
    assert table(merged, kind) == table(apart, kind)
    assert table(merged, kind) != [] != table(centre, kind)
    for each in (centre, apart, merged):
        each.close()


def heartbeats(centre: centres.Centre, *counts: int) -> list[bodies.Request]:
    return saves(service(centre), [{"report_count": count} for count in counts])


def test_the_highest_report_count_stays(centre: centres.Centre, tmp_path: pathlib.Path) -> None:
    earlier, later = heartbeats(centre, 7, 3)
    merged = merging.merged(earlier, later)
    (row,) = table(applied(centre, tmp_path / "merged.sqlite", [merged]), "Service")
    assert row["report_count"] == 7


def test_the_later_context_is_taken_and_neither_request_is_changed(
    centre: centres.Centre,
) -> None:
    earlier, later = saves(service(centre), [{"report_count": 1}, {"disabled": True}])
    before = copy.deepcopy((earlier, later))
    merged = merging.merged(earlier, later)
    assert merged.context == later.context
    assert merged.message["args"]["objinst"]["nova_object.changes"] == ["disabled", "report_count"]
    assert (earlier, later) == before


@pytest.mark.parametrize("kind", KINDS)
def test_another_version_and_another_object_do_not_merge(
    kind: str, centre: centres.Centre
) -> None:
    make, _ = KINDS[kind]
    changes = {
        "Service": {"report_count": 1},
        "ComputeNode": {"vcpus_used": 1},
        "PciDevice": {"status": "claimed"},
        "InstanceInfoCache": {"network_info": network("net-a")},
    }[kind]
    (request,) = saves(make(centre), [changes])
    key = merging.key(request)
    assert key is not None
    target = request.message["args"]["objinst"]
    target["nova_object.version"] = "0.1"
    assert merging.key(request) not in (key, None)
    target["nova_object.version"] = key[1]
    for field in merging._KEYS[kind]:
        value = target["nova_object.data"][field]
        target["nova_object.data"][field] = "another"
        assert merging.key(request) not in (key, None)
        target["nova_object.data"][field] = None
        assert merging.key(request) is None
        target["nova_object.data"][field] = value
    assert merging.key(request) == key


def test_nothing_conditional_and_nothing_else_merges(centre: centres.Centre) -> None:
    way = Recording()
    instance = rows.instance(centre)
    migration = rows.migration(centre, instance.uuid)
    instance._context = migration._context = nova_context.get_admin_context()
    with centres.over(way):
        instance.power_state = 4
        instance.save()
        instance.task_state = "rebooting"
        instance.save(expected_task_state=[None])
        migration.status = "done"
        migration.save()
    assert [merging.key(request) for request in way.requests] == [None, None, None]
    (save,) = heartbeats(centre, 1)
    save.message["args"]["kwargs"] = {"expected": 1}
    assert merging.key(save) is None
    save.message["args"].update(kwargs={}, args=["positional"])
    assert merging.key(save) is None
    save.message["args"].update(args=[], objmethod="destroy")
    assert merging.key(save) is None
    assert merging.key(bodies.Request({}, {"method": "ping"})) is None
