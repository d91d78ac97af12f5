# SPDX-License-Identifier: Apache-2.0
"""What the phases do, in which order, and what they leave behind."""

from __future__ import annotations

import pathlib

import pytest

from tests.devstack.conftest import MakeMachine
from tests.devstack.machine import Layout
from tests.devstack.machine import Machine


@pytest.fixture(params=[True, False], ids=["rabbit", "nova-alone"])
def machine(request: pytest.FixtureRequest, make_machine: MakeMachine) -> Machine:
    return make_machine(Layout(rabbit=request.param, guard=True))


def test_the_order_of_what_happens(machine: Machine) -> None:
    machine.run("stack")
    happened = [line for line in machine.events() if not line.startswith(("phase", "answer"))]
    assert [line.split()[0] for line in happened] == [
        "setup_develop",
        "create_cell",
        *["nova-edge-bus"] * 4,
        *["run_process"] * 2,
        *["nova-edge-bus"] * 2,
        "run_process",
    ]
    assert list(machine.processes()) == ["edge-bus", "edge-bus-rest-guard", "n-cpu"]
    assert machine.events("setup_develop") == ["nova-edge-bus into the environment of all"]


def test_it_is_installed_where_nova_is(make_machine: MakeMachine) -> None:
    machine = make_machine(USE_VENV="True", NOVA_VENV="/opt/stack/nova.venv")
    machine.run("stack")
    assert machine.events("setup_develop") == ["nova-edge-bus into /opt/stack/nova.venv"]


@pytest.mark.parametrize(
    "between",
    [
        (),
        pytest.param(("resource",), marks=pytest.mark.soak),
        pytest.param(("unstack",), marks=pytest.mark.soak),
        ("unstack", "resource"),
    ],
)
def test_a_further_stack_in_the_same_shell_ends_the_same(
    machine: Machine, between: tuple[str, ...]
) -> None:
    machine.run("stack")
    first = {file: machine.conf(file) for file in ("nova.conf", "nova-cpu.conf")}
    machine.run("stack", *between, "stack")
    assert {file: machine.conf(file) for file in first} == first
    assert machine.functions(len(between) + 2) == machine.functions(0)


def test_another_plugin_s_wrapper_stays_and_leads_to_ours(machine: Machine) -> None:
    machine.run("wrapped", "stack", "unstack")
    wrapped = machine.events("another")
    assert wrapped.count("nova nova.conf") == 2
    assert wrapped.count("nova nova-cpu.conf") == 2
    url = machine.conf("nova-cpu.conf")["DEFAULT"]["transport_url"]
    assert url.startswith("edgebus://")
    assert "edge_bus_original_rpc_backend_add_vhost" not in machine.functions(1)


def test_unstack_restores_what_a_stack_that_ended_early_has_replaced(machine: Machine) -> None:
    machine.run("begin", "unstack")
    assert machine.functions(1) != machine.functions(0)
    assert machine.functions(2) == machine.functions(0)


def test_a_command_that_fails_ends_stack(machine: Machine) -> None:
    program = machine.bin / "nova-edge-bus"
    program.write_text("#!/bin/bash\nexit 1\n")
    done = machine.attempt("stack")
    assert done.returncode == 1
    assert "keys new" in done.stderr
    assert machine.processes() == {}


def test_unstack_stops_and_keeps_the_journals(machine: Machine) -> None:
    machine.run("stack")
    journal = machine.journals / "host.nova-compute-0.db"
    journal.write_text("entries")
    machine.run("unstack")
    assert machine.events("stop_process") == ["edge-bus-rest-guard", "edge-bus"]
    assert machine.events().index("stop_process edge-bus") < machine.events().index("stop_nova")
    machine.run("stack")
    assert journal.read_text() == "entries"


def test_clean_removes_journals_and_keys_and_nothing_beside(machine: Machine) -> None:
    machine.run("stack")
    assert machine.keys.is_dir()
    (machine.journals / "host.nova-compute-0.db").write_text("entries")
    (machine.data / "glance").write_text("image")
    machine.run("clean")
    assert not machine.journals.exists()
    assert not machine.keys.exists()
    assert (machine.data / "glance").read_text() == "image"
    machine.run("clean")


def test_the_journals_can_be_elsewhere(make_machine: MakeMachine, tmp_path: pathlib.Path) -> None:
    elsewhere = tmp_path / "disk" / "journals"
    machine = make_machine(EDGE_BUS_JOURNAL_DIR=str(elsewhere))
    machine.run("stack")
    assert elsewhere.stat().st_mode & 0o7777 == 0o700
    assert machine.conf("nova-cpu.conf")["edge_bus"]["journal_dir"] == str(elsewhere)
    machine.run("unstack")
    assert elsewhere.is_dir()
    machine.run("clean")
    assert not elsewhere.exists()


def test_an_open_folder_is_closed_by_a_further_stack(machine: Machine) -> None:
    machine.run("stack")
    machine.journals.chmod(0o755)
    machine.run("stack")
    assert machine.journals.stat().st_mode & 0o7777 == 0o700


def test_a_machine_without_nova_is_left_alone(make_machine: MakeMachine) -> None:
    machine = make_machine(ENABLED_SERVICES="mysql,key,rabbit", EDGE_BUS_REST_GUARD="True")
    machine.run("stack", "unstack", "clean")
    assert {line.split()[0] for line in machine.events()} == {
        "phase",
        "answer",
        "stop_nova",
    }
    assert machine.functions(1) == machine.functions(0)


def test_a_service_that_was_disabled_stays_so(make_machine: MakeMachine) -> None:
    disabled = "edge-bus,edge-bus-rest-guard"
    machine = make_machine(Layout(guard=True), DISABLED_SERVICES=disabled, EDGE_BUS_CURVE="False")
    machine.run("stack")
    assert machine.processes().keys() == {"n-cpu"}
    assert "endpoint_override" not in machine.conf("nova-cpu.conf")["placement"]


@pytest.mark.parametrize("name", ["iniset_rpc_backend", "configure_console_compute"])
def test_a_devstack_that_lacks_a_function_is_refused(make_machine: MakeMachine, name: str) -> None:
    done = make_machine(Layout(guard=True), LACKING=name).attempt("stack")
    assert done.returncode == 1
    assert f"it has no function {name}" in done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("DEFAULT transport_url rabbit://", "nova-compute is not on the edge bus"),
        ("no_section no_option no_value", ""),
    ],
)
def test_a_nova_compute_that_is_elsewhere_ends_stack(
    make_machine: MakeMachine, line: str, said: str
) -> None:
    machine = make_machine(Layout(cells="singleconductor"))
    machine.local_conf("post-config", "nova-cpu.conf", line)
    done = machine.attempt("stack")
    assert (done.returncode == 1) == bool(said)
    assert said in done.stderr
