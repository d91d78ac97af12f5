# SPDX-License-Identifier: Apache-2.0
"""What a session has said once is not sent whole again, and never read as something else."""

import random

import hypothesis
import pytest
import zstandard
from hypothesis import strategies as st

from nova_edge_bus import errors
from nova_edge_bus.protocol import accepted
from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import compression
from nova_edge_bus.protocol import history
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import session
from nova_edge_bus.protocol.states import State
from tests.unit.protocol import fleet
from tests.unit.protocol import pairs

HISTORY = compression.Encoding.ZSTD_HISTORY_1
WIDE = {"window_messages": 500, "window_bytes": 1 << 24}


def unheard(size: int, seed: int = 1) -> bytes:
    """What nothing can compress that has not heard it."""
    return random.Random(seed).randbytes(size)


def reply(body: bytes, number: int = 1) -> messages.Reply:
    kind, status = messages.Kind.RECORD, messages.Status.OK
    return messages.Reply(b"p" * 8, b"o" * 8, kind, number, status, body)


def joined(offered: int = history.SIZE) -> tuple[session.DialSession, accepted.AcceptSession]:
    """Both sides of a session, of which the peer has offered to keep so much."""
    dialled = pairs.dial(pairs.HELLO._replace(**WIDE))
    dialled.hello = dialled._control[0] = dialled.hello._replace(history=offered)
    accepted = pairs.accept(welcome=pairs.WELCOME._replace(**WIDE))
    pairs.carry(dialled, accepted)
    pairs.carry(accepted, dialled)
    assert dialled.state is accepted.state is State.UP
    return dialled, accepted


def say(source: session.Session, target: session.Session, body: bytes) -> bytes:
    """Send a message, which has to arrive; give the packet that it came in."""
    source.queue(reply(body))
    (packet,) = source.outgoing()
    assert target.receive(packet, 0.0) == [reply(body)]
    target.consumed(reply(body))
    return packet


@pytest.mark.parametrize("way", ["up", "down"])
def test_what_was_said_before_costs_next_to_nothing(way: str) -> None:
    pair = joined()
    source, target = pair if way == "up" else pair[::-1]
    body = unheard(2000)
    assert len(say(source, target, body)) > 2000
    again = say(source, target, body + b"!")
    assert again[0] == HISTORY
    assert len(again) < 100


def test_each_way_has_a_history_of_its_own() -> None:
    dialled, accepted = joined()
    body = unheard(2000)
    say(dialled, accepted, body)
    assert len(say(accepted, dialled, body)) > 2000


def test_what_comes_with_the_welcome_is_no_part_of_it() -> None:
    dialled, accepted = pairs.dial(pairs.HELLO._replace(**WIDE)), pairs.accept()
    pairs.carry(dialled, accepted)
    accepted.queue(reply(unheard(2000)))
    (packet,) = accepted.outgoing()
    assert dialled.receive(packet, 0.0) == [reply(unheard(2000))]
    assert len(say(accepted, dialled, unheard(2000))) > 2000
    assert len(say(accepted, dialled, unheard(2000))) < 100


def test_a_new_session_has_heard_nothing() -> None:
    body = unheard(2000)
    say(*joined(), body)
    assert len(say(*joined(), body)) > 2000


def test_no_more_is_kept_than_was_agreed_on() -> None:
    for offered, kept in ((1 << 40, history.SIZE), (1000, 1000), (history.SIZE, history.SIZE)):
        dialled, accepted = joined(offered)
        assert dialled.welcome is not None
        assert dialled.welcome.history == kept
        for number in range(30):
            say(dialled, accepted, unheard(700, number))
        assert dialled._said is not None
        assert accepted._heard is not None
        assert len(dialled._said.text) == kept
        assert dialled._said.text == accepted._heard.text


@hypothesis.given(
    st.integers(1, 5000),
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0, 50, 300, 3000, 20_000]), st.integers(0, 3)),
        max_size=30,
    ),
)
@hypothesis.settings(max_examples=50)
def test_both_sides_remember_alike(offered: int, said: list[tuple[bool, int, int]]) -> None:
    """Whatever is said, in whichever encoding, with however little kept."""
    dialled, accepted = joined(offered)
    for up, size, seed in said:
        source, target = (dialled, accepted) if up else (accepted, dialled)
        say(source, target, unheard(size, seed))
        for one, other in ((dialled, accepted), (accepted, dialled)):
            assert one._said is not None
            assert other._heard is not None
            assert one._said.text == other._heard.text


@pytest.mark.parametrize("older", ["peer", "endpoint"])
def test_an_older_side_is_spoken_to_as_before(older: str) -> None:
    """Such a one leaves the field out of its HELLO, or of its WELCOME."""
    if older == "peer":
        dialled, accepted = joined(0)
        assert dialled.welcome is not None
        assert dialled.welcome.history == 0
    else:
        dialled, accepted = pairs.dial(), pairs.accept()
        (greeting,) = pairs.heard(dialled)
        accepted.receive(codec.Codec().encode([greeting._replace(history=0)]), 0.0)
        pairs.carry(accepted, dialled)
    for _ in range(3):
        assert say(dialled, accepted, bytes(500))[0] == compression.Encoding.ZSTD_DICTIONARY_1


def test_who_wants_nothing_compressed_keeps_nothing() -> None:
    quiet = session.DialSession(
        pairs.HELLO, link_timeout=1.0, now=0.0, codec=codec.Codec(compress=False)
    )
    assert quiet.hello.history == 0
    other = pairs.accept()
    pairs.say(other, quiet.hello._replace(history=1000))
    (welcome,) = pairs.heard(other)
    assert isinstance(welcome, messages.Welcome)
    assert welcome.history == 0
    other = pairs.accept()
    pairs.carry(quiet, other)
    pairs.carry(other, quiet)
    for source, target in ((quiet, other), (other, quiet)):
        assert say(source, target, bytes(1000))[0] == compression.Encoding.PLAIN
        assert source._said is None
        assert source._heard is None


def test_an_endpoint_that_keeps_more_than_was_offered_is_refused() -> None:
    dialled = pairs.dial()
    pairs.say(dialled, pairs.WELCOME._replace(history=history.SIZE + 1))
    assert dialled.state is State.CLOSED
    assert "more than was offered" in dialled.reason


def referring(payload: bytes = b"\x90" * 500, said: bytes = b"heard before") -> bytes:
    """A packet that refers to what was said."""
    packet = compression.Compressor().compress(memoryview(payload), kept(said))
    assert packet is not None
    assert packet[0] == HISTORY
    return packet


def kept(said: bytes) -> history.History:
    made = history.History(1 << 20)
    made.remember(said)
    return made


def test_where_no_history_was_agreed_on_none_is_referred_to() -> None:
    _, accepted = joined(0)
    accepted.receive(referring(), 0.0)
    assert "history that was not agreed on" in accepted.reason


def test_histories_that_differ_are_noticed() -> None:
    """Also where the bytes would make another message that could have been said."""
    said = reply(unheard(1000))
    codec_, heard = codec.Codec(), kept(unheard(1000))
    packet = codec_.encode([said], said=kept(unheard(1000)))
    assert codec_.decode(packet, kept(unheard(1000))) == [said]
    other = bytearray(heard.text)
    other[500] ^= 1
    with pytest.raises(errors.ProtocolError, match="cannot be decompressed"):
        codec_.decode(packet, kept(bytes(other)))


def test_what_refers_to_another_session_is_reset() -> None:
    """The endpoint has started anew, and its peer has not heard of it."""
    world = fleet.Fleet()
    world.router.receive(b"stranger", referring(), 0.0)
    ((_, _, said),) = world.router.outgoing()
    assert said == [messages.Reset()]
    assert world.refused == []


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(zstandard.ZstdCompressor().compress(bytes(8 << 20)), id="expands too far"),
        pytest.param(b"(\xb5/\xfd", id="half a header"),
        pytest.param(referring()[1:-5], id="cut off"),
        pytest.param(referring()[1:] + b"\x90", id="bytes after the frame"),
        pytest.param(referring()[1:-1] + bytes([referring()[-1] ^ 1]), id="another checksum"),
        pytest.param(unheard(300), id="noise"),
    ],
)
def test_a_hostile_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(errors.ProtocolError):
        codec.Codec().decode(bytes([HISTORY]) + frame, kept(b"heard before"))


def test_what_could_not_be_sent_is_refused_though_it_refers_to_what_was() -> None:
    """The connection is gone when the packet is written to it."""
    world = fleet.Fleet()
    sender, receiver = world.join("from"), world.listen("to", "address")
    order = fleet.deliver(receiver.id)._replace(body=unheard(3000))
    sender.session.queue(order)
    world.settle()
    sender.session.queue(order._replace(number=9))
    for packet in sender.session.outgoing():
        world.router.receive(sender.key, packet, world.now)
    given = [one for one in world.router.outgoing() if one[0] == receiver.key]
    ((_, packet, batch),) = given
    assert packet[0] == HISTORY
    world.router.unreachable(receiver.key, batch)
    world.disconnect(receiver)
    world.settle()
    refusal = sender.inbox[-1]
    assert isinstance(refusal, messages.Refuse)
    assert refusal.numbers == [9]
