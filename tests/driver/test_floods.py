# SPDX-License-Identifier: Apache-2.0
"""Floods at a live endpoint: each is shed and told of once, and the honest do not notice.

How long their calls take before and meanwhile is printed (``pytest -s``), and no pass or failure.
"""

from __future__ import annotations

import contextlib
import re
import resource
import socket
from collections.abc import Iterator

import pytest

from nova_edge_bus.protocol import allowance
from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import compression
from nova_edge_bus.protocol import messages
from tests.driver import attackers
from tests.driver import endpoints
from tests.driver import floods
from tests.driver import keyrings
from tests.driver import peers
from tests.driver import secured
from tests.nova.processes import wait_until


@pytest.fixture
def calling(honest: secured.Honest) -> Iterator[floods.Calling]:
    made = floods.Calling(honest)
    yield made
    made.stop()


def told_of(endpoint: endpoints.Endpoint, text: str) -> int:
    """How many refusals with this text have been logged."""
    return sum(text in line for line in secured.refusals(endpoint))


def await_told_once(endpoint: endpoints.Endpoint, text: str) -> None:
    wait_until(lambda: told_of(endpoint, text) > 0, peers.WAIT_SECONDS, f"{text!r} to be logged")
    assert told_of(endpoint, text) == 1


def test_with_a_key_of_ones_own(
    calling: floods.Calling,
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: secured.MakeAttacker,
) -> None:
    """Each as often as an attacker likes to come back."""

    def come(host: str, **hello: object) -> attackers.Attacker:
        thief = attacker(secured.enrolled_pair(keyring, host), host=host, **hello)
        thief.until_up()
        return thief

    with calling.told("bombs of objects"):
        assert "without credit" in floods.until_ended(come("bomber"), floods.bomb())
    with calling.told("bombs of bodies"):
        said = floods.until_ended(come("bomber-2"), floods.bomb_of_a_body())
        assert "claims" in said
    with calling.told("pings"):
        assert "without credit" in floods.until_ended(come("pinger"), floods.many_pings())
    with calling.told("a frame that is too large"):
        large = come("large")
        large.socket.send(bytes(compression.MAX_PACKET + 1))
        floods.until_disconnected(large)
    with calling.told("100,000 addresses"):
        greedy = come("greedy")
        greedy.say(*floods.large_lookup(100_000))
        assert "bytes of addresses" in greedy.until_closed()
    with calling.told("100,000 listeners"):
        many = come("many")
        own = "/openstack/compute/many"
        many.say(*(messages.Listen(number, [own], [], "") for number in range(100_000)))
        assert "limit exceeded" in many.until_closed()
    for who, text in {
        "bomber": "without credit",
        "bomber-2": "claims",
        "pinger": "without credit",
        "greedy": "bytes of addresses",
        "many": "limit exceeded",
    }.items():
        await_told_once(endpoint, f"(compute:{who}) at 127.0.0.1: ")
        (line,) = (each for each in secured.refusals(endpoint) if f"(compute:{who})" in each)
        assert text in line


def test_who_does_not_read_or_gives_no_credit(
    calling: floods.Calling,
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: secured.MakeAttacker,
) -> None:
    """He is told no more than is buffered for him; who sends to him is told so, and the log."""
    lazy = attacker(secured.enrolled_pair(keyring, "lazy"), host="lazy", window_messages=0)
    lazy.until_up()
    sender = attacker(secured.enrolled_pair(keyring, "sender"), host="sender")
    sender.until_up()
    body = bytes(1 << 20)
    with calling.told("a peer that gives no credit"):
        for number in range(1, 40):
            sender.say(
                messages.Deliver(
                    lazy.id, 1, None, None, 1, messages.Kind.RECORD, number, 1, 0, "", "a", 0, 0,
                    body,
                )
            )  # fmt: skip
        sender.until(lambda: bool(sender.received(messages.Refuse)))
    assert {each.code for each in sender.received(messages.Refuse)} == {messages.Refusal.BUSY}
    assert lazy.received(messages.Deliver) == []
    lines = [line for line in endpoint.log.splitlines() if " slow-reader " in line]
    assert [line for line in lines if " host=lazy service=" in line] == lines
    assert len(lines) == 1


def test_one_key_begins_session_after_session(
    calling: floods.Calling,
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: secured.MakeAttacker,
) -> None:
    thief = attacker(secured.enrolled_pair(keyring, "edge-1"))
    most = allowance.OF_A_COMPUTE.greetings
    with calling.told("HELLO after HELLO"):
        thief.until_up()
        for _ in range(2 * most):
            thief.session.close("again")
            thief.turn()
            thief.greet_again()
            thief.until(lambda: thief.session.closed or thief.session.welcome is not None)
            if thief.session.closed:
                break
        assert "begins more than 64 sessions at once" in thief.session.reason
        hello = codec.Codec().encode([thief.session.hello])
        for _ in range(50 * floods.BURST):
            thief.socket.send(hello)
    await_told_once(endpoint, "begins more than 64 sessions")


def test_frames_of_another_sent_again(
    calling: floods.Calling,
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: secured.MakeAttacker,
) -> None:
    """What a relay has seen of a session is of no use for another one."""
    relay = floods.Recorder(endpoint.port)
    pair = secured.enrolled_pair(keyring, "edge-1")
    with contextlib.closing(relay):
        victim = attackers.Attacker(relay.address, pair, keyring.endpoint_key)
        victim.until_up()
        victim.say(messages.Listen(1, ["/openstack/compute/edge-1"], [], ""))
        victim.until(lambda: bool(victim.received(messages.Listening)))
        seen = bytes(relay.sent)
        victim.close()
    sessions = len(re.findall("session up", endpoint.log))
    with calling.told("frames sent again"):
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", endpoint.port), 20) as again:
                again.sendall(seen)
                floods.await_closed([again])
    assert len(re.findall("session up", endpoint.log)) == sessions


def test_connections_that_come_to_nothing(
    calling: floods.Calling, endpoint: endpoints.Endpoint
) -> None:
    with calling.told("half-open connections"):
        floods.await_closed(floods.half_open(endpoint.port, floods.BURST))
    assert len(secured.refusals(endpoint)) <= 5


@pytest.mark.soak
def test_ten_thousand_connections_that_come_to_nothing(
    calling: floods.Calling, endpoint: endpoints.Endpoint
) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 11_000:
        pytest.skip(f"this process may open {most} files, not 11,000")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with calling.told("10,000 half-open connections"):
        floods.await_closed(floods.half_open(endpoint.port, 10_000))
    assert len(secured.refusals(endpoint)) <= 20
