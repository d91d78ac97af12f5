# SPDX-License-Identifier: Apache-2.0
"""Who is refused, and who does not read, is logged once an hour and never too often."""

import logging

import pytest

from nova_edge_bus.endpoint import refusals
from nova_edge_bus.protocol import messages
from tests.nova.processes import wait_until
from tests.unit.protocol import pairs

SECONDS = 30.0


def lazy(host: str, peer: bytes = b"peer") -> messages.Hello:
    return pairs.HELLO._replace(host=host, service="nova-compute", peer=peer)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


def test_a_peer_that_does_not_read_is_named_once_an_hour(
    told: pytest.LogCaptureFixture,
) -> None:
    it = refusals.Refusals()
    for now, peer in ((0.0, b"one"), (1.0, b"one"), (2.0, b"two"), (refusals.REPEAT, b"one")):
        it.tell_slow(lazy("edge-1", peer), now)
    it.tell_slow(lazy("edge-2"), refusals.REPEAT)
    wait_until(lambda: "host=edge-2" in told.text, SECONDS, "the log")
    lines = [each.getMessage() for each in told.records]
    assert [line.partition(" peer=")[0] for line in lines] == [
        "slow-reader host=edge-1 service=nova-compute",
        "slow-reader host=edge-1 service=nova-compute",
        "slow-reader host=edge-2 service=nova-compute",
    ]


def test_of_many_only_so_many_are_named_and_the_others_counted(
    told: pytest.LogCaptureFixture,
) -> None:
    it = refusals.Refusals()
    for number in range(refusals.LINES_A_MINUTE + 5):
        it.tell_slow(lazy(f"edge-{number}"), 0.0)
    it.tell_slow(lazy("last"), 60.0)
    wait_until(lambda: "host=last" in told.text, SECONDS, "the log")
    lines = [each.getMessage() for each in told.records]
    assert len(lines) == refusals.LINES_A_MINUTE + 2
    assert lines[-2] == "refused 5 more in the minute before"
