# SPDX-License-Identifier: Apache-2.0
"""The message bus under a stack: RabbitMQ, or the edge bus with its endpoints."""

from __future__ import annotations

import abc
import pathlib
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Sequence

from tests.nova import config
from tests.nova.config import Options
from tests.nova.processes import Process
from tests.nova.relay import Address

_RABBITMQCTL_SECONDS = 60
_ENDPOINT_START_SECONDS = 30
_NO_KEYS = pathlib.Path("/nonexistent/edge-bus-keys")
"""Where keys are looked for when none are meant, and not where this machine has its own."""


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

    def options(self, state: pathlib.Path, *, far: bool) -> Options:
        """Return what one client's configuration says besides the URL.

        :param state: the client's own directory
        :param far: whether it is at the far end of a link, a compute
        """
        return {}

    @property
    def conductor_options(self) -> Options:
        """What nova-conductor alone is told besides."""
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
        """Plan the endpoints; start() runs them."""
        self.addresses: list[Address] = []
        self.endpoint_options: list[str] = ["--curve-dir", str(_NO_KEYS)]
        self._count = endpoints
        self._endpoints: list[Process] = []

    @property
    def processes(self) -> Sequence[Process]:
        """The endpoints."""
        return self._endpoints

    def start(self, workdir: pathlib.Path) -> None:
        """Run the endpoints and wait until each listens.

        :raises NotReadyError: when one does not
        """
        for number in range(self._count):
            name = f"endpoint-{number}"
            log = workdir / "logs" / f"{name}.log"
            endpoint = Process(name, [], log, config.environment())
            self._endpoints.append(endpoint)
            self.addresses.append(_start_endpoint(endpoint, "127.0.0.1", 0, self.endpoint_options))

    def start_endpoint(self, number: int) -> None:
        """Start an endpoint again, on the address that its clients know."""
        endpoint, address = self._endpoints[number], self.addresses[number]
        _start_endpoint(endpoint, *address, self.endpoint_options)

    def stop(self) -> None:
        """Stop the endpoints."""
        for endpoint in self._endpoints:
            endpoint.stop()

    def url(self, addresses: Sequence[Address]) -> str:
        """Name the addresses."""
        return "edgebus://" + ",".join(f"{host}:{port}" for host, port in addresses) + "/"

    def options(self, state: pathlib.Path, *, far: bool) -> Options:
        """Place the journal, and compress on the link as beyond the loopback interface."""
        compression = "zstd" if far else "auto"
        own = {"journal_dir": journal_directory(state), "curve_dir": _NO_KEYS}
        return {"edge_bus": {**own, "compression": compression}}


class HostedBus(EdgeBus):
    """One endpoint without a process of its own: a worker of nova-conductor hosts it."""

    def __init__(self) -> None:
        """Take a free port; it is the bus's own for as long as this object lives."""
        super().__init__(endpoints=0)
        # Two sockets with SO_REUSEADDR, as ZeroMQ's are, can be bound to one port as long as only
        # one of them listens, and nobody is given a port that is bound.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.addresses.append(self._reserved.getsockname())

    @property
    def conductor_options(self) -> Options:
        """The address to host the endpoint at."""
        host, port = self.addresses[0]
        return {"edge_bus": {"listen": f"tcp://{host}:{port}"}}

    def stop(self) -> None:
        """Give the port back."""
        self._reserved.close()


def journal_directory(state: pathlib.Path) -> pathlib.Path:
    """Return where a client of the edge bus keeps its journal."""
    return state / "edge-bus"


def _start_endpoint(endpoint: Process, host: str, port: int, options: Sequence[str]) -> Address:
    program = str(pathlib.Path(sys.executable).with_name("nova-edge-bus"))
    endpoint.command = [program, "endpoint", "--listen", f"tcp://{host}:{port}", *options]
    seen = len(endpoint.log_text())
    bound = re.compile(r"^listening on tcp://([\d.]+):(\d+)$", re.MULTILINE)
    endpoint.start()
    endpoint.wait_ready(
        lambda: bound.search(endpoint.log_text(), seen) is not None, _ENDPOINT_START_SECONDS
    )
    found = bound.search(endpoint.log_text(), seen)
    assert found is not None
    return found[1], int(found[2])


def _rabbitmqctl(*arguments: str) -> None:
    command = ["rabbitmqctl", "--quiet", *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=_RABBITMQCTL_SECONDS)
