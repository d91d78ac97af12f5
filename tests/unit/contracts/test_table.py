# SPDX-License-Identifier: Apache-2.0
"""The published table against nova: nothing that it sends is missing, nothing is named in vain."""

from __future__ import annotations

import inspect
import pathlib
from typing import Any

import nova
import pytest
from nova import baserpc
from nova.compute import manager as compute_manager
from nova.conductor import manager as conductor_manager
from nova.scheduler import manager as scheduler_manager

from nova_edge_bus import contracts
from nova_edge_bus.contracts import objects
from nova_edge_bus.contracts import services
from nova_edge_bus.contracts import table
from nova_edge_bus.contracts import terms
from tests.unit.contracts import nova_side

Contract = contracts.Contract
Kind = contracts.Kind
UUID = "5ab4d9a0-9d8c-4d2f-a3ad-4b3c0a7a4c4e"
ANSWERED_BY_NOVA = {"oslo_messaging"}
"""Interfaces whose client is not nova's."""
NAMED_OBJECT_ROWS = [row for row in objects.ROWS if not row.name.endswith(".*")]
OBJECT_DATA = {
    "uuid": UUID,
    "instance_uuid": UUID,
    "compute_node_id": 4,
    "host": "edge-7",
}
KINDS_OF_GROUP = {"instance", "host", "node", "", terms.ANY}


def uncovered_object_methods(methods: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those that only the default for all that may be a write stands for."""
    last_resort = table.object_row("Object", "method")
    return {method for method in methods if table.object_row(*method) is last_resort}


def test_every_remotable_method_is_named_or_covered_by_a_stated_default() -> None:
    methods = nova_side.object_methods()
    assert len(methods) > 200
    assert uncovered_object_methods(methods) == set()


def test_a_write_that_nova_adds_would_be_noticed() -> None:
    added = {("Instance", "migrate"), ("Instance", "get_new"), ("Tag", "move"), ("New", "save")}
    assert uncovered_object_methods(added) == {("Instance", "migrate"), ("New", "save")}


@pytest.mark.parametrize("row", objects.ROWS, ids=lambda row: row.name)
def test_every_object_and_method_named_is_nova_s(row: contracts.Row) -> None:
    name, _, action = row.name.partition(".")
    methods = {method for found, method in nova_side.object_methods() if found == name}
    if action == "*":
        unnamed = {method for method in methods if table.object_row(name, method) is row}
        assert unnamed, f"{row.name} stands for nothing"
    else:
        assert action in methods


def test_every_message_of_nova_s_rpc_clients_is_named() -> None:
    sent = nova_side.service_methods()
    assert len(sent) > 90
    named = {
        (row.name, row.kind)
        for row in services.ROWS
        if row.name.partition(".")[0] not in ANSWERED_BY_NOVA
    }
    assert sent.keys() - named == set(), "nova sends what has no row"
    assert named - sent.keys() == set(), "rows of what nova does not send any more"


def test_no_other_module_of_nova_makes_a_client() -> None:
    root = pathlib.Path(nova.__file__).parent
    sources = (path for path in root.rglob("*.py") if "tests" not in path.relative_to(root).parts)
    makers = {path for path in sources if "rpc.get_client(" in path.read_text()}
    assert makers == {pathlib.Path(inspect.getfile(client)) for client in nova_side.CLIENTS}


def test_every_row_of_a_service_is_found_by_what_is_on_the_wire() -> None:
    for row in services.ROWS:
        interface, _, method = row.name.partition(".")
        namespace = services.NAMESPACES[interface]
        assert table.service_row(namespace, method, row.kind) is row


def test_the_namespaces_are_those_that_nova_s_services_listen_in() -> None:
    serving = {
        "BaseAPI": baserpc.BaseRPCAPI,
        "ComputeAPI": compute_manager.ComputeManager,
        "ComputeTaskAPI": conductor_manager.ComputeTaskManager,
        "ConductorAPI": conductor_manager.ConductorManager,
        "SchedulerAPI": scheduler_manager.SchedulerManager,
    }
    told = {name: manager.target.namespace or "" for name, manager in serving.items()}
    assert {**told, "oslo_messaging": ""} == services.NAMESPACES


def test_no_method_that_counts_as_a_read_is_known_to_write() -> None:
    """A write that is taken for a read could be made twice."""
    written = [row.name.partition(".")[2] for row in NAMED_OBJECT_ROWS]
    assert not [action for action in written if action.startswith(table.READ_PREFIXES)]
    verbs = {"create", "save", "destroy", "delete", "add", "remove", "update", "set", "begin"}
    for _, action in nova_side.object_methods():
        if action.startswith(table.READ_PREFIXES):
            assert verbs.isdisjoint(action.split("_")), action


# Each row against what a message gets


def object_message(row: contracts.Row) -> dict[str, Any]:
    name, _, action = row.name.partition(".")
    cls: Any = nova_side.object_classes()[name]
    if nova_side.is_class_action(cls, action):
        function = inspect.unwrap(getattr(cls, action))
        parameters = list(inspect.signature(function).parameters)
        arguments = [UUID if "instance" in each else "x" for each in parameters[1:]]
        named = {"objname": name, "objmethod": action, "args": arguments, "kwargs": {}}
        return {"method": "object_class_action_versions", "args": named}
    data = {field: value for field, value in OBJECT_DATA.items() if field in cls.fields}
    objinst = {"nova_object.name": name, "nova_object.data": data}
    return {"method": "object_action", "args": {"objinst": objinst, "objmethod": action}}


@pytest.mark.parametrize("row", NAMED_OBJECT_ROWS, ids=lambda row: row.name)
def test_an_object_s_message_gets_what_its_row_says(row: contracts.Row) -> None:
    got = contracts.classify(object_message(row), is_call=True)
    assert (got.contract, got.repeatable, got.last) == (row.contract, row.repeatable, row.last)
    assert got.group.partition(":")[0] == row.group
    assert got.method == row.name


@pytest.mark.parametrize("row", services.ROWS, ids=lambda row: f"{row.name}-{row.kind.value}")
def test_a_service_s_message_gets_what_its_row_says(row: contracts.Row) -> None:
    interface, _, method = row.name.partition(".")
    takes = nova_side.service_methods().get((row.name, row.kind), set())
    instance = {"nova_object.name": "Instance", "nova_object.data": {"uuid": UUID}}
    sent = {"instance": instance, "instances": [instance], "instance_uuid": UUID}
    message = {
        "method": method,
        "namespace": services.NAMESPACES[interface] or None,
        "args": {name: value for name, value in sent.items() if name in takes},
    }
    got = contracts.classify(
        message, is_call=row.kind is Kind.CALL, fanout=row.kind is Kind.FANOUT
    )
    assert (got.contract, got.repeatable) == (row.contract, row.repeatable)
    assert got.group.partition(":")[0] == row.group


def test_the_heartbeat_alone_goes_last() -> None:
    assert [row.name for row in table.ROWS if row.last] == ["Service.save"]


def test_contracts_fit_the_way_that_the_message_is_sent() -> None:
    fitting = {
        Kind.CALL: {Contract.RECORD, Contract.MERGE, Contract.RELAY, Contract.REFUSE},
        Kind.CAST: {Contract.COMMAND},
        Kind.FANOUT: {Contract.DROP},
        Kind.NOTIFY: {Contract.COMMAND},
    }
    for row in table.ROWS:
        assert row.contract in fitting[row.kind], row
        assert row.group in KINDS_OF_GROUP, row
        assert row.remark, row
        assert not row.repeatable or row.contract is Contract.RELAY, row


def test_each_name_and_kind_is_in_the_table_once() -> None:
    keys = [(row.name, row.kind) for row in table.ROWS]
    assert len(keys) == len(set(keys))


# What no row names


def test_the_defaults_are_what_the_table_says() -> None:
    for row in table.DEFAULTS:
        if row.kind is Kind.NOTIFY:
            continue
        action = row.name.partition(".")[2].replace("*", "_it")
        if action:
            objinst = {"nova_object.name": "New", "nova_object.data": {"instance_uuid": UUID}}
            message = {
                "method": "object_action",
                "args": {"objinst": objinst, "objmethod": action},
            }
        else:
            message = {"method": "new", "args": {"instance_uuid": UUID}}
        got = contracts.classify(
            message, is_call=row.kind is Kind.CALL, fanout=row.kind is Kind.FANOUT
        )
        assert (got.contract, got.repeatable, got.last) == (row.contract, row.repeatable, False)
        assert bool(got.group) == (row.group == terms.ANY)
