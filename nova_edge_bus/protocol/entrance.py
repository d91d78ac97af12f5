# SPDX-License-Identifier: Apache-2.0
"""Who may have a session with an endpoint, given the sessions that it has."""

import dataclasses

from nova_edge_bus.protocol import identity
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import session as sessions


@dataclasses.dataclass(slots=True, eq=False)
class Peer:
    """One session that is up, with what is looked at for each message.

    :param visitor: who is at its other end; None where nothing is authenticated
    """

    key: bytes
    session: sessions.AcceptSession
    hello: messages.Hello
    id: bytes
    outbox: bytes
    visitor: identity.Visitor | None = None
    pending: int = 0
    held: bool = False


def objection_to(hello: messages.Hello, visitor: identity.Visitor, rivals: list[Peer]) -> str:
    """Why this is not the HELLO of who says it; empty when it is.

    :param rivals: the sessions that have the same peer id or the same outbox
    """
    return visitor.objection_to(hello, [each.visitor for each in rivals])


def fence(hello: messages.Hello, holder: Peer | None) -> messages.Reject | None:
    """The rejection of a HELLO whose outbox has been opened again since, or is a copy.

    :param holder: the session that has the same outbox
    """
    if holder is None or _succeeds(hello, holder.hello):
        return None
    return messages.Reject(
        messages.Rejection.FENCED,
        f"outbox {hello.outbox.hex()} epoch {hello.epoch} is fenced: "
        f"epoch {holder.hello.epoch} is open at {holder.hello.host}",
    )


def full(sessions_held: int, most: int) -> messages.Reject:
    """The rejection of one session too many."""
    return messages.Reject(
        messages.Rejection.FULL,
        f"endpoint holds {sessions_held} sessions, at most {most}; raise --max-sessions",
    )


def _succeeds(hello: messages.Hello, holder: messages.Hello) -> bool:
    """Tell whether a journal may take over from the session that has the same outbox id."""
    if hello.epoch == holder.epoch:
        return hello.nonce == holder.nonce
    return hello.epoch > holder.epoch
