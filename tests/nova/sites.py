# SPDX-License-Identifier: Apache-2.0
"""The site of a compute host: its links to the centre, to be cut and healed."""

from __future__ import annotations

import contextlib
import pathlib
import re
import sys
import urllib.parse
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent import futures

import requests

from tests.nova import config
from tests.nova.processes import Process
from tests.nova.relay import Address
from tests.nova.relay import Relay

_GUARD_START_SECONDS = 30
_GUARD_STOP_SECONDS = 15
_ANSWER_SECONDS = 30
# Until its first probe after a heal the guard goes on to refuse, which nova does not take well:
# see "nova.conf of an edge host" in doc/source/nova.rst.
_PROBE_SECONDS = 1


class RestLink:
    """A compute's way to the REST services: its guard, and the relay that stands for the WAN.

    nova-compute talks to the guard, which is on its side of the link, and the guard to the
    services through the relay.
    """

    def __init__(
        self, state: pathlib.Path, log: pathlib.Path, services: Mapping[str, str]
    ) -> None:
        """Plan the way; start() makes it.

        :param state: a directory of the compute's own, where the guard keeps what it caches
        :param services: the URL of each service by the section of nova.conf that names it
        """
        self._services = dict(services)
        self.relay = Relay([_address(url) for url in self._services.values()])
        self.guard = Process("rest-guard", [], log, config.environment())
        self._cache = state / "rest-guard"
        self.urls: dict[str, str] = {}
        """The guard's URL of each service, once it runs."""

    def start(self) -> None:
        """Run the relay and the guard.

        :raises NotReadyError: when the guard does not listen in time
        """
        self.relay.start()
        upstreams = dict(zip(self._services, self.relay.addresses, strict=True))
        program = str(pathlib.Path(sys.executable).with_name("nova-edge-bus"))
        self.guard.command = [
            *(program, "rest-guard", "--debug", f"--cache-dir={self._cache}"),
            f"--probe-interval={_PROBE_SECONDS}",
            f"--probe-interval-max={_PROBE_SECONDS}",
        ]
        for name, (host, port) in upstreams.items():
            upstream = f"{name}=http://{host}:{port}"
            self.guard.command += ["--listen", "127.0.0.1:0", "--upstream", upstream]
        bound = re.compile(r"^listening on (http://\S+)$", re.MULTILINE)
        self.guard.start()
        self.guard.wait_ready(
            lambda: len(bound.findall(self.guard.log_text())) == len(self._services),
            _GUARD_START_SECONDS,
        )
        listening = bound.findall(self.guard.log_text())
        self.urls = dict(zip(self._services, listening, strict=True))

    def in_reach(self) -> bool:
        """Whether all services answer through the guard."""

        def answers(url: str) -> bool:
            # the guard itself says 503, and answers for the root
            return requests.get(f"{url}/-", timeout=_ANSWER_SECONDS).status_code != 503

        with futures.ThreadPoolExecutor() as pool:
            return all(pool.map(answers, self.urls.values()))

    def stop(self) -> None:
        """End both."""
        self.guard.stop(_GUARD_STOP_SECONDS)
        self.relay.stop()


class Site:
    """Everything by which one compute host is linked to the centre."""

    def __init__(self, bus: Relay, rest: RestLink | None) -> None:
        """Put the links together; whoever made them starts and stops them.

        :param rest: None for a host that reaches the REST services past any link
        """
        self.bus = bus
        self.rest = rest
        self.linked = True

    @property
    def relays(self) -> Sequence[Relay]:
        """One for the bus, and one for REST where it is behind the link."""
        return [self.bus] if self.rest is None else [self.bus, self.rest.relay]

    def cut(self) -> None:
        """Let nothing pass any more, in no direction, with all connections left open.

        What a failed WAN looks like from both ends: no reset, no refusal, no answer.
        """
        for relay in self.relays:
            relay.silence()
        self.linked = False

    def heal(self) -> None:
        """Let everything pass again; what was under way arrives, as TCP sends it once more."""
        for relay in self.relays:
            relay.resume()
        self.linked = True

    @contextlib.contextmanager
    def cut_off(self) -> Iterator[None]:
        """Keep the site cut for as long as the block lasts."""
        self.cut()
        try:
            yield
        finally:
            self.heal()


def _address(url: str) -> Address:
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port
