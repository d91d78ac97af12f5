# SPDX-License-Identifier: Apache-2.0
"""A cell goes from RabbitMQ to the bus and back, as "Upgrading" says; no server is lost."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterable
from collections.abc import Iterator

import pytest
import sqlalchemy

from tests.nova import database
from tests.nova.bus import EdgeBus
from tests.nova.bus import RabbitBus
from tests.nova.processes import Process
from tests.nova.processes import wait_until
from tests.nova.stack import Compute
from tests.nova.stack import NovaStack

pytestmark = [
    pytest.mark.nova,
    pytest.mark.soak,
    pytest.mark.rabbitmq,
    pytest.mark.timeout(900),
]
WAIT_SECONDS = 120


@pytest.fixture
def bus(tmp_path: pathlib.Path) -> Iterator[EdgeBus]:
    """The endpoints, which run beside RabbitMQ from the beginning."""
    made = EdgeBus()
    made.start(tmp_path)
    yield made
    made.stop()


class Cell:
    """A stack on RabbitMQ whose processes are taken to another bus one after the other."""

    def __init__(self, stack: NovaStack, bus: EdgeBus) -> None:
        self.stack = stack
        self.client = stack.client
        self.rabbit = stack.bus.url(stack.bus.addresses)
        self._edge = bus.url(bus.addresses)
        self.journals = stack.workdir / "journals"

    def url(self, name: str, on_bus: bool) -> str:
        """The transport_url of a process."""
        return f"{self._edge}?journal_dir={self.journals / name}" if on_bus else self.rabbit

    def configure(self, *processes: Process, on_bus: bool) -> None:
        """Change transport_url in nova.conf; it counts from the next start on."""
        for process in processes:
            path = self.stack.workdir / process.name / "nova.conf"
            line = f"transport_url = {self.url(process.name, on_bus)}"
            text = re.sub(r"(?m)^transport_url = .*$", line, path.read_text())
            path.write_text(text)

    def map(self, on_bus: bool) -> None:
        """Change the cell mapping; the services that have looked it up keep what they know."""
        engine = sqlalchemy.create_engine(self.stack.databases.url("nova_api"))
        with engine.connect() as connection:
            query = "SELECT uuid, database_connection FROM cell_mappings WHERE name = 'cell1'"
            uuid, connected = connection.execute(sqlalchemy.text(query)).one()
        engine.dispose()
        database.manage(
            "nova-manage",
            self.stack.workdir / "nova-api" / "nova.conf",
            *("cell_v2", "update_cell", "--cell_uuid", uuid),
            *("--transport-url", self._edge if on_bus else self.rabbit),
            *("--database_connection", connected),
        )

    def restart_conductor(self, number: int, *, on_bus: bool) -> None:
        conductor = self.stack.conductors[number]
        assert conductor.stop(60)
        self.configure(conductor, on_bus=on_bus)
        self.stack.start_conductor(conductor)

    def restart_compute(self, compute: Compute, *, on_bus: bool) -> None:
        assert self.stack.stop_compute(compute)
        self.configure(compute.process, on_bus=on_bus)
        self.stack.start_compute(compute)

    def restart_control_plane(self, *, on_bus: bool) -> None:
        """What commands the computes: it follows the cell mapping."""
        stack = self.stack
        for process in (stack.api, stack.scheduler):
            assert process.stop(60)
        self.map(on_bus)
        self.configure(stack.api, stack.scheduler, on_bus=on_bus)
        for process in (stack.scheduler, stack.api):
            process.start()
        wait_until(self._answers, WAIT_SECONDS, "nova-api to answer")

    def _answers(self) -> bool:
        try:
            return bool(self.client.services())
        except OSError:
            return False

    def await_drained(self) -> None:
        """As the operator sees it."""
        for folder in sorted(self.journals.iterdir()):
            wait_until(lambda folder=folder: _is_drained(folder), WAIT_SECONDS, f"{folder.name}")

    def check(self, servers: Iterable[str]) -> None:
        """Every server does what it is told, by the way to its host."""
        for server in servers:
            self.client.stop(server)
            self.client.start(server)

    def make(self, *names: str) -> list[str]:
        """One server on each host for each name."""
        made = [
            self.client.create(f"{name}-{compute.host}", host=compute.host)
            for name in names
            for compute in self.stack.computes
        ]
        for server in made:
            self.client.wait_for(server, "ACTIVE")
        return made


def _is_drained(folder: pathlib.Path) -> bool:
    program = pathlib.Path(sys.executable).with_name("nova-edge-bus")
    done = subprocess.run(
        [program, "status", "--journal-dir", folder, "--json"], capture_output=True, check=True
    )
    return bool(json.loads(done.stdout)["drained"])


def test_to_the_bus_and_back(tmp_path: pathlib.Path, bus: EdgeBus) -> None:
    with NovaStack(tmp_path, RabbitBus(), computes=2, conductors=2) as stack:
        cell = Cell(stack, bus)
        first, second = stack.computes
        servers = cell.make("rabbit")

        # There: conductors for both, the computes, what commands them, the rest.
        cell.restart_conductor(1, on_bus=True)
        cell.restart_compute(second, on_bus=True)
        assert all(cell.client.is_up(compute.host) for compute in stack.computes)
        cell.check(servers[:1])
        cell.restart_compute(first, on_bus=True)
        cell.restart_control_plane(on_bus=True)
        cell.restart_conductor(0, on_bus=True)
        cell.check(servers)
        servers += cell.make("bus")

        # And back.
        cell.restart_conductor(0, on_bus=False)
        cell.restart_compute(first, on_bus=False)
        assert all(cell.client.is_up(compute.host) for compute in stack.computes)
        cell.check(server for server in servers if cell.client.host_of(server) == second.host)
        cell.restart_compute(second, on_bus=False)
        cell.restart_control_plane(on_bus=False)
        cell.await_drained()
        cell.restart_conductor(1, on_bus=False)
        cell.check(servers)
        servers += cell.make("again")
        assert sorted(server["id"] for server in cell.client.servers()) == sorted(servers)
        for server in servers:
            assert all(action["message"] is None for action in cell.client.actions(server))
            cell.client.delete(server)
        assert [compute.hypervisor.domains() for compute in stack.computes] == [{}, {}]
