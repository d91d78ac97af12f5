# SPDX-License-Identifier: Apache-2.0
"""A real nova on loopback: placement, nova-api, scheduler, conductor and computes from PyPI."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import sys
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

import requests

from tests.nova import config
from tests.nova import database
from tests.nova import rpc_trace
from tests.nova.bus import Bus
from tests.nova.client import NovaClient
from tests.nova.config import Options
from tests.nova.database import Databases
from tests.nova.database import MariadbDatabases
from tests.nova.database import SqliteDatabases
from tests.nova.hypervisor import Hypervisor
from tests.nova.processes import Process
from tests.nova.processes import reserve_port
from tests.nova.processes import wait_until
from tests.nova.relay import Relay
from tests.nova.rest_stub import RestStub
from tests.nova.sites import RestLink
from tests.nova.sites import Site

FLAVORS = {"small": (1, 256, 1), "large": (2, 512, 2)}
_START_SECONDS = 120
_STOP_SECONDS = 60


class Compute:
    """One compute host: its nova-compute, its links to the centre and its hypervisor."""

    def __init__(self, host: str, state: pathlib.Path, process: Process, site: Site) -> None:
        """Put the parts together; the stack makes them."""
        self.host = host
        self.state = state
        self.process = process
        self.site = site
        self.relay = site.bus
        self.rpc_trace = state / rpc_trace.FILE

    @property
    def serves(self) -> bool:
        """Whether nova-compute runs and has begun to serve RPC, whoever hears of it."""
        return self.process.alive and _joined(self.process) > 0

    @property
    def hypervisor(self) -> Hypervisor:
        """The host's domains, to look at or to change behind nova's back."""
        return Hypervisor(self.state / "hypervisor")


class NovaStack:
    """All processes of a small nova.

    As a context manager it starts at the beginning and kills at the end.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        bus: Bus,
        *,
        computes: int = 2,
        backend: str = "sqlite",
        concurrency: str = "threading",
        conductors: int = 1,
        conductor_workers: int = 2,
        options: Options | None = None,
        compute_options: Options | None = None,
        far_sites: bool = False,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Describe the stack; start() runs it.

        :param workdir: configuration, logs, databases, journals and domains are kept in it
        :param backend: sqlite, or mariadb for the server on 127.0.0.1:3306
        :param concurrency: threading or eventlet, for all nova services
        :param options: configuration on top of what all nova services get
        :param compute_options: the same for the computes alone
        :param far_sites: whether the computes reach placement, glance and neutron through a REST
            guard and a link that is cut together with the bus
        :param progress: told in a word or two what is being done
        """
        self.workdir = workdir.resolve()
        self.bus = bus
        self.computes: list[Compute] = []
        self._compute_count = computes
        self._environment = config.environment(concurrency)
        self._conductor_workers = conductor_workers
        self._options = options or {}
        self._compute_options = compute_options or {}
        self._far_sites = far_sites
        self._progress = progress
        self.databases: Databases = (
            MariadbDatabases() if backend == "mariadb" else SqliteDatabases(self.workdir / "db")
        )
        self._stub = RestStub()
        self._placement_socket = reserve_port()
        self._api_socket = reserve_port()
        self.placement = self._wsgi(
            "placement", "placement.wsgi.api", self._placement_socket, config.environment()
        )
        self.api = self._wsgi(
            "nova-api", "nova.wsgi.osapi_compute", self._api_socket, self._environment
        )
        self.scheduler = self._service("nova-scheduler")
        self.conductors = [
            self._service("nova-conductor", f"conductor-{number}") for number in range(conductors)
        ]
        self._controllers = (self.placement, *self.conductors, self.scheduler, self.api)
        self.client = NovaClient(self.api_url)
        self._undo = contextlib.ExitStack()

    @property
    def api_url(self) -> str:
        """Where nova-api answers."""
        return _url(self._api_socket)

    @property
    def placement_url(self) -> str:
        """Where placement answers."""
        return _url(self._placement_socket)

    @property
    def processes(self) -> Sequence[Process]:
        """All processes, the bus's own included."""
        computes = (each.process for each in self.computes)
        return (*self.bus.processes, *self._controllers, *computes)

    def __enter__(self) -> NovaStack:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Run everything and return when servers can be booted.

        :raises NotReadyError: when a part does not come up; everything is stopped again
        """
        with contextlib.ExitStack() as undo:
            self._start_bus_and_rest(undo)
            self._start_controllers(undo)
            self._start_computes(undo)
            self._progress("host discovery")
            self._discover_hosts()
            for name, (vcpus, ram_mb, disk_gb) in FLAVORS.items():
                self.client.create_flavor(name, vcpus, ram_mb, disk_gb)
            self._undo = undo.pop_all()

    def stop(self) -> list[Process]:
        """Stop everything gracefully, computes first; what is in the workdir stays.

        :returns: the processes that had to be killed
        """
        stubborn: list[Process] = []
        for tier in ([each.process for each in self.computes], self._controllers):
            for process in tier:
                process.terminate()
            stubborn += [process for process in tier if not process.stop(_STOP_SECONDS)]
        self.kill()
        return stubborn

    def kill(self) -> None:
        """End everything at once; what is in the workdir stays."""
        self._undo.close()
        for reserved in (self._placement_socket, self._api_socket):
            reserved.close()

    def compute(self, host: str) -> Compute:
        """Return the compute of that name."""
        return next(each for each in self.computes if each.host == host)

    def start_compute(
        self, compute: Compute, *, expect_up: bool = True, seconds: float = _START_SECONDS
    ) -> None:
        """Start a nova-compute again, and return when it serves and the API says it is up.

        :param expect_up: False where the API cannot hear of it, as in a cut: what nova-compute's
            own log says has to do
        :param seconds: how long to wait for each of the two
        :raises NotReadyError: when it does not
        """
        _start(compute.process, seconds=seconds)
        if expect_up:
            wait_until(
                lambda: self.client.is_up(compute.host), seconds, f"{compute.host} to be up"
            )

    def wait_linked(self, compute: Compute, seconds: float = _START_SECONDS) -> None:
        """Return when a compute that was cut off is up for the API and reaches all services.

        :raises NotReadyError: when it is not in time
        """
        rest = compute.site.rest
        wait_until(lambda: self.client.is_up(compute.host), seconds, f"{compute.host} to be up")
        if rest is not None:
            wait_until(rest.in_reach, seconds, f"the REST services of {compute.host}")

    def stop_compute(self, compute: Compute, seconds: float = _STOP_SECONDS) -> bool:
        """Stop a nova-compute as an operator does, and return when it is gone.

        :param seconds: after which it is killed
        :returns: whether it ended by itself
        """
        return compute.process.stop(seconds)

    def start_conductor(self, conductor: Process) -> None:
        """Start a nova-conductor again, and return when all its workers serve.

        :raises NotReadyError: when they do not
        """
        _start(conductor, self._conductor_workers)

    def _start_bus_and_rest(self, undo: contextlib.ExitStack) -> None:
        self._progress("bus")
        undo.callback(self.bus.stop)
        self.bus.start(self.workdir)
        self._stub.start()
        undo.callback(self._stub.stop)
        self._progress("databases")
        undo.callback(self.databases.drop)
        self.databases.create(self.bus.url(self.bus.addresses))

    def _start_controllers(self, undo: contextlib.ExitStack) -> None:
        self._progress("placement, nova-api, scheduler, conductor")
        self._configure_controllers()
        for process in self._controllers:
            undo.callback(process.kill)
            process.start()
        self.placement.wait_ready(lambda: _answers(self.placement_url), _START_SECONDS)
        for conductor in self.conductors:
            _wait_joined(conductor, self._conductor_workers)
        _wait_joined(self.scheduler)
        self.api.wait_ready(lambda: _answers(self.api_url), _START_SECONDS)

    def _start_computes(self, undo: contextlib.ExitStack) -> None:
        for number in range(self._compute_count):
            self.computes.append(self._make_compute(f"compute-{number}", undo))
        self._progress(", ".join(each.host for each in self.computes))
        for compute in self.computes:
            undo.callback(compute.process.kill)
            compute.process.start()
        for compute in self.computes:
            _wait_joined(compute.process)

    def _make_compute(self, host: str, undo: contextlib.ExitStack) -> Compute:
        relay = Relay(self.bus.addresses)
        undo.callback(relay.stop)
        relay.start()
        rest = self._make_rest_link(host, undo) if self._far_sites else None
        self._configure(
            host,
            self.bus.url(relay.addresses),
            config.compute(host),
            config.edge(rest.urls) if rest else {},
            self._compute_options,
            far=True,
        )
        process = self._service("nova-compute", host)
        return Compute(host, self._state(host), process, Site(relay, rest))

    def _make_rest_link(self, host: str, undo: contextlib.ExitStack) -> RestLink:
        log = self.workdir / "logs" / f"{host}-rest-guard.log"
        services = {
            "placement": self.placement_url,
            "neutron": self._stub.url,
            "glance": self._stub.url,
        }
        rest = RestLink(self._state(host), log, services)
        undo.callback(rest.stop)
        rest.start()
        return rest

    def _configure_controllers(self) -> None:
        url = self.bus.url(self.bus.addresses)
        databases = config.databases(
            self.databases.url("nova_api"), self.databases.url("nova_cell1")
        )
        # nova-conductor works on its cell's database, the others look the cells up
        for name in ("nova-api", "nova-scheduler"):
            self._configure(name, url, databases, config.SCHEDULER)
        for conductor in self.conductors:
            options = config.conductor(conductor.name, self._conductor_workers)
            self._configure(conductor.name, url, databases, options, self.bus.conductor_options)
        config.write_api_paste(self._state("nova-api") / "api-paste.ini")
        config.write(
            self._state("placement") / "placement.conf",
            config.placement(self.databases.url("placement")),
        )

    def _configure(
        self, name: str, transport_url: str, *layers: Options, far: bool = False
    ) -> None:
        state = self._state(name)
        common = config.service(state, transport_url, self._stub.url, self.placement_url)
        bus = self.bus.options(state, far=far)
        config.write(state / "nova.conf", config.merged(common, bus, self._options, *layers))

    def _state(self, name: str) -> pathlib.Path:
        state = self.workdir / name
        state.mkdir(parents=True, exist_ok=True)
        return state

    def _service(self, binary: str, host: str | None = None) -> Process:
        name = host or binary
        state = self._state(name)
        return self._process(
            name,
            [binary, "--config-file", str(state / "nova.conf")],
            {**self._environment, rpc_trace.ENVIRONMENT_VARIABLE: str(state / rpc_trace.FILE)},
        )

    def _wsgi(
        self, name: str, module: str, reserved: socket.socket, environment: Mapping[str, str]
    ) -> Process:
        directory = str(self._state(name))
        return self._process(
            name,
            ["wsgi", f"{module}:application", str(reserved.getsockname()[1])],
            {
                **environment,
                "OS_NOVA_CONFIG_DIR": directory,
                "OS_PLACEMENT_CONFIG_DIR": directory,
            },
        )

    def _process(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> Process:
        return Process(
            name,
            [sys.executable, "-m", "tests.nova.service", *arguments],
            self.workdir / "logs" / f"{name}.log",
            environment,
        )

    def _discover_hosts(self) -> None:
        nova_conf = self._state("nova-api") / "nova.conf"
        database.manage("nova-manage", nova_conf, "cell_v2", "discover_hosts")


def _url(reserved: socket.socket) -> str:
    host, port = reserved.getsockname()
    return f"http://{host}:{port}"


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def _start(process: Process, workers: int = 1, seconds: float = _START_SECONDS) -> None:
    process.start()
    _wait_joined(process, workers, seconds)


def _wait_joined(process: Process, workers: int = 1, seconds: float = _START_SECONDS) -> None:
    """Wait until each worker of a nova service has begun to serve RPC."""
    process.wait_ready(lambda: _joined(process) >= workers, seconds)


def _joined(process: Process) -> int:
    return process.log_since_start().count("Join ServiceGroup membership")
