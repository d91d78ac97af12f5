# SPDX-License-Identifier: Apache-2.0
"""What a fleet is linked to: endpoints as operators run them, and their keys."""

import collections.abc
import json
import pathlib
import sys
import time
import types
import urllib.parse
import urllib.request

from prometheus_client import parser

from bench import backends
from bench import places
from bench import processes
from bench import usage
from nova_edge_bus.keys import credentials
from nova_edge_bus.keys import enrolment
from nova_edge_bus.keys import files
from nova_edge_bus.monitoring import catalogue
from nova_edge_bus.protocol import identity

CROWD = [sys.executable, "-m", "bench.crowd_process"]
_START = 60.0
_LOOK_SECONDS = 0.5
_COUNTS = {
    "sessions": catalogue.ENDPOINT_SESSIONS,
    "packets_in": catalogue.ENDPOINT_PACKETS_RECEIVED,
    "packets_out": catalogue.ENDPOINT_PACKETS_SENT,
    "delivered": catalogue.ENDPOINT_DELIVERED,
}


class Keys:
    """A directory of keys for all processes of a run: those of the peers, and who is enrolled."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        pair = files.generate()
        files.write_pair(directory, credentials.ENDPOINT_NAME, pair)
        self.server = pair.public.hex()

    def enroll(self, computes: list[str], conductors: list[str]) -> None:
        """Make and enrol a key for each of these hosts and for the live peers: HOST.key."""
        roles = {
            identity.Role.COMPUTE: [*computes, places.COMPUTE_HOST],
            identity.Role.CONDUCTOR: [*conductors, places.CONDUCTOR_HOST],
        }
        enrolled = self.directory / enrolment.DIRECTORY
        for role, hosts in roles.items():
            for host in hosts:
                pair = files.generate()
                files.write_pair(self.directory, host, pair)
                known = enrolment.Enrolled(pair.public, identity.Identity(host, role))
                enrolment.write(enrolled, known)


class Endpoint:
    """A ``nova-edge-bus endpoint`` on loopback, started again at the same port when it was killed.

    :param sessions: held at most
    """

    def __init__(self, log: pathlib.Path, sessions: int, keys: Keys | None) -> None:
        self._log = log
        self._sessions = sessions
        self._keys = keys
        self._process: processes.Child | None = None
        self._metrics = ""
        self.address = "127.0.0.1:0"

    def __enter__(self) -> "Endpoint":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.stop()

    def start(self) -> None:
        """Start it, and return when it listens.

        :raises bench.processes.ChildFailed: when it does not
        """
        command = [backends.program(), "endpoint", "--json", "--listen", f"tcp://{self.address}"]
        command += ["--max-sessions", str(self._sessions), "--metrics", "0"]
        command += ["--curve-dir", str(directory_of(self._keys))]
        self._process = processes.Child("endpoint", command, self._log)
        said = json.loads(self._process.line(_START))
        self._metrics = said["metrics"]
        self.address = said["listening"][0].removeprefix("tcp://")

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        assert self._process is not None
        self._process.kill()

    def usage(self) -> usage.Usage:
        """What the process uses now."""
        assert self._process is not None
        return usage.read(self._process.pid)

    def counts(self) -> dict[str, int]:
        """What it has counted since its start, as its metrics say."""
        with urllib.request.urlopen(f"{self._metrics}/metrics", timeout=_START) as answer:
            text = answer.read().decode()
        values = {
            sample.name: int(sample.value)
            for family in parser.text_string_to_metric_families(text)
            for sample in family.samples
        }
        return {name: values[metric.name] for name, metric in _COUNTS.items()}


def directory_of(keys: Keys | None) -> pathlib.Path:
    """Where keys are looked for."""
    return places.NO_KEYS if keys is None else keys.directory


def url(
    addresses: list[str], virtual_host: str, keys: Keys | None, options: dict[str, str]
) -> str:
    """A transport URL."""
    known = {"curve_dir": str(directory_of(keys))}
    if keys is not None:
        known["curve_server_keys"] = keys.server
    query = urllib.parse.urlencode({**known, **options}, safe="/")
    return f"edgebus://{','.join(addresses)}/{virtual_host}?{query}"


def wait_for(is_so: collections.abc.Callable[[], bool], patience: float, what: str) -> None:
    """Return when something is so.

    :param patience: seconds to wait for it
    :raises bench.processes.ChildFailed: when it is not in time
    """
    deadline = time.monotonic() + patience
    while not is_so():
        if time.monotonic() >= deadline:
            raise processes.ChildFailed(f"{what} took more than {patience:g} s")
        time.sleep(_LOOK_SECONDS)
