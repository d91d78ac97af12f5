# SPDX-License-Identifier: Apache-2.0
"""What the plugin writes and starts works with the real nova-edge-bus."""

from __future__ import annotations

import pathlib
import re
import shlex
import sys

import oslo_messaging
import pytest
import sqlalchemy

from nova_edge_bus.cell import table
from tests.devstack import greeter
from tests.devstack.machine import Layout
from tests.devstack.machine import Machine
from tests.nova.processes import Process

START_SECONDS = 30
CALL_SECONDS = 30
ROOT = pathlib.Path(__file__).resolve().parents[2]
REAL = pathlib.Path(sys.executable).parent


@pytest.fixture(scope="module", params=["superconductor", "singleconductor"])
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine on loopback with the real commands."""
    machine = Machine(
        tmp_path_factory.mktemp(request.param),
        Layout(request.param, rabbit=False, guard=True),
        {
            "SERVICE_HOST": "127.0.0.1",
            "HOST_IP": "127.0.0.1",
            "EDGE_BUS_LISTEN": "tcp://127.0.0.1:0",
            "NOVA_BIN_DIR": str(REAL),
        },
    )
    machine.run("stack")
    return machine


def start(machine: Machine, name: str, command: str, ready: str = "listening on") -> Process:
    """Start a command and return once it says that it is ready."""
    environment = {"PYTHONPATH": str(ROOT)}
    process = Process(name, shlex.split(command), machine.folder / f"{name}.log", environment)
    process.start()
    process.wait_ready(lambda: ready in process.log_text(), START_SECONDS)
    return process


def test_the_table_is_made_in_the_cell_s_database(machine: Machine) -> None:
    connection = machine.conf("nova_cell1.conf")["database"]["connection"]
    engine = sqlalchemy.create_engine(connection)
    assert sqlalchemy.inspect(engine).has_table(table.inbox.name)
    engine.dispose()


def test_a_compute_reaches_its_conductor_over_the_endpoint(machine: Machine) -> None:
    name = "nova_cell1.conf" if machine.layout.cells == "superconductor" else "nova.conf"
    endpoint = start(machine, "endpoint", machine.processes()["edge-bus"])
    port = re.findall(r"listening on tcp://127\.0\.0\.1:(\d+)", endpoint.log_text())[0]
    machine.settings["EDGE_BUS_ENDPOINTS"] = f"127.0.0.1:{port}"
    machine.run("stack")
    serve = f"{sys.executable} -m tests.devstack.greeter {machine.folder / 'etc' / name}"
    conductor = start(machine, "conductor", serve, greeter.READY)
    transport = greeter.make_transport(
        str(machine.folder / "etc" / "nova-cpu.conf"), "nova-compute"
    )
    target = oslo_messaging.Target(topic=greeter.TOPIC, version="1.0")
    client = oslo_messaging.get_rpc_client(transport, target, timeout=CALL_SECONDS)
    assert client.call({}, "greet", name="edge") == "hello edge"
    transport.cleanup()
    assert conductor.stop()
    assert endpoint.stop()
    assert len(list(machine.journals.glob("*.db"))) == 2


def test_the_guard_listens_where_nova_compute_calls(machine: Machine) -> None:
    # The ports that a setting names may be taken here.
    command = re.sub(
        r"--listen 127\.0\.0\.1:\d+",
        "--listen 127.0.0.1:0",
        machine.processes()["edge-bus-rest-guard"],
    )
    guard = start(machine, "guard", command)
    bound = re.findall(r"listening on http://127\.0\.0\.1:\d+(\S*)", guard.log_text())
    assert guard.stop()
    conf = machine.conf("nova-cpu.conf")
    called = [
        conf["placement"]["auth_url"],
        conf["placement"]["endpoint_override"],
        conf["glance"]["endpoint_override"],
        conf["neutron"]["endpoint_override"],
        conf["cinder"]["endpoint_template"].removesuffix("/v3/%(project_id)s"),
    ]
    assert bound == [re.sub(r"http://127\.0\.0\.1:\d+", "", url) for url in called]
    assert (machine.journals / "rest-guard").is_dir()
