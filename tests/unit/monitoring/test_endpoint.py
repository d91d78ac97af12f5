# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus endpoint --metrics``: a real process, read over HTTP."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from nova_edge_bus.protocol.states import State
from tests.unit.endpoint import peers
from tests.unit.endpoint.test_command import process
from tests.unit.monitoring import reading


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    made: zmq.Context[Any] = zmq.Context()
    yield made
    made.destroy(linger=0)


def test_an_endpoint_tells_its_sessions(context: zmq.Context[Any]) -> None:
    with process("--listen", peers.LOOPBACK, "--metrics", "0", "--json") as running:
        assert running.stdout is not None
        said = json.loads(running.stdout.readline())
        assert said["metrics"].startswith("http://127.0.0.1:")
        assert reading.metrics(said["metrics"])["edge_bus_endpoint_sessions"] == {
            (peers.LOOPBACK,): 0
        }
        peer = peers.Peer(context, said["listening"][0])
        peers.run([peer], lambda: peer.session.state is State.UP)
        found = reading.metrics(said["metrics"])
        assert found["edge_bus_endpoint_sessions"] == {(peers.LOOPBACK,): 1}
        assert found["edge_bus_endpoint_received_bytes_total"][(peers.LOOPBACK,)] > 0
        assert found["edge_bus_endpoint_refused_total"][(peers.LOOPBACK, "no_route")] == 0
        assert reading.get(f"{said['metrics']}/healthz") == (200, "ok\n")
        running.send_signal(signal.SIGTERM)
        assert running.wait(peers.PATIENCE) == 0
