# SPDX-License-Identifier: Apache-2.0
"""Who gets which key, where it is enrolled, and what there is without keys."""

from __future__ import annotations

import pytest

from tests.devstack.conftest import MakeMachine
from tests.devstack.machine import HOST
from tests.devstack.machine import Layout


def test_a_machine_s_services_are_enrolled_at_its_endpoint(make_machine: MakeMachine) -> None:
    machine = make_machine()
    machine.run("stack")
    keys = machine.keys
    assert machine.events("nova-edge-bus keys") == [
        f"new endpoint --dir {keys}",
        f"new centre --dir {keys}",
        f"enroll {keys}/centre.pub --host {HOST} --role centre --dir {keys}",
        f"new compute-{HOST} --dir {keys}",
        f"enroll {keys}/compute-{HOST}.pub --host {HOST} --role compute --dir {keys}",
    ]
    assert (keys / "endpoints" / f"{HOST}.pub").exists()
    assert keys.stat().st_mode & 0o7777 == 0o700
    assert "allow_insecure" not in machine.conf("nova.conf")["edge_bus"]


def test_a_key_that_is_there_stays(make_machine: MakeMachine) -> None:
    machine = make_machine()
    machine.run("stack", "unstack", "stack")
    asked = machine.events("nova-edge-bus keys")
    assert [line.split()[0] for line in asked].count("new") == 3
    assert [line.split()[0] for line in asked].count("enroll") == 4


def test_a_compute_goes_by_the_name_that_local_conf_gives_it(make_machine: MakeMachine) -> None:
    machine = make_machine()
    machine.local_conf("post-config", "nova-cpu.conf", "DEFAULT host edge-1")
    machine.run("stack")
    asked = machine.events("nova-edge-bus keys")
    enrolled = f"{machine.keys}/compute-edge-1.pub --host edge-1 --role compute"
    assert any(line.startswith(f"enroll {enrolled} ") for line in asked)
    conf = machine.conf("nova-cpu.conf")
    assert conf["edge_bus"]["curve_key_file"] == "compute-edge-1.key"


def test_each_fake_compute_has_a_key_of_its_own(make_machine: MakeMachine) -> None:
    machine = make_machine(VIRT_DRIVER="fake", NUMBER_FAKE_NOVA_COMPUTE="2")
    machine.run("stack")
    for number in (1, 2):
        host = f"{HOST}{number}"
        conf = machine.conf(f"nova-fake.conf-{number}")
        assert conf["edge_bus"]["curve_key_file"] == f"compute-{host}.key"
        assert (machine.keys / f"compute-{host}.key").exists()
        asked = machine.events("nova-edge-bus keys")
        enrolled = f"{machine.keys}/compute-{host}.pub --host {host} --role compute"
        assert f"enroll {enrolled} --dir {machine.keys}" in asked


def test_a_controller_makes_what_its_computes_need(make_machine: MakeMachine) -> None:
    controller = make_machine(Layout(node="controller"), EDGE_BUS_SUBNODES=f"{HOST},edge-2")
    controller.run("stack")
    for host in (HOST, "edge-2"):
        folder = controller.keys / "subnodes" / host
        enrolled = f"{folder}/compute-{host}.pub --host {host} --role compute"
        asked = controller.events("nova-edge-bus keys")
        assert f"enroll {enrolled} --dir {controller.keys}" in asked
        assert (folder / f"compute-{host}.key").exists()
        assert (folder / "endpoints" / f"{HOST}.pub").exists()
    # What is copied is all that the compute needs.
    compute = make_machine(
        Layout(node="compute"), EDGE_BUS_CURVE_DIR=str(controller.keys / "subnodes" / HOST)
    )
    compute.run("stack")
    assert compute.events("nova-edge-bus") == []
    conf = compute.conf("nova-cpu.conf")["edge_bus"]
    assert conf["curve_key_file"] == f"compute-{HOST}.key"


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("endpoints/controller.pub", "no key of an endpoint in"),
        (f"compute-{HOST}.key", f"no key of host {HOST} in"),
    ],
)
def test_a_compute_without_its_keys_is_told_what_to_do(
    make_machine: MakeMachine, missing: str, said: str
) -> None:
    machine = make_machine(Layout(node="compute"))
    (machine.keys / missing).unlink()
    done = machine.attempt("stack")
    assert done.returncode == 1
    assert said in done.stderr
    assert f"subnodes/{HOST}" in done.stderr


@pytest.mark.parametrize("cells", ["superconductor", "singleconductor"])
@pytest.mark.parametrize("node", ["all-in-one", "compute"])
def test_without_keys_what_leaves_the_machine_is_allowed(
    make_machine: MakeMachine, cells: str, node: str
) -> None:
    machine = make_machine(Layout(cells, node=node), EDGE_BUS_CURVE="False")
    machine.run("stack")
    assert machine.events("nova-edge-bus keys") == []
    for file in ("nova.conf", "nova-cpu.conf"):
        conf = machine.conf(file)["edge_bus"]
        assert conf["allow_insecure"] == "True"
        assert {"curve_dir", "curve_key_file"}.isdisjoint(conf)
    if node == "all-in-one":
        assert machine.processes()["edge-bus"].endswith(" --allow-insecure")
        assert machine.conf("nova_cell1.conf")["edge_bus"]["allow_insecure"] == "True"


def test_without_keys_nothing_is_allowed_on_loopback(make_machine: MakeMachine) -> None:
    machine = make_machine(EDGE_BUS_CURVE="False", SERVICE_HOST="127.0.0.1", HOST_IP="127.0.0.1")
    machine.run("stack")
    assert machine.processes()["edge-bus"].endswith("--listen tcp://127.0.0.1:5570")
    for file in ("nova.conf", "nova-cpu.conf", "nova_cell1.conf"):
        assert "allow_insecure" not in machine.conf(file)["edge_bus"]
