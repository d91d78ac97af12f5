# SPDX-License-Identifier: Apache-2.0
"""Sessions joined to each other without a socket."""

from nova_edge_bus.protocol import accepted
from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import history
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import session

CODEC = codec.Codec()
LINK_TIMEOUT = 3.0
HEARTBEAT = 2.0

HELLO = messages.Hello(
    1,
    1,
    b"peer----",
    b"outbox--",
    1,
    b"nonce---",
    "edge-7",
    "nova-compute",
    8,
    4096,
    history=history.SIZE,
)
WELCOME = messages.Welcome(1, b"endpoint", round(HEARTBEAT * 1000), 4, 2048)


def dial(hello: messages.Hello = HELLO, now: float = 0.0) -> session.DialSession:
    return session.DialSession(hello, link_timeout=LINK_TIMEOUT, now=now, codec=CODEC)


def accept(
    rejection: messages.Reject | None = None,
    welcome: messages.Welcome = WELCOME,
    now: float = 0.0,
) -> accepted.AcceptSession:
    return accepted.AcceptSession(welcome, lambda hello: rejection, now=now, codec=CODEC)


def carry(
    source: session.Session, target: session.Session, now: float = 0.0
) -> list[messages.Message]:
    """Pass on what *source* has to say, give what *target* has for its owner."""
    return [message for packet in source.outgoing() for message in target.receive(packet, now)]


def say(target: session.Session, *batch: messages.Message, now: float = 0.0) -> None:
    """Have *target* hear these messages."""
    target.receive(CODEC.encode(batch), now)


def heard(source: session.Session) -> list[messages.Message]:
    """What *source* says now."""
    return [message for _, batch in source.outgoing_batches() for message in batch]


def carry_seen(
    source: session.Session, target: session.Session, now: float
) -> list[messages.Message]:
    """As :func:`carry`, but give everything that *source* said."""
    packets = source.outgoing_batches()
    for packet, _ in packets:
        target.receive(packet, now)
    return [message for _, batch in packets for message in batch]


def joined(now: float = 0.0) -> tuple[session.DialSession, accepted.AcceptSession]:
    """Both sides of a session that is up."""
    dialled, accepted = dial(now=now), accept(now=now)
    carry(dialled, accepted, now)
    carry(accepted, dialled, now)
    return dialled, accepted


def reply(number: int, size: int = 10) -> messages.Reply:
    return messages.Reply(b"peer----", b"outbox--", 2, number, 0, bytes(size))
