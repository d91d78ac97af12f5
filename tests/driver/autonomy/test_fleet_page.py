# SPDX-License-Identifier: Apache-2.0
"""The fleet page of a real endpoint with real peers, in a real browser."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator

import pytest

import nova_edge_bus
from tests.driver import endpoints
from tests.driver.autonomy.conftest import MakeEdge
from tests.driver.autonomy.roles import Conductor
from tests.driver.conftest import MakeEndpoint
from tests.driver.conftest import MakePeer
from tests.driver.peers import WAIT_SECONDS
from tests.fleet_page import browser
from tests.nova import relay as relays
from tests.nova.processes import wait_until
from tests.unit.snapshot.edge import HOST

pytestmark = pytest.mark.browser

_SERVED = re.compile(r"^metrics at (http://[\d.]+:\d+)/metrics$", re.MULTILINE)


@pytest.fixture
def shared_endpoint(make_endpoint: MakeEndpoint) -> endpoints.Endpoint:
    return make_endpoint("--metrics", "0")


@pytest.fixture
def waiting(shared_endpoint: endpoints.Endpoint, make_peer: MakePeer, topic: str) -> None:
    """A host that has written casts while no endpoint was there, to whom nobody is."""
    shared_endpoint.stop()
    peer = make_peer(host="edge-2")
    for value in range(3):
        peer.client(f"{topic}-nobody").cast({}, "put", value=value)
    seen = len(shared_endpoint.log)
    shared_endpoint.start()
    wait_until(lambda: _SERVED.search(shared_endpoint.log, seen), WAIT_SECONDS, "the page")


@pytest.fixture
def page(
    waiting: None,
    shared_endpoint: endpoints.Endpoint,
    chromium: tuple[str, str],
    tmp_path: pathlib.Path,
) -> Iterator[browser.Page]:
    url = _SERVED.findall(shared_endpoint.log)[-1]
    with browser.looking(chromium, tmp_path, url) as shown:
        yield shown
        assert shown.errors() == []


def by_host(page: browser.Page) -> dict[str, dict[str, str]]:
    return {row["Host"]: row for row in page.rows()}


def test_each_host_is_shown_as_it_is(
    page: browser.Page,
    make_edge: MakeEdge,
    conductor: Conductor,
    relay: relays.Relay,
    uuid: str,
) -> None:
    edge = make_edge()
    edge.instance(uuid)
    page.open("#sort=host")

    def state(host: str) -> str:
        return by_host(page).get(host, {}).get("State", "")[1:]

    hosts = {HOST, "centre", "edge-2"}
    page.wait(lambda: {host for host in hosts if state(host) == "linked"} == hosts)
    shown = by_host(page)
    backlogs = {host: shown[host]["Backlog"] for host in hosts}
    assert backlogs == {HOST: "0", "centre": "0", "edge-2": "3"}
    assert shown["edge-2"]["Lag"] != "0"
    assert shown[HOST]["Version"] == nova_edge_bus.__version__
    assert shown[HOST]["Process"] == "nova-test"

    conductor.server.stop()
    conductor.server.wait()
    edge.save(uuid, power_state=10)
    page.wait(lambda: state(HOST) == "cut off")
    assert by_host(page)[HOST]["Backlog"] == "1"
    assert state("edge-2") == "linked"

    relay.silence()
    page.wait(lambda: state(HOST) == "gone")
    assert by_host(page)[HOST]["Backlog"] == "1"
    assert {host for host in hosts if state(host) == "linked"} == {"centre", "edge-2"}
