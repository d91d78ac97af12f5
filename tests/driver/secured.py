# SPDX-License-Identifier: Apache-2.0
"""An endpoint that encrypts, honest peers of it, and attackers at its door."""

from __future__ import annotations

from collections.abc import Callable

from nova_edge_bus.keys import files
from tests.driver import attackers
from tests.driver import endpoints
from tests.driver import keyrings
from tests.driver import peers
from tests.nova.processes import wait_until

MakeAttacker = Callable[..., attackers.Attacker]


class Honest:
    """A conductor and a compute that call each other."""

    def __init__(
        self,
        endpoint: endpoints.Endpoint,
        keyring: keyrings.Keyring,
        make_peer: Callable[..., peers.Peer],
    ) -> None:
        self.options = keyring.peer("edge-7")
        self.conductor = make_peer(endpoint.url, **keyring.peer("centre-1", "conductor"))
        self.compute = make_peer(endpoint.url, **self.options)
        self.conductor.serve("conductor", "centre-1", peers.Recorder("centre-1"))
        self.compute.serve("compute", "edge-7", peers.Recorder("edge-7"))
        self.go_on()

    def go_on(self) -> None:
        """Call each other once more."""
        assert self.compute.client("conductor").call({}, "who") == "centre-1"
        assert self.conductor.client("compute", "edge-7").call({}, "who") == "edge-7"


def refusals(endpoint: endpoints.Endpoint) -> list[str]:
    """What the endpoint has logged of refusals."""
    return [
        line.partition("refused ")[2] for line in endpoint.log.splitlines() if " refused " in line
    ]


def await_refusal(endpoint: endpoints.Endpoint, *texts: str) -> None:
    """Wait until one refusal, and no other, has been logged with all these texts."""
    wait_until(lambda: bool(refusals(endpoint)), peers.WAIT_SECONDS, "a refusal to be logged")
    (line,) = refusals(endpoint)
    assert [text for text in texts if text not in line] == []


def enrolled_pair(keyring: keyrings.Keyring, host: str, role: str = "compute") -> files.Pair:
    pair = files.generate()
    keyring.enroll(pair.public, host, role)
    return pair
