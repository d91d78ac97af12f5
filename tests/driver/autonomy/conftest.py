# SPDX-License-Identifier: Apache-2.0
"""A centre and an edge host, in this process, with a relay for the WAN between them."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest

from tests.driver import endpoints
from tests.driver.autonomy import roles
from tests.driver.conftest import MakePeer
from tests.nova import relay as relays
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot import rows
from tests.unit.snapshot.conftest import centre as centre
from tests.unit.snapshot.conftest import empty_database as empty_database
from tests.unit.snapshot.edge import HOST

MakeEdge = Callable[..., roles.Edge]


@pytest.fixture
def uuid(centre: centres.Centre) -> str:
    """An instance on the edge host, which has a service as well."""
    rows.service(centre)
    made: str = rows.instance(centre).uuid
    return made


@pytest.fixture
def conductor(
    centre: centres.Centre, make_peer: MakePeer, topic: str
) -> Iterator[roles.Conductor]:
    """A centre that serves the test's topic."""
    made = roles.Conductor(centre)
    made.peer = make_peer(host="centre", link_timeout=roles.LINK_TIMEOUT)
    made.server = made.peer.serve(topic, "centre", made, threads=4)
    yield made
    made.gate.set()


@pytest.fixture
def relay(shared_endpoint: endpoints.Endpoint) -> Iterator[relays.Relay]:
    """The WAN between edge hosts and the shared endpoint."""
    made = relays.Relay([(shared_endpoint.host, shared_endpoint.port)])
    made.start()
    yield made
    made.stop()


@pytest.fixture
def make_edge(
    make_peer: MakePeer,
    conductor: roles.Conductor,
    relay: relays.Relay,
    shared_endpoint: endpoints.Endpoint,
    topic: str,
) -> MakeEdge:
    """Makes edge hosts, behind the relay if not told otherwise."""
    ((host, port),) = relay.addresses
    default_topic = topic

    def make(url: str = "", topic: str = "", direct: bool = False, **options: Any) -> roles.Edge:
        url = url or (shared_endpoint.url if direct else f"edgebus://{host}:{port}/")
        settings = {"link_timeout": roles.LINK_TIMEOUT, "autonomy": "on", **options}
        peer = make_peer(url, host=HOST, exmods=["nova.exception"], **settings)
        return roles.Edge(peer, topic or default_topic)

    return make


@pytest.fixture
def edge(make_edge: MakeEdge, uuid: str) -> roles.Edge:
    """An edge host that knows its instance and its service."""
    made = make_edge()
    made.instance(uuid)
    made.service()
    return made


@pytest.fixture
def cut_edge(edge: roles.Edge, relay: relays.Relay, uuid: str) -> roles.Edge:
    """The same, after it has noticed that its link is silent."""
    relay.silence()
    edge.save(uuid, power_state=10)
    return edge


@pytest.fixture
def callers() -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    """Threads for callers that wait."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        yield pool
