# SPDX-License-Identifier: Apache-2.0
"""Silence is noticed in time by both sides, and a link that answers is never taken for silent."""

import pytest

from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import session
from nova_edge_bus.protocol.states import State
from tests.unit.protocol import pairs

THIRD = pairs.LINK_TIMEOUT / 3


def run_silently(target: session.Session) -> float:
    """Let time pass with nothing heard; give the second at which the session closed."""
    while not target.closed:
        now = target.next_deadline()
        assert now is not None
        target.tick(now)
        target.outgoing()
    return now


def test_hello_without_an_answer_ends_within_the_link_timeout() -> None:
    assert run_silently(pairs.dial(now=100.0)) == pytest.approx(100 + pairs.LINK_TIMEOUT)


def test_a_silent_endpoint_is_noticed_within_the_link_timeout_when_it_is_urgent() -> None:
    dialled, _ = pairs.joined(now=100.0)
    dialled.urgent = True
    assert run_silently(dialled) == pytest.approx(100 + pairs.LINK_TIMEOUT)
    assert dialled.reason == "silent: nothing heard for 3.0 s"


def test_an_idle_link_pings_no_more_often_than_the_endpoint_wants() -> None:
    dialled, _ = pairs.joined(now=100.0)
    assert dialled.next_deadline() == pytest.approx(100 + pairs.HEARTBEAT)
    assert run_silently(dialled) == pytest.approx(100 + pairs.HEARTBEAT + 2 * THIRD)


def test_becoming_urgent_asks_at_once() -> None:
    dialled, _ = pairs.joined(now=100.0)
    dialled.urgent = True
    dialled.tick(101.9)
    assert pairs.heard(dialled) == [messages.Ping(1)]
    assert run_silently(dialled) == pytest.approx(101.9 + 2 * THIRD)


def test_a_silent_peer_is_noticed() -> None:
    _, accepted = pairs.joined(now=100.0)
    assert run_silently(accepted) == pytest.approx(100 + 1.5 * pairs.HEARTBEAT + 5.0)


def test_an_idle_link_that_answers_stays_up_for_ever() -> None:
    dialled, accepted = pairs.joined()
    now = 0.0
    pings = 0
    for _ in range(200):
        now = min(dialled.next_deadline() or 0.0, accepted.next_deadline() or 0.0)
        dialled.tick(now)
        accepted.tick(now)
        said = pairs.carry_seen(dialled, accepted, now)
        pings += sum(isinstance(message, messages.Ping) for message in said)
        pairs.carry(accepted, dialled, now)
        pairs.carry(dialled, accepted, now)
    assert dialled.state is accepted.state is State.UP
    assert pings == pytest.approx(now / pairs.HEARTBEAT, abs=1)


def test_anything_heard_counts_as_life() -> None:
    dialled, _ = pairs.joined()
    dialled.urgent = True
    for second in range(1, 20):
        pairs.say(dialled, messages.Listening(1), now=float(second))
        dialled.tick(second + 0.9)
        assert dialled.outgoing() == []


def test_a_side_that_only_listens_is_not_taken_for_dead() -> None:
    """A peer that hears a lot asks nothing itself, so the endpoint has to."""
    dialled, accepted = pairs.joined()
    for tenth in range(1, 400):
        now = tenth / 10
        accepted.queue(messages.Routes("v/e/t", []))
        accepted.tick(now)
        dialled.tick(now)
        pairs.carry(accepted, dialled, now)
        pairs.carry(dialled, accepted, now)
    assert accepted.state is dialled.state is State.UP


def test_a_ping_is_answered_with_its_token() -> None:
    for target in pairs.joined():
        pairs.say(target, messages.Ping(41))
        assert pairs.heard(target) == [messages.Pong(41)]
