# SPDX-License-Identifier: Apache-2.0
"""Endpoints, peers and programs for the tests of the driver."""

from __future__ import annotations

import concurrent.futures
import pathlib
import uuid
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from futurist import _thread as futurist_thread

from nova_edge_bus.keys import files
from tests.driver import attackers
from tests.driver import endpoints
from tests.driver import keyrings
from tests.driver import peers
from tests.driver import programs
from tests.driver import secured

MakePeer = Callable[..., peers.Peer]
MakeEndpoint = Callable[..., endpoints.Endpoint]
RunProgram = Callable[..., programs.Program]


@pytest.fixture(autouse=True)
def _end_thread_pools_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle thread of a server's pool looks once a second whether it should end."""
    monkeypatch.setattr(futurist_thread.ThreadWorker, "MAX_IDLE_FOR", 0.05)


@pytest.fixture(scope="session")
def shared_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[endpoints.Endpoint]:
    """An endpoint for the tests that leave it alone; they use topics of their own."""
    endpoint = endpoints.Endpoint(tmp_path_factory.mktemp("endpoint"))
    endpoint.start()
    yield endpoint
    endpoint.stop()


@pytest.fixture
def make_endpoint(tmp_path: pathlib.Path) -> Iterator[MakeEndpoint]:
    """Makes and starts endpoints that a test can kill."""
    made: list[endpoints.Endpoint] = []

    def make(*options: str) -> endpoints.Endpoint:
        made.append(endpoints.Endpoint(tmp_path, f"endpoint-{len(made)}", options))
        made[-1].start()
        return made[-1]

    yield make
    for endpoint in made:
        endpoint.stop()


@pytest.fixture
def make_peer(shared_endpoint: endpoints.Endpoint, tmp_path: pathlib.Path) -> Iterator[MakePeer]:
    """Makes peers, on the shared endpoint and with a journal directory of their own if not told
    otherwise, and closes them."""
    made: list[peers.Peer] = []

    def make(url: str | None = None, journal: str | None = None, **options: Any) -> peers.Peer:
        journal_dir = tmp_path / (journal or f"journal-{len(made)}")
        made.append(peers.Peer(url or shared_endpoint.url, journal_dir, **options))
        return made[-1]

    yield make
    with concurrent.futures.ThreadPoolExecutor(max(1, len(made))) as closing:
        list(closing.map(lambda peer: peer.close(), made))


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"topic-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def run_program(
    shared_endpoint: endpoints.Endpoint, tmp_path: pathlib.Path
) -> Iterator[RunProgram]:
    """Runs programs, on the shared endpoint if not told otherwise, and ends them."""
    running: list[programs.Program] = []

    def run(
        function: str, *, url: str | None = None, journal: str = "journal", **arguments: Any
    ) -> programs.Program:
        arguments["url"] = url or shared_endpoint.url
        arguments["journal_dir"] = tmp_path / journal
        running.append(programs.Program(function, **arguments))
        return running[-1]

    yield run
    for program in running:
        program.close()


@pytest.fixture
def keyring(tmp_path: pathlib.Path) -> keyrings.Keyring:
    """The keys of :func:`endpoint` and of its peers."""
    return keyrings.Keyring(tmp_path / "keys")


@pytest.fixture
def endpoint(make_endpoint: MakeEndpoint, keyring: keyrings.Keyring) -> endpoints.Endpoint:
    """An endpoint that encrypts, and admits who is on the keyring."""
    return make_endpoint("--curve-dir", str(keyring.endpoint_dir))


@pytest.fixture
def attacker(
    endpoint: endpoints.Endpoint, keyring: keyrings.Keyring
) -> Iterator[secured.MakeAttacker]:
    """Makes attackers that know the endpoint's key."""
    made: list[attackers.Attacker] = []

    def make(pair: files.Pair | None = None, **options: Any) -> attackers.Attacker:
        options.setdefault("server", keyring.endpoint_key)
        made.append(attackers.Attacker(endpoint.address, pair, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def honest(
    endpoint: endpoints.Endpoint, keyring: keyrings.Keyring, make_peer: MakePeer
) -> secured.Honest:
    """A conductor and a compute that go on whatever is done beside them."""
    return secured.Honest(endpoint, keyring, make_peer)
