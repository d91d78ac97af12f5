# SPDX-License-Identifier: Apache-2.0
"""Handshake, liveness and credit of one session, and every move of its two state tables."""

from collections.abc import Callable

import pytest

from nova_edge_bus import errors
from nova_edge_bus.protocol import history
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import session
from nova_edge_bus.protocol import shapes
from nova_edge_bus.protocol import states
from nova_edge_bus.protocol.states import Event
from nova_edge_bus.protocol.states import State
from tests.unit.protocol import pairs

FULL = messages.Reject(messages.Rejection.FULL, "full")
LISTEN = messages.Listen(1, ["v/e/t"], [], "")


def goodbye(target: session.Session) -> None:
    pairs.say(target, messages.Goodbye("enough"))


def garbage(target: session.Session) -> None:
    target.receive(b"\xff\xff", 0.0)


def silence(target: session.Session) -> None:
    for _ in range(3):
        target.tick(target.next_deadline() or 0.0)


def loss(target: session.Session) -> None:
    target.lose("gone")


def close(target: session.Session) -> None:
    target.close("done")


Trigger = Callable[[session.Session], None]

EITHER: dict[Event, Trigger] = {
    Event.GOODBYE: goodbye,
    Event.SILENCE: silence,
    Event.VIOLATION: garbage,
    Event.CLOSE: close,
    Event.LOSS: loss,
}
DIAL: dict[tuple[State, Event], Trigger] = {
    (State.GREETING, Event.WELCOME): lambda target: pairs.say(target, pairs.WELCOME),
    (State.GREETING, Event.REJECT): lambda target: pairs.say(target, FULL),
    (State.GREETING, Event.RESET): lambda target: pairs.say(target, messages.Reset()),
    (State.UP, Event.RESET): lambda target: pairs.say(target, messages.Reset()),
    **{(state, event): do for state in (State.GREETING, State.UP) for event, do in EITHER.items()},
}
ACCEPT: dict[tuple[State, Event], Trigger] = {
    (State.GREETING, Event.HELLO): lambda target: pairs.say(target, pairs.HELLO),
    (State.GREETING, Event.REJECT): lambda target: pairs.say(
        target, pairs.HELLO._replace(oldest_version=9, newest_version=9)
    ),
    (State.GREETING, Event.RESET): lambda target: pairs.say(target, messages.Ping(1)),
    **{(state, event): do for state in (State.GREETING, State.UP) for event, do in EITHER.items()},
}


def test_every_move_of_the_tables_is_tried_here() -> None:
    assert set(DIAL) == set(states.DIAL_TRANSITIONS)
    assert set(ACCEPT) == set(states.ACCEPT_TRANSITIONS)


@pytest.mark.parametrize(("state", "event"), DIAL)
def test_dial_moves(state: State, event: Event) -> None:
    target = pairs.dial() if state is State.GREETING else pairs.joined()[0]
    DIAL[state, event](target)
    assert target.state is states.DIAL_TRANSITIONS[state, event]
    assert bool(target.reason) == target.closed


@pytest.mark.parametrize(("state", "event"), ACCEPT)
def test_accept_moves(state: State, event: Event) -> None:
    target = pairs.accept() if state is State.GREETING else pairs.joined()[1]
    ACCEPT[state, event](target)
    assert target.state is states.ACCEPT_TRANSITIONS[state, event]
    assert bool(target.reason) == target.closed


@pytest.mark.parametrize("trigger", [*EITHER.values()])
def test_a_closed_session_stays_closed_and_falls_silent(trigger: Trigger) -> None:
    for target in (pairs.dial(), pairs.accept(), *pairs.joined()):
        trigger(target)
        target.outgoing()
        reason = target.reason
        pairs.say(target, pairs.HELLO, pairs.WELCOME, messages.Ping(1))
        target.queue(LISTEN)
        target.queue(pairs.reply(1))
        for again in EITHER.values():
            again(target)
        assert (target.state, target.reason) == (State.CLOSED, reason)
        assert target.outgoing() == []
        assert target.next_deadline() is None


UNEXPECTED_BY_PEER = [pairs.HELLO, LISTEN, messages.Unlisten(1), messages.Lookup([])]
UNEXPECTED_BY_ENDPOINT = [pairs.WELCOME, FULL, messages.Reset(), messages.Routes("a", [])]


def test_what_the_other_side_never_says_is_a_violation() -> None:
    for message in UNEXPECTED_BY_PEER:
        dialled, _ = pairs.joined()
        pairs.say(dialled, message)
        assert dialled.reason.startswith("protocol error: unexpected " + type(message).__name__)
    for message in UNEXPECTED_BY_ENDPOINT:
        _, accepted = pairs.joined()
        pairs.say(accepted, message)
        assert accepted.reason.startswith("protocol error: unexpected " + type(message).__name__)
        assert pairs.heard(accepted) == [messages.Goodbye(accepted.reason)]


def test_the_first_word_must_be_hello() -> None:
    accepted = pairs.accept()
    pairs.say(accepted, pairs.reply(1), pairs.HELLO)
    assert accepted.closed
    assert accepted.hello is None
    assert pairs.heard(accepted) == [messages.Reset()]


def test_a_peer_without_welcome_takes_nothing() -> None:
    dialled = pairs.dial()
    assert dialled.receive(pairs.CODEC.encode([pairs.reply(1)]), 0.0) == []
    assert dialled.reason == "protocol error: unexpected Reply while greeting"


def test_what_was_queued_early_follows_the_welcome() -> None:
    dialled, accepted = pairs.dial(), pairs.accept()
    dialled.queue(pairs.reply(1))
    dialled.queue(LISTEN)
    dialled.queue(pairs.reply(2))
    assert pairs.carry(dialled, accepted) == []
    assert accepted.hello == pairs.HELLO
    pairs.carry(accepted, dialled)
    assert pairs.carry(dialled, accepted) == [LISTEN, pairs.reply(1), pairs.reply(2)]


@pytest.mark.parametrize(
    ("oldest", "newest", "chosen"), [(1, 1, 1), (1, 9, 2), (2, 2, 2), (3, 9, None), (0, 0, None)]
)
def test_versions(oldest: int, newest: int, chosen: int | None) -> None:
    accepted = pairs.accept(welcome=pairs.WELCOME._replace(version=2))
    pairs.say(accepted, pairs.HELLO._replace(oldest_version=oldest, newest_version=newest))
    if chosen is None:
        assert accepted.rejection == messages.Rejection.VERSION
        assert f"peer {oldest} to {newest}" in accepted.reason
    else:
        expected = pairs.WELCOME._replace(version=chosen, history=history.SIZE)
        assert pairs.heard(accepted) == [expected]


def test_a_version_that_was_not_offered_is_a_violation() -> None:
    dialled = pairs.dial()
    pairs.say(dialled, pairs.WELCOME._replace(version=2))
    assert dialled.reason == "protocol error: endpoint chose version 2, which was not offered"


@pytest.mark.parametrize(("peer", "outbox"), [(b"short", b"outbox--"), (b"peer----", b"x")])
def test_ids_of_hello_are_of_one_length(peer: bytes, outbox: bytes) -> None:
    accepted = pairs.accept()
    pairs.say(accepted, pairs.HELLO._replace(peer=peer, outbox=outbox))
    assert accepted.reason.startswith("protocol error: ids")


def test_rejection_reaches_the_peer() -> None:
    dialled, accepted = pairs.dial(), pairs.accept(FULL)
    pairs.carry(dialled, accepted)
    pairs.carry(accepted, dialled)
    assert (dialled.rejection, accepted.rejection) == (3, 3)
    assert dialled.reason == "rejected: full"


def test_the_peer_chooses_whether_it_gets_compressed_packets() -> None:
    for compress in (True, False):
        accepted = pairs.accept(welcome=pairs.WELCOME._replace(window_bytes=1 << 20))
        pairs.say(accepted, pairs.HELLO._replace(compress=compress))
        accepted.outgoing()
        accepted.queue(pairs.reply(1, size=2000))
        (packet,) = accepted.outgoing()
        assert (packet[0] != 0) == compress


def test_a_window_lets_one_message_overshoot() -> None:
    dialled, accepted = pairs.joined()
    for number, size in enumerate([10, 5000, 10]):
        dialled.queue(pairs.reply(number, size))
    assert len(pairs.carry(dialled, accepted)) == 2
    assert dialled.backlog == (1, 74)
    assert accepted.state is State.UP


def test_credit_comes_back_by_the_quarter() -> None:
    dialled, accepted = pairs.joined()
    for number in range(8):
        accepted.queue(pairs.reply(number))
    inbound = pairs.carry(accepted, dialled)
    assert len(inbound) == 8
    accepted.queue(pairs.reply(8))
    assert accepted.outgoing() == []
    dialled.consumed(inbound[0])
    assert dialled.outgoing() == []
    dialled.consumed(inbound[1])
    assert pairs.carry(dialled, accepted) == []
    assert pairs.carry(accepted, dialled) == [pairs.reply(8)]


def test_credit_is_said_once() -> None:
    dialled, accepted = pairs.joined()
    for number in range(4):
        dialled.queue(pairs.reply(number))
    pairs.carry(dialled, accepted)
    accepted.consumed_all()
    assert pairs.heard(accepted) == [messages.Credit(4, 296)]
    assert pairs.heard(accepted) == []


def test_what_needs_no_credit_passes_what_waits_for_it() -> None:
    dialled, accepted = pairs.joined()
    for number in range(10):
        dialled.queue(pairs.reply(number))
    dialled.queue(LISTEN)
    inbound = pairs.carry(dialled, accepted)
    assert inbound == [LISTEN, *(pairs.reply(number) for number in range(4))]


def test_more_than_the_credit_is_a_violation() -> None:
    _, accepted = pairs.joined()
    batch = [pairs.reply(number) for number in range(5)]
    inbound = accepted.receive(pairs.CODEC.encode(batch), 0.0)
    assert inbound == batch[:4]
    assert accepted.reason == "protocol error: credit exceeded"


def test_credit_for_what_was_never_sent_is_a_violation() -> None:
    dialled, _ = pairs.joined()
    pairs.say(dialled, messages.Credit(1, 0))
    assert dialled.reason.startswith("protocol error: credit returned")


def test_an_old_credit_is_harmless() -> None:
    dialled, accepted = pairs.joined()
    for number in range(8):
        dialled.queue(pairs.reply(number))
    for _ in range(2):
        pairs.carry(dialled, accepted)
        accepted.consumed_all()
        pairs.carry(accepted, dialled)
    pairs.say(dialled, messages.Credit(4, 296))
    assert dialled.state is State.UP
    for number in range(9):
        dialled.queue(pairs.reply(number))
    assert len(pairs.carry(dialled, accepted)) == 4


def test_the_window_of_the_other_side_is_not_trusted_beyond_a_bound() -> None:
    dialled = pairs.dial()
    pairs.say(dialled, pairs.WELCOME._replace(window_messages=10**9, window_bytes=10**9))
    for number in range(session.MAX_WINDOW + 1):
        dialled.queue(pairs.reply(number))
    dialled.outgoing()
    assert dialled.backlog[0] == 1
    accepted = pairs.accept()
    pairs.say(accepted, pairs.HELLO._replace(window_messages=10**9, window_bytes=10**9))
    for number in range(session.MAX_WINDOW + 1):
        accepted.queue(pairs.reply(number))
    accepted.outgoing()
    assert accepted.backlog[0] == 1


def test_packets_are_split_by_weight_and_number() -> None:
    welcome = pairs.WELCOME._replace(window_messages=2048, window_bytes=1 << 30)
    dialled, accepted = pairs.dial(), pairs.accept(welcome=welcome)
    pairs.carry(dialled, accepted)
    pairs.carry(accepted, dialled)
    for size in (10, session.BATCH_BYTES * 2, 10, session.BATCH_BYTES - 200, 10, 10):
        dialled.queue(pairs.reply(1, size))
    batches = [pairs.CODEC.decode(packet) for packet in dialled.outgoing()]
    assert [len(batch) for batch in batches] == [1, 1, 2, 2]


def test_the_heaviest_batch_fits_a_packet() -> None:
    dialled, _ = pairs.joined()
    text = "\N{GOTHIC LETTER AHSA}" * shapes.MAX_TEXT
    for number in range(200):
        dialled.queue(messages.Lookup([text + str(number)[:0]]))
        dialled.queue(messages.Unlisten(shapes.MAX_INT))
    assert dialled.outgoing()


def test_what_does_not_fit_is_refused_to_the_owner() -> None:
    dialled, _ = pairs.joined()
    with pytest.raises(errors.MessageTooLarge):
        dialled.queue(pairs.reply(1, shapes.MAX_BODY + 1))
    assert dialled.backlog == (0, 0)


def test_closing_says_what_has_credit_and_then_goodbye() -> None:
    dialled, accepted = pairs.joined()
    for number in range(6):
        dialled.queue(pairs.reply(number))
    dialled.close("restarting")
    inbound = pairs.carry(dialled, accepted)
    assert inbound == [pairs.reply(number) for number in range(4)]
    assert accepted.reason == "the other side said goodbye: restarting"
    assert dialled.undelivered == [pairs.reply(4), pairs.reply(5)]


@pytest.mark.parametrize("trigger", [goodbye, silence, garbage, loss])
def test_what_was_not_written_is_handed_back(trigger: Trigger) -> None:
    dialled, _ = pairs.joined()
    dialled.queue(pairs.reply(1))
    trigger(dialled)
    assert dialled.undelivered == [pairs.reply(1)]
    assert dialled.backlog == (0, 0)
