# SPDX-License-Identifier: Apache-2.0
"""How nova's configuration ends, and what runs, in each layout."""

from __future__ import annotations

import itertools

import pytest

from tests.devstack.conftest import MakeMachine
from tests.devstack.machine import COMPUTE
from tests.devstack.machine import CONTROLLER
from tests.devstack.machine import HOST
from tests.devstack.machine import SERVICES
from tests.devstack.machine import Layout
from tests.devstack.machine import Machine

BUS = f"edgebus://{CONTROLLER}:5570"
GUARD = "http://127.0.0.1:558"
LAYOUTS = [
    Layout(*each)
    for each in itertools.product(
        ("superconductor", "singleconductor"), (True, False), SERVICES, (False, True)
    )
]


def name(layout: Layout) -> str:
    rabbit = "rabbit" if layout.rabbit else "nova-alone"
    return "-".join([layout.cells, rabbit, layout.node, *(["guard"] * layout.guard)])


@pytest.fixture(params=LAYOUTS, ids=name)
def machine(request: pytest.FixtureRequest, make_machine: MakeMachine) -> Machine:
    """A machine of each layout, with stack.sh done."""
    machine = make_machine(request.param)
    machine.run("stack")
    return machine


def test_a_layout_ends_as_documented(machine: Machine) -> None:
    check_files(machine)
    check_processes(machine)
    check_other_services(machine)
    if machine.layout.node == "compute":
        assert not machine.has("nova_cell1.conf")
    else:
        check_cell(machine)
    check_guard(machine)
    assert machine.functions(1) == machine.functions(0)


def check_files(machine: Machine) -> None:
    """All processes of nova are on the bus with the same options, and so are notifications."""
    cell = "nova_cell1" if machine.layout.cells == "superconductor" else ""
    key = "centre.key" if machine.layout.node == "controller" else f"compute-{HOST}.key"
    for file, virtual_host, key_file in (
        ("nova.conf", "", "centre.key"),
        ("nova-cpu.conf", cell, key),
    ):
        conf = machine.conf(file)
        assert conf["DEFAULT"]["transport_url"] == f"{BUS}/{virtual_host}"
        assert conf["edge_bus"] == {
            "journal_dir": str(machine.journals),
            "link_timeout": "5",
            "curve_dir": str(machine.keys),
            "curve_key_file": key_file,
        }
        assert conf["oslo_messaging_notifications"]["transport_url"] == f"{BUS}/"
    assert "connection" not in machine.conf("nova-cpu.conf").get("database", {})
    assert machine.journals.stat().st_mode & 0o7777 == 0o700


def check_cell(machine: Machine) -> None:
    """The cell's conductor and its mapping have the computes' URL, and its database the table."""
    url = machine.conf("nova-cpu.conf")["DEFAULT"]["transport_url"]
    conf = machine.conf("nova_cell1.conf")
    assert conf["DEFAULT"]["transport_url"] == url
    assert conf["edge_bus"] == machine.conf("nova.conf")["edge_bus"]
    assert machine.events("create_cell") == [f"1 {url}"]
    file = machine.folder / "etc" / "nova_cell1.conf"
    assert machine.events("nova-edge-bus db") == [f"sync --config-file {file}"]


def check_processes(machine: Machine) -> None:
    """An endpoint where there is a conductor; a guard, if wanted, where there is a compute."""
    wanted = {"n-cpu"} if machine.layout.node != "controller" else set()
    if machine.layout.node != "compute":
        wanted.add("edge-bus")
        command = f"{machine.bin}/nova-edge-bus endpoint --listen tcp://{CONTROLLER}:5570"
        assert machine.processes()["edge-bus"] == f"{command} --curve-dir {machine.keys}"
    else:
        assert machine.events("nova-edge-bus") == []
    if machine.layout.guard and machine.layout.node != "controller":
        wanted.add("edge-bus-rest-guard")
    assert machine.processes().keys() == wanted


def check_other_services(machine: Machine) -> None:
    """They are on RabbitMQ, if there is one; who asks for an URL is told that of the bus if not.

    No virtual host is made for nova on RabbitMQ.
    """
    url = f"rabbit://stackrabbit:secret@{CONTROLLER}:5672" if machine.layout.rabbit else BUS
    assert machine.events("answer") == [f"{url}/other", f"{url}/"]
    for file in ("neutron.conf", "cinder.conf"):
        if machine.layout.rabbit:
            assert machine.conf(file)["DEFAULT"]["transport_url"] == f"{url}/"
        else:
            assert not machine.has(file)
    assert machine.events("add_vhost") == []


def check_guard(machine: Machine) -> None:
    """nova-compute alone goes through the guard, with what the page on nova prescribes."""
    conf = machine.conf("nova-cpu.conf")
    centre = f"http://{CONTROLLER}/identity"
    guarded = machine.layout.guard and machine.layout.node != "controller"
    for section in ("placement", "neutron", "cinder", "service_user"):
        assert conf[section]["auth_url"] == (f"{GUARD}0/identity" if guarded else centre)
        assert machine.conf("nova.conf")[section]["auth_url"] == centre
        assert conf[section].get("timeout") == ("60" if guarded else None)
    if not guarded:
        assert "endpoint_override" not in conf["placement"]
        assert conf["DEFAULT"]["graceful_shutdown_timeout"] == "5"
        return
    assert conf["placement"]["endpoint_override"] == f"{GUARD}1/placement"
    assert conf["placement"]["connect_retries"] == "2"
    assert conf["glance"] == {
        "endpoint_override": f"{GUARD}2/image",
        "timeout": "60",
        "num_retries": "1",
    }
    assert conf["neutron"]["endpoint_override"] == f"{GUARD}3/networking"
    assert conf["cinder"]["endpoint_template"] == f"{GUARD}4/volume/v3/%(project_id)s"
    assert conf["DEFAULT"]["graceful_shutdown_timeout"] == "20"
    assert conf["DEFAULT"]["sync_power_state_interval"] == "60"
    assert conf["DEFAULT"]["running_deleted_instance_poll_interval"] == "300"
    if "keystone_authtoken" in conf:
        assert conf["keystone_authtoken"] == machine.conf("nova.conf")["keystone_authtoken"]


def test_a_compute_of_a_second_cell_has_the_url_of_that_cell(make_machine: MakeMachine) -> None:
    controller = make_machine(Layout(node="controller"), NOVA_NUM_CELLS="2")
    controller.run("stack")
    compute = make_machine(Layout(node="compute"), NOVA_NUM_CELLS="2", NOVA_CPU_CELL="2")
    compute.run("stack")
    url = f"{BUS}/nova_cell2"
    assert compute.conf("nova-cpu.conf")["DEFAULT"]["transport_url"] == url
    assert controller.conf("nova_cell2.conf")["DEFAULT"]["transport_url"] == url
    assert controller.events("create_cell") == [f"1 {BUS}/nova_cell1", f"2 {url}"]
    synced = [line.rpartition("/")[2] for line in controller.events("nova-edge-bus db")]
    assert synced == ["nova_cell1.conf", "nova_cell2.conf"]


def test_over_ipv6(make_machine: MakeMachine) -> None:
    machine = make_machine(
        SERVICE_IP_VERSION="6", SERVICE_HOST="[2001:db8::11]", HOST_IPV6="2001:db8::11"
    )
    machine.run("stack")
    assert "--listen tcp://[2001:db8::11]:5570 " in machine.processes()["edge-bus"]
    url = machine.conf("nova.conf")["DEFAULT"]["transport_url"]
    assert url == "edgebus://[2001:db8::11]:5570/"


def test_several_endpoints_and_a_port(make_machine: MakeMachine) -> None:
    endpoints = f"127.0.0.1:5600,{COMPUTE}:5600"
    machine = make_machine(EDGE_BUS_PORT="5600", EDGE_BUS_ENDPOINTS=endpoints)
    machine.run("stack")
    conf = machine.conf("nova.conf")
    assert conf["DEFAULT"]["transport_url"] == f"edgebus://{endpoints}/"
    assert f"--listen tcp://{CONTROLLER}:5600 " in machine.processes()["edge-bus"]


def test_notifications_can_stay_on_rabbitmq(make_machine: MakeMachine) -> None:
    machine = make_machine(EDGE_BUS_NOTIFICATIONS="False")
    machine.run("stack")
    for file in ("nova.conf", "nova-cpu.conf"):
        conf = machine.conf(file)
        assert conf["oslo_messaging_notifications"]["transport_url"].startswith("rabbit://")
        assert conf["DEFAULT"]["transport_url"].startswith(BUS)


def test_behind_tls_the_guard_trusts_devstack_s_authority(make_machine: MakeMachine) -> None:
    layout = Layout(guard=True)
    machine = make_machine(layout, ENABLED_SERVICES=f"{layout.services},tls-proxy")
    machine.run("stack")
    command = machine.processes()["edge-bus-rest-guard"]
    assert command.endswith(f" --ca-file {machine.data}/ca-bundle.pem")


def test_a_compute_without_services_of_cinder_does_not_call_it_past_the_guard(
    make_machine: MakeMachine,
) -> None:
    machine = make_machine(Layout(node="compute", guard=True), ENABLED_SERVICES="n-cpu")
    machine.run("stack")
    conf = machine.conf("nova-cpu.conf")
    assert conf["cinder"]["endpoint_template"].startswith(GUARD)
    assert conf["neutron"]["endpoint_override"].startswith(GUARD)
