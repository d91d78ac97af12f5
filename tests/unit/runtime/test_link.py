# SPDX-License-Identifier: Apache-2.0
"""How a link is dialled again."""

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import settings as limits
from nova_edge_bus.runtime import link as link_module
from tests.unit.endpoint import peers
from tests.unit.runtime.test_outgoing import SETTINGS

SECONDS_A_SESSION = 40.0


@pytest.fixture
def context() -> Iterator["zmq.Context[Any]"]:
    made: zmq.Context[Any] = zmq.Context()
    yield made
    made.destroy(linger=0)


def hello(name: bytes) -> messages.Hello:
    peer = name.ljust(8, b"-")
    return messages.Hello(1, 1, peer, b"", 0, b"", "host", "service", 64, 1 << 20)


def linked(context: "zmq.Context[Any]", address: str, name: bytes) -> link_module.Link:
    link = link_module.Link(context, address, lambda: hello(name), SETTINGS)
    deadline = time.monotonic() + peers.PATIENCE
    while not link.is_up:
        assert time.monotonic() < deadline, "the link does not come up"
        link.tick(time.monotonic())
        link.flush()
        zmq.select(link.sockets(), [], [], 0.05)
        for socket in link.sockets():
            link.read(socket, time.monotonic())
    link.tick(time.monotonic())
    return link


def test_the_return_to_an_endpoint_is_spread_as_it_asked(
    context: "zmq.Context[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = limits.Settings(greetings_per_second=1 / SECONDS_A_SESSION)
    with peers.endpoint(context, settings=settings) as (_, address):
        links = [linked(context, address, b"%d" % number) for number in range(3)]
        monkeypatch.setattr(random, "uniform", lambda low, high: high)
        pauses = []
        for link in links:
            link.hang_up(100.0, "the endpoint is gone")
            pauses.append((link.next_deadline() or 0.0) - 100.0)
            link.close(0)
    assert pauses[0] <= 1.5 * link_module.FIRST_PAUSE + 0.001
    assert pauses[1:] == [pytest.approx(SECONDS_A_SESSION), pytest.approx(2 * SECONDS_A_SESSION)]
