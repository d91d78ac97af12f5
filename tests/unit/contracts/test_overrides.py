# SPDX-License-Identifier: Apache-2.0
"""An operator's contracts: what they change, and what is refused."""

from __future__ import annotations

import pathlib
from typing import Any

import oslo_messaging
import pytest
from oslo_config import cfg

from nova_edge_bus import contracts
from nova_edge_bus import errors
from nova_edge_bus import opts
from nova_edge_bus.contracts import overrides
from nova_edge_bus.contracts import table
from nova_edge_bus.driver import configuration

Contract = contracts.Contract
UUID = "5ab4d9a0-9d8c-4d2f-a3ad-4b3c0a7a4c4e"
URL = "edgebus://localhost/"


def terms(message: dict[str, Any], *, is_call: bool = True, **texts: str) -> contracts.Terms:
    told = {name.replace("__", "."): text for name, text in texts.items()}
    passed = dict(overrides.parse(told))
    return contracts.classify(message, is_call=is_call, overrides=passed)


def object_message(name: str, method: str) -> dict[str, Any]:
    objinst = {"nova_object.name": name, "nova_object.data": {"uuid": UUID}}
    return {"method": "object_action", "args": {"objinst": objinst, "objmethod": method}}


def class_message(name: str, method: str) -> dict[str, Any]:
    args = {"objname": name, "objmethod": method, "args": [UUID]}
    return {"method": "object_class_action_versions", "args": args}


# What they change


def test_a_record_can_be_relayed_instead_and_is_not_repeated() -> None:
    got = terms(object_message("Instance", "save"), Instance__save="relay")
    assert got == contracts.Terms(Contract.RELAY, f"instance:{UUID}", "Instance.save")
    assert not got.journaled


def test_a_merged_write_can_be_recorded_one_by_one_and_still_goes_last() -> None:
    got = terms(object_message("Service", "save"), Service__save="record")
    assert (got.contract, got.last) == (Contract.RECORD, True)
    refused = terms(object_message("Service", "save"), Service__save="refuse")
    assert (refused.contract, refused.last) == (Contract.REFUSE, False)


def test_a_read_without_a_row_of_its_own_can_be_refused() -> None:
    message = class_message("InstanceGroup", "get_by_instance_uuid")
    got = terms(message, InstanceGroup__get_by_instance_uuid="refuse")
    assert (got.contract, got.repeatable) == (Contract.REFUSE, False)
    other = terms(message, InstanceGroup__get_by_name="refuse")
    assert (other.contract, other.repeatable) == (Contract.RELAY, True)


def test_all_that_a_row_stands_for_is_overridden_with_it() -> None:
    got = terms(class_message("Tag", "destroy"), **{"Tag.*": "relay"})
    assert (got.contract, got.repeatable) == (Contract.RELAY, False)
    assert terms(class_message("Tag", "exists"), **{"Tag.*": "relay"}).repeatable


@pytest.mark.parametrize("is_call", [True, False])
def test_an_override_bears_on_the_call_and_not_on_the_cast_of_that_name(is_call: bool) -> None:
    message = {"method": "migrate_server", "namespace": "compute_task", "args": {}}
    got = terms(message, is_call=is_call, ComputeTaskAPI__migrate_server="relay")
    assert got.contract is (Contract.RELAY if is_call else Contract.COMMAND)
    of_the_compute = {"method": "attach_volume", "args": {}}
    got = terms(of_the_compute, is_call=is_call, ComputeTaskAPI__attach_volume="relay")
    assert got.contract is (Contract.RELAY if is_call else Contract.COMMAND)


# What is refused


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("Instance.save", "recrod", "unknown contract 'recrod'; known are record, merge, relay"),
        ("Instance.save", "", "unknown contract ''"),
        ("Instance.saev", "relay", "no such method in the table of contracts; did you mean Inst"),
        ("xyz", "relay", "see 'nova-edge-bus contracts'"),
        ("ComputeAPI.get_new", "relay", "no such method"),
        ("<any>", "refuse", "no such method"),
        ("<object>.get*", "refuse", "no such method"),
        ("Instance.get.x", "refuse", "no such method"),
        ("Instance.", "refuse", "no such method"),
        ("ComputeAPI.reboot_instance", "relay", "a cast cannot be relay, it is always a command"),
        ("ComputeAPI.reboot_instance", "refuse", "a cast cannot be refuse"),
        ("ComputeAPI.reboot_instance", "drop", "a cast cannot be drop"),
        ("SchedulerAPI.update_aggregates", "command", "a fanout cannot be command, it is always"),
        ("ComputeTaskAPI.migrate_server", "command", "a call cannot be command, its caller waits"),
        ("Instance.save", "drop", "a call cannot be drop"),
        ("Instance.save", "merge", "each of its entries counts"),
        ("Migration.create", "record", "its caller needs an answer that only the other side"),
        ("Instance.get_by_uuid", "merge", "cannot be merge: its caller needs an answer"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(name: str, text: str, said: str) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        overrides.parse({name: text})
    assert str(caught.value).startswith(f"[edge_bus] contracts, {name}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_published_contract_of_every_call_may_be_stated() -> None:
    calls = [row for row in table.ROWS if row.kind is contracts.Kind.CALL and not row.is_default]
    told = {row.name: row.contract.value for row in calls}
    assert dict(overrides.parse(told)) == {row.name: row.contract for row in calls}


# Where they come from


def read(text: str, url: str = URL, *, folder: pathlib.Path) -> dict[str, Contract]:
    file = folder / "nova.conf"
    file.write_text(f"[edge_bus]\n{text}\n")
    conf = cfg.ConfigOpts()
    conf(["--config-file", str(file)], project="nova")
    opts.register(conf)
    parsed = oslo_messaging.TransportURL.parse(conf, url)
    return dict(configuration.read(conf, parsed).contracts)


def test_they_are_read_from_the_section_and_the_url_wins(tmp_path: pathlib.Path) -> None:
    assert read("", folder=tmp_path) == {}
    section = "contracts = Instance.save:relay, Migration.save:refuse"
    assert read(section, folder=tmp_path) == {
        "Instance.save": Contract.RELAY,
        "Migration.save": Contract.REFUSE,
    }
    told = read(section, f"{URL}?contracts=Service.save:record", folder=tmp_path)
    assert told == {"Service.save": Contract.RECORD}


def test_they_are_read_from_the_environment(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_EDGE_BUS__CONTRACTS", "Service.save:record")
    assert read("", folder=tmp_path) == {"Service.save": Contract.RECORD}


@pytest.mark.parametrize("text", ["Instance.save", "Instance.save:drop", "Nothing.save:relay"])
def test_a_transport_with_contracts_that_cannot_work_is_not_made(
    tmp_path: pathlib.Path, text: str
) -> None:
    with pytest.raises(errors.ConfigurationError):
        read(f"contracts = {text}", folder=tmp_path)
    with pytest.raises(errors.ConfigurationError):
        read("", f"{URL}?contracts={text}", folder=tmp_path)
