# SPDX-License-Identifier: Apache-2.0
"""The events of a cut and its end, in the logs of the process and of the endpoint."""

from __future__ import annotations

import re

import pytest

from tests.driver.conftest import MakeEndpoint
from tests.driver.conftest import MakePeer
from tests.driver.peers import WAIT_SECONDS
from tests.driver.peers import Recorder
from tests.nova.processes import wait_until


def test_a_cut_can_be_followed_in_the_logs(
    make_peer: MakePeer,
    make_endpoint: MakeEndpoint,
    topic: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    endpoint = make_endpoint()
    server = make_peer(endpoint.url, link_timeout=1.0)
    peer = make_peer(endpoint.url, link_timeout=1.0, autonomy="on")
    server.serve(topic, "there", Recorder())
    caplog.set_level("INFO")
    assert peer.client(topic).call({}, "echo", value=1) == 1
    tcp, destination = f"tcp://{endpoint.address}", f"/openstack/{topic}"

    def await_line(text: str, log: str | None = None) -> None:
        wait_until(
            lambda: text in (caplog.text if log is None else endpoint.log), WAIT_SECONDS, text
        )

    await_line(f"link-up endpoint={tcp}: ")
    assert f"endpoint-listening address={tcp}: " in endpoint.log
    up = re.search(
        r"session-up host=edge-1 service=nova-test peer=\w+ outbox=\w+ epoch=\d+: ", endpoint.log
    )
    assert up is not None
    endpoint.stop()
    await_line(f"link-down endpoint={tcp}: ")
    await_line(f"cut-off destination={destination}: ")
    caplog.clear()
    endpoint.start()
    await_line(f"linked destination={destination}: ")
    assert f"{up[0].replace('session-up', 'session-closed')}" in endpoint.log
