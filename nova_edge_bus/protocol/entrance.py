# SPDX-License-Identifier: Apache-2.0
"""Who may have a session with an endpoint, given the sessions that it has."""

import collections
import dataclasses
import heapq
import itertools

from nova_edge_bus.protocol import accepted as sessions
from nova_edge_bus.protocol import allowance
from nova_edge_bus.protocol import identity
from nova_edge_bus.protocol import messages

MOST_OUTBOXES = 64
"""Outboxes of a host that are remembered as its own."""


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
    claim: str = dataclasses.field(init=False, default="")
    """Who it is, as others are told; empty where nothing is authenticated."""
    bounds: allowance.Bounds = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        who = self.visitor.identity if self.visitor else None
        self.bounds = allowance.bounds_of(who)
        if who:
            self.claim = who.text


class Owners:
    """Which host each outbox was first heard of from; a journal never leaves its host.

    It outlasts sessions, so that nobody takes the outbox of a peer that is cut off. Of too many
    outboxes of one host those are forgotten that were heard of longest ago.
    """

    def __init__(self) -> None:
        self._hosts: dict[bytes, str] = {}
        self._outboxes: dict[str, collections.OrderedDict[bytes, None]] = {}

    def objection_to(
        self, visitor: identity.Visitor | None, outbox: bytes | None, *, is_own: bool = False
    ) -> str:
        """Why somebody may not speak for an outbox; empty when he may.

        The centre may for any: it replays the journals of hosts that are gone. Were they its own
        from then on, a host that comes back all the same could not be admitted.

        :param is_own: whether it is the outbox of his own session, rather than an adopted one
        """
        if visitor is None or visitor.identity is None or not outbox:
            return ""
        if visitor.identity.role is identity.Role.CENTRE and not is_own:
            return ""
        host = visitor.identity.host
        if self._hosts.setdefault(outbox, host) != host:
            return f"{visitor.text} is another's: outbox {outbox.hex()} is not of its host"
        own = self._outboxes.setdefault(host, collections.OrderedDict())
        own[outbox] = None
        own.move_to_end(outbox)
        if len(own) > MOST_OUTBOXES:
            del self._hosts[own.popitem(last=False)[0]]
        return ""


class Deadlines:
    """When which session has something to do next."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Peer]] = []
        self._order = itertools.count()

    def add(self, peer: Peer) -> None:
        """Note the next deadline of a session."""
        deadline = peer.session.next_deadline()
        if deadline is not None:
            heapq.heappush(self._heap, (deadline, next(self._order), peer))

    def first(self) -> float | None:
        """The earliest deadline of a session that has not ended."""
        while self._heap and self._heap[0][2].session.closed:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float) -> Peer | None:
        """The session whose deadline is the first, if it has come; it is to be added again."""
        first = self.first()
        return heapq.heappop(self._heap)[2] if first is not None and first <= now else None


def objection_to(
    hello: messages.Hello, visitor: identity.Visitor | None, rivals: list[Peer], owners: Owners
) -> str:
    """Why this is not the HELLO of who says it; empty when it is.

    :param rivals: the sessions that have the same peer id or the same outbox
    """
    if visitor is None:
        return ""
    return visitor.objection_to(hello, [each.visitor for each in rivals]) or owners.objection_to(
        visitor, hello.outbox, is_own=True
    )


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
