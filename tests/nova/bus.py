# SPDX-License-Identifier: Apache-2.0
"""The message bus under a stack: RabbitMQ, or the edge bus with its endpoints."""

from __future__ import annotations

import abc
import pathlib
import secrets
import subprocess
import sys
from collections.abc import Sequence

from tests.nova.config import Options
from tests.nova.processes import Process
from tests.nova.processes import accepts_connections
from tests.nova.processes import free_port
from tests.nova.relay import Address

_RABBITMQCTL_SECONDS = 60
_ENDPOINT_START_SECONDS = 30


class Bus(abc.ABC):
    """What a stack needs to know of its bus."""

    name: str
    addresses: Sequence[Address]
    """Where the bus listens; a relay stands before each for every compute."""

    @abc.abstractmethod
    def start(self, workdir: pathlib.Path) -> None:
        """Make the bus ready to be dialled.

        :param workdir: where the bus may keep its logs
        """

    @abc.abstractmethod
    def stop(self) -> None:
        """Take down what start() made."""

    @abc.abstractmethod
    def url(self, addresses: Sequence[Address]) -> str:
        """Return the transport_url of a client that dials these addresses."""

    def options(self, state: pathlib.Path) -> Options:
        """Return what one client's configuration says besides the URL.

        :param state: the client's own directory
        """
        return {}

    @property
    def processes(self) -> Sequence[Process]:
        """The processes that make up the bus."""
        return ()


class RabbitBus(Bus):
    """A virtual host of its own in the RabbitMQ server on 127.0.0.1:5672 (guest)."""

    name = "rabbit"
    addresses = (("127.0.0.1", 5672),)

    def __init__(self) -> None:
        """Choose a name that no other run uses."""
        self._vhost = f"edge-bus-test-{secrets.token_hex(4)}"

    def start(self, workdir: pathlib.Path) -> None:
        """Make the virtual host.

        :raises subprocess.CalledProcessError: when the server is not there
        """
        _rabbitmqctl("add_vhost", self._vhost)
        _rabbitmqctl("set_permissions", "-p", self._vhost, "guest", ".*", ".*", ".*")

    def stop(self) -> None:
        """Delete the virtual host with its queues."""
        _rabbitmqctl("delete_vhost", self._vhost)

    def url(self, addresses: Sequence[Address]) -> str:
        """Name the addresses and the virtual host."""
        hosts = ",".join(f"guest:guest@{host}:{port}" for host, port in addresses)
        return f"rabbit://{hosts}/{self._vhost}"


class EdgeBus(Bus):
    """Endpoints in processes of their own; each client keeps its journal in its own directory."""

    name = "edge"

    def __init__(self, endpoints: int = 1) -> None:
        """Choose the endpoints' ports; start() runs them."""
        self.addresses = [("127.0.0.1", free_port()) for _ in range(endpoints)]
        self._endpoints: list[Process] = []

    @property
    def processes(self) -> Sequence[Process]:
        """The endpoints."""
        return self._endpoints

    def start(self, workdir: pathlib.Path) -> None:
        """Run the endpoints and wait until each accepts connections.

        :raises NotReadyError: when one does not
        """
        command = str(pathlib.Path(sys.executable).with_name("nova-edge-bus"))
        for number, (host, port) in enumerate(self.addresses):
            endpoint = Process(
                f"endpoint-{number}",
                [command, "endpoint", "--listen", f"tcp://{host}:{port}"],
                workdir / "logs" / f"endpoint-{number}.log",
            )
            self._endpoints.append(endpoint)
            self.start_endpoint(endpoint)

    def start_endpoint(self, endpoint: Process) -> None:
        """Start one endpoint, for the first time or again."""
        _, port = self.addresses[self._endpoints.index(endpoint)]
        endpoint.start()
        endpoint.wait_ready(lambda: accepts_connections(port), _ENDPOINT_START_SECONDS)

    def stop(self) -> None:
        """Stop the endpoints."""
        for endpoint in self._endpoints:
            endpoint.stop()

    def url(self, addresses: Sequence[Address]) -> str:
        """Name the addresses."""
        return "edgebus://" + ",".join(f"{host}:{port}" for host, port in addresses) + "/"

    def options(self, state: pathlib.Path) -> Options:
        """Place the journal."""
        return {"edge_bus": {"journal_dir": journal_directory(state)}}


def journal_directory(state: pathlib.Path) -> pathlib.Path:
    """Return where a client of the edge bus keeps its journal."""
    return state / "edge-bus"


def _rabbitmqctl(*arguments: str) -> None:
    command = ["rabbitmqctl", "--quiet", *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=_RABBITMQCTL_SECONDS)
