# SPDX-License-Identifier: Apache-2.0
"""The buses that are compared, each behind the same few attributes."""

import contextlib
import pathlib
import re
import secrets
import shutil
import sys
import typing
import urllib.parse

import kombu

from bench import places
from bench import processes
from bench import usage

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_START = 30.0
"""Seconds that a bus gets to be ready."""


class Unavailable(Exception):
    """A bus cannot be reached or started."""


class Backend(typing.Protocol):
    """One bus, ready for a sender and a receiver between :meth:`open` and :meth:`close`."""

    name: str

    def open(self) -> None:
        """Make the bus ready.

        :raises Unavailable: when it cannot be reached or started.
        """

    def place(self, role: str) -> places.Place:
        """What the process in *role* (sender, receiver) connects to."""

    def carriers(self) -> dict[str, int]:
        """The processes that carry the messages, by name, as far as they are on this machine."""

    def version(self) -> str:
        """The version of what carries the messages."""

    def close(self) -> None:
        """Remove what the run left on the bus."""


class Rabbit:
    """RabbitMQ, with topics and an exchange of this run's own."""

    def __init__(self, url: str, quorum: bool) -> None:
        """
        :param url: the transport URL of the broker
        :param quorum: use quorum queues for the topics
        """
        self._url = url
        self._quorum = quorum
        self.name = "rabbit-quorum" if quorum else "rabbit"
        run = secrets.token_hex(4)
        self._exchange = f"bench-{run}"
        self._topics = (f"conductor-{run}", f"compute-{run}", f"notifications-{run}")
        self._schedulers = f"scheduler-{run}"
        self._version = "unknown"

    def open(self) -> None:
        """See :meth:`Backend.open`."""
        with self._connection() as connection:
            properties = connection.connection.server_properties
            self._version = str(properties.get("version", "unknown"))

    @contextlib.contextmanager
    def _connection(self) -> typing.Iterator[typing.Any]:
        parts = urllib.parse.urlsplit(self._url)
        plain = urllib.parse.urlunsplit(parts._replace(scheme="amqp", query=""))
        untyped: typing.Any = kombu
        connection = untyped.Connection(plain, connect_timeout=_START)
        try:
            connection.connect()
            yield connection
        except OSError as error:
            where = f"{parts.hostname}:{parts.port or 5672}"
            raise Unavailable(
                f"cannot reach RabbitMQ at {where}: {error}; "
                "start it, or see --rabbit-url and --backends"
            ) from error
        finally:
            connection.release()

    def place(self, role: str) -> places.Place:
        """See :meth:`Backend.place`."""
        query = "?rabbit_quorum_queue=true" if self._quorum else ""
        url = self._url + query
        return places.Place(url, self._exchange, *self._topics, scheduler_topic=self._schedulers)

    def carriers(self) -> dict[str, int]:
        """See :meth:`Backend.carriers`."""
        parts = urllib.parse.urlsplit(self._url)
        if parts.hostname not in _LOOPBACK:
            return {}
        found = usage.listener(parts.port or 5672)
        return {} if found is None else {"broker": found}

    def version(self) -> str:
        """See :meth:`Backend.version`."""
        return f"RabbitMQ {self._version}{', quorum queues' if self._quorum else ''}"

    def close(self) -> None:
        """Delete the queues and exchanges that do not expire by themselves."""
        conductor, compute, notifications = self._topics
        queues = [
            conductor,
            f"{conductor}.{places.CONDUCTOR_HOST}",
            compute,
            f"{compute}.{places.COMPUTE_HOST}",
            f"{notifications}.info",
            self._schedulers,
            *(f"{self._schedulers}.{host}" for host in places.SCHEDULER_HOSTS),
        ]
        with self._connection() as connection:
            channel = connection.channel()
            for queue in queues:
                channel.queue_delete(queue)
            channel.exchange_delete(self._exchange)


class EdgeBus:
    """The edge bus: an endpoint process of this run's own, and a journal for each side."""

    name = "edge"

    def __init__(self, journal_dir: pathlib.Path, options: dict[str, str]) -> None:
        """
        :param journal_dir: existing directory on the disk to measure with
        :param options: further [edge_bus] options for both sides
        """
        self._journals = journal_dir
        self._options = options
        self._stack = contextlib.ExitStack()
        self._address = ""

    def open(self) -> None:
        """See :meth:`Backend.open`."""
        command = [program(), "endpoint", "--listen", "tcp://127.0.0.1:0"]
        command += ["--curve-dir", str(places.NO_KEYS)]
        self.endpoint = processes.Child("endpoint", command, self._journals / "endpoint.log")
        self._stack.callback(self.endpoint.stop)
        try:
            line = self.endpoint.line(_START)
        except processes.ChildFailed as error:
            self.close()
            raise Unavailable(f"cannot start 'nova-edge-bus endpoint': {error}") from error
        found = re.search(r"listening on tcp://(\S+)", line)
        if found is None:
            self.close()
            raise Unavailable(f"'nova-edge-bus endpoint' said {line.strip()!r}, no address")
        self._address = found[1]

    def place(self, role: str) -> places.Place:
        """See :meth:`Backend.place`."""
        own = {"journal_dir": str(self._journals / role), "curve_dir": str(places.NO_KEYS)}
        options = {**own, **self._options}
        url = f"edgebus://{self._address}/?{urllib.parse.urlencode(options, safe='/')}"
        return places.Place(url, "nova", "conductor", "compute", "notifications")

    def carriers(self) -> dict[str, int]:
        """See :meth:`Backend.carriers`."""
        return {"endpoint": self.endpoint.pid}

    def version(self) -> str:
        """See :meth:`Backend.version`."""
        import nova_edge_bus

        return f"nova-edge-bus {nova_edge_bus.__version__}"

    def close(self) -> None:
        """End the endpoint."""
        self._stack.close()


def program() -> str:
    """The command ``nova-edge-bus`` that belongs to this Python.

    :raises Unavailable: when it is not installed
    """
    beside = pathlib.Path(sys.executable).with_name("nova-edge-bus")
    program = str(beside) if beside.exists() else shutil.which("nova-edge-bus")
    if program is None:
        raise Unavailable("no 'nova-edge-bus' beside this Python; see 'pip install .'")
    return program
