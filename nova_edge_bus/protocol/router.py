# SPDX-License-Identifier: Apache-2.0
"""The endpoint without its socket: a directory of listeners and a forwarder between sessions.

It owns no message. What it cannot pass on it refuses at once, what it has passed on it has
forgotten; every buffer in it is bounded.
"""

import collections.abc
import functools

from nova_edge_bus.protocol import accepted as sessions
from nova_edge_bus.protocol import allowance
from nova_edge_bus.protocol import codec as codecs
from nova_edge_bus.protocol import desk
from nova_edge_bus.protocol import entrance
from nova_edge_bus.protocol import guests
from nova_edge_bus.protocol import identity
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import routes
from nova_edge_bus.protocol import settings as limits

Key = routes.Key

_PUSHES_A_TURN = 256

_Packet = bytes | memoryview
_Peer = entrance.Peer
_Visitor = identity.Visitor
_Answer = messages.Accept | messages.Reply | messages.Holding | messages.Refuse


class Router:
    """Passes messages between the sessions of one endpoint.

    :param endpoint: the endpoint's id, 8 random bytes
    :param on_opened: told of each session that came up, with its HELLO
    :param on_closed: told of each session that ended, with its HELLO and the reason
    :param on_refused: told who wanted to be or to do what it may not, and what that is
    :param on_report: told what a peer reports of itself, with its HELLO
    :param on_fenced: told of each HELLO that was rejected because its epoch is over
    :param on_slow: told whom something was not passed on to, because it reads too slowly
    """

    def __init__(
        self,
        endpoint: bytes,
        settings: limits.Settings | None = None,
        *,
        on_opened: collections.abc.Callable[[messages.Hello], None] = lambda hello: None,
        on_closed: collections.abc.Callable[[messages.Hello, str], None] = lambda hello, why: None,
        on_refused: collections.abc.Callable[[_Visitor, str], None] = lambda who, why: None,
        on_report: collections.abc.Callable[
            [messages.Hello, messages.Report], None
        ] = lambda hello, report: None,
        on_fenced: collections.abc.Callable[[messages.Hello], None] = lambda hello: None,
        on_slow: collections.abc.Callable[[messages.Hello], None] = lambda hello: None,
    ) -> None:
        self.settings = settings or limits.Settings()
        self.stats = limits.Stats()
        self._on_opened = on_opened
        self._on_closed = on_closed
        self._on_refused = on_refused
        self._on_fenced = on_fenced
        self._on_slow = on_slow
        self._codec = codecs.Codec()
        self._welcome = messages.Welcome(
            messages.PROTOCOL_VERSION,
            endpoint,
            round(self.settings.heartbeat * 1000),
            self.settings.window_messages,
            self.settings.window_bytes,
        )
        self._peers: dict[Key, _Peer] = {}
        self._by_id: dict[bytes, _Peer] = {}
        self._by_outbox: dict[bytes, _Peer] = {}
        self._dirty: dict[Key, _Peer] = {}
        self._farewells: list[tuple[Key, bytes, list[messages.Message]]] = []
        self._deadlines = entrance.Deadlines()
        self._owners = entrance.Owners()
        self._guests = guests.Guests()
        self._push_at: float | None = None
        self._routes = routes.RouteTable(
            max_listeners=self.settings.max_listeners,
            max_addresses=self.settings.max_addresses,
            max_interests=self.settings.max_interests,
        )
        self._handlers: dict[type[messages.Message], desk.Handler] = {
            messages.Deliver: self._deliver,
            messages.Accept: self._answer,
            messages.Reply: self._answer,
            messages.Holding: self._answer,
            messages.Refuse: self._answer,
            messages.Fanout: self._fanout,
            # A peer has no reason to send this; it is credited, so it is let pass.
            messages.FanoutSent: lambda peer, message: None,
            messages.Want: self._want,
            messages.Grant: self._grant,
            **desk.Desk(self._routes, on_refused, on_report).handlers(),
        }

    def receive(
        self, key: Key, packet: _Packet, now: float, visitor: _Visitor | None = None
    ) -> None:
        """Take a packet in from the connection *key*.

        :param visitor: who is at its other end, where that is known; looked at for a HELLO
        """
        self.stats.packets_in += 1
        self.stats.bytes_in += len(packet)
        peer = self._peers.get(key)
        if peer is None:
            self._greet(key, packet, now, visitor)
        else:
            inbound = peer.session.receive(packet, now)
            self._take(peer, inbound)

    def knows(self, key: Key) -> bool:
        """Whether the connection *key* has a session."""
        return key in self._peers

    def session_of(self, peer: bytes) -> sessions.AcceptSession | None:
        """The session of the peer with this id, if it has one."""
        found = self._by_id.get(peer)
        return None if found is None else found.session

    def visitors(self) -> list[tuple[Key, _Visitor]]:
        """The sessions whose other end is known."""
        return [(key, peer.visitor) for key, peer in self._peers.items() if peer.visitor]

    def dismiss(self, key: Key, text: str) -> None:
        """End the session of the connection *key*, if it has one, with GOODBYE."""
        peer = self._peers.get(key)
        if peer is not None:
            peer.session.close(text)
            self._remove(peer)

    def unreachable(self, key: Key, batch: list[messages.Message]) -> None:
        """Learn that the connection *key* is gone or stuck, and a packet with these messages."""
        for message in batch:
            if isinstance(message, messages.Deliver):
                self._refuse_undelivered(message)
        peer = self._peers.get(key)
        if peer is not None:
            peer.session.lose("connection lost")
            self._remove(peer)

    def outgoing(self) -> collections.abc.Iterator[tuple[Key, bytes, list[messages.Message]]]:
        """Packets to write now, with connection and messages; once given they count as written."""
        for key, push in self._routes.pushes(_PUSHES_A_TURN, self._leaves_unread):
            peer = self._peers[key]
            peer.session.forward(push)
            self._dirty[key] = peer
        farewells, self._farewells = self._farewells, []
        for key, packet, batch in farewells:
            yield key, self._count_out(packet), batch
        dirty, self._dirty = self._dirty, {}
        for key, peer in dirty.items():
            packets = peer.session.outgoing_batches()
            self._count_pending(peer)
            if peer.held:
                self._return_credit(peer)
            for packet, batch in packets:
                yield key, self._count_out(packet), batch

    def tick(self, now: float) -> None:
        """Do what time brings: heartbeats, the end of silent sessions, pushes of routes."""
        while (peer := self._deadlines.pop_due(now)) is not None:
            peer.session.tick(now)
            if peer.session.closed:
                self._remove(peer)
            else:
                self._dirty[peer.key] = peer
                self._deadlines.add(peer)
        if self._routes.changed and self._push_at is None:
            spread = self._routes.interested / self.settings.pushes_per_second
            self._push_at = now + max(self.settings.push_delay, spread)
        if self._push_at is not None and now >= self._push_at:
            self._push_at = None
            self._routes.schedule()

    def next_deadline(self) -> float | None:
        """When :meth:`tick` and :meth:`outgoing` have something to do next."""
        if self._dirty or self._farewells or self._routes.pushing:
            return 0.0
        return self._deadlines.first() if self._push_at is None else self._push_at

    def close(self, text: str) -> None:
        """End all sessions with GOODBYE; :meth:`outgoing` gives the last packets."""
        for peer in list(self._peers.values()):
            peer.session.close(text)
            self._remove(peer)

    def _leaves_unread(self, key: Key) -> bool:
        return self._peers[key].session.leaves_unread

    # The beginning and the end of sessions

    def _greet(self, key: Key, packet: _Packet, now: float, visitor: _Visitor | None) -> None:
        if not self._guests.is_heard(visitor, now):
            return
        spread = round(1000 * len(self._peers) / self.settings.greetings_per_second)
        session = sessions.AcceptSession(
            self._welcome._replace(spread=spread),
            functools.partial(self._admit, visitor, now),
            now=now,
            codec=self._codec,
            bounds=allowance.bounds_of(visitor.identity if visitor else None),
        )
        inbound = session.receive(packet, now)
        if session.hello is None:
            if session.rejection is not None:
                self.stats.rejected[messages.Rejection(session.rejection).name] += 1
            if session.broke_rules and visitor:
                self._on_refused(visitor, session.reason)
            self._farewells.extend((key, *packet) for packet in session.outgoing_batches())
            return
        hello = session.hello
        peer = _Peer(key, session, hello, hello.peer, hello.outbox, visitor=visitor)
        self._peers[key] = self._by_id[peer.id] = self._dirty[key] = peer
        if peer.outbox:
            self._by_outbox[peer.outbox] = peer
        self.stats.sessions = len(self._peers)
        self.stats.sessions_ever += 1
        self._guests.entered(visitor, now)
        self._deadlines.add(peer)
        self._on_opened(hello)
        self._take(peer, inbound)

    def _admit(
        self, visitor: _Visitor | None, now: float, hello: messages.Hello
    ) -> messages.Reject | None:
        former = self._by_id.get(hello.peer)
        holder = self._by_outbox.get(hello.outbox)
        rivals = list(dict.fromkeys(peer for peer in (former, holder) if peer is not None))
        objection = entrance.objection_to(hello, visitor, rivals, self._owners)
        if visitor and objection:
            self._on_refused(visitor, objection)
            return messages.Reject(messages.Rejection.IDENTITY, objection)
        if rejection := entrance.fence(hello, holder):
            self._on_fenced(hello)
            return rejection
        objection = self._guests.objection_to(visitor, len(rivals), now)
        if visitor and objection:
            self._on_refused(visitor, objection)
            return messages.Reject(messages.Rejection.FULL, objection)
        if len(self._peers) - len(rivals) >= self.settings.max_sessions:
            return entrance.full(len(self._peers), self.settings.max_sessions)
        if former is not None:
            former.session.lose("replaced by a new session of the same peer")
            self._remove(former)
        if holder is not None and holder is not former:
            holder.session.close(f"outbox opened again with epoch {hello.epoch}")
            self._remove(holder)
        return None

    def _take(self, peer: _Peer, inbound: list[messages.Message]) -> None:
        handlers = self._handlers
        for message in inbound:
            handlers[type(message)](peer, message)
        if peer.session.closed:
            self._remove(peer)
        else:
            self._dirty[peer.key] = peer
            self._return_credit(peer)
            if not peer.session.leaves_unread:
                self._routes.resume(peer.key)

    def _return_credit(self, peer: _Peer) -> None:
        """Let the peer send more, unless it leaves what is sent to it unread.

        Its refusals are then never dropped, and still bounded: by its room and its window.
        """
        peer.held = not self.settings.has_own_room(peer.session.backlog, 1)
        if not peer.held:
            peer.session.consumed_all()
            self._dirty[peer.key] = peer

    def _remove(self, peer: _Peer) -> None:
        """Take a closed session out; what it was still to be sent is refused to the senders."""
        if self._peers.get(peer.key) is not peer:
            return
        del self._peers[peer.key]
        self._dirty.pop(peer.key, None)
        if self._by_id.get(peer.id) is peer:
            del self._by_id[peer.id]
        if self._by_outbox.get(peer.outbox) is peer:
            del self._by_outbox[peer.outbox]
        self._routes.drop(peer.key)
        self._guests.left(peer.visitor)
        if peer.session.broke_rules and peer.visitor:
            self._on_refused(peer.visitor, peer.session.reason)
        self.stats.sessions = len(self._peers)
        session = peer.session
        self._farewells.extend((peer.key, *packet) for packet in session.outgoing_batches())
        self._count_pending(peer)
        for message in session.undelivered:
            if isinstance(message, messages.Deliver):
                self._refuse_undelivered(message)
        self._on_closed(peer.hello, session.reason)

    def _count_pending(self, peer: _Peer) -> None:
        size = peer.session.backlog[1]
        self.stats.pending_bytes += size - peer.pending
        peer.pending = size

    def _count_out(self, packet: bytes) -> bytes:
        self.stats.packets_out += 1
        self.stats.bytes_out += len(packet)
        return packet

    # Messages from peers, one method a kind

    def _deliver(self, peer: _Peer, message: messages.Deliver) -> None:
        target = self._by_id.get(message.to)
        if message.outbox != peer.outbox and not self._speaks_for(peer, message.outbox):
            return
        if target is None:
            self._refuse(peer, message, messages.Refusal.NO_ROUTE, "peer is not here")
        elif not self._has_room(target, 1):
            self._refuse(peer, message, messages.Refusal.BUSY, "too much is pending for the peer")
        else:
            self.stats.delivered += 1
            sender = (peer.id, message.outbox or peer.outbox)
            stamped = (*message[:2], *sender, *message[4:-1], peer.claim)
            self._forward(target, tuple.__new__(messages.Deliver, stamped))

    def _speaks_for(self, peer: _Peer, outbox: bytes | None) -> bool:
        """Tell whether it may; the session of one that may not ends."""
        objection = self._owners.objection_to(peer.visitor, outbox)
        if peer.visitor and objection:
            self._on_refused(peer.visitor, objection)
            peer.session.close(objection)
        return not objection

    def _answer(self, peer: _Peer, message: _Answer) -> None:
        self._pass_back(tuple.__new__(type(message), (*message[:-1], peer.id)))

    def _grant(self, peer: _Peer, message: messages.Grant) -> None:
        self._pass_back(message._replace(sender=peer.id))

    def _pass_back(self, message: _Answer | messages.Grant) -> None:
        target = self._by_id.get(message.to)
        if target is None or not self._has_room(target, 2):
            self.stats.answers_dropped += 1
        else:
            self.stats.answered += 1
            self._forward(target, message)

    def _fanout(self, peer: _Peer, message: messages.Fanout) -> None:
        copy = message._replace(sender=peer.id)
        count = 0
        for key in self._fanout_keys(peer, message.address):
            target = self._peers[key]
            if self._has_room(target, 1):
                self._forward(target, copy)
                count += 1
        self.stats.fanned_out += count
        self._forward(peer, messages.FanoutSent(message.number, count))

    def _fanout_keys(self, peer: _Peer, address: str) -> list[Key]:
        if peer.visitor and not peer.visitor.may_fan_out(address):
            self._on_refused(peer.visitor, f"it may not speak to all of {address}")
            return []
        return self._routes.fanout_keys(address)

    def _want(self, peer: _Peer, message: messages.Want) -> None:
        target = self._by_id.get(message.to)
        if target is None or not self._has_room(target, 1):
            self.stats.answers_dropped += 1
        elif message.outbox == peer.outbox or self._speaks_for(peer, message.outbox):
            outbox = message.outbox or peer.outbox
            self._forward(target, message._replace(reply_to=peer.id, outbox=outbox))

    def _has_room(self, target: _Peer, share: int) -> bool:
        if self.settings.has_room(target.session.backlog, self.stats.pending_bytes, share):
            return True
        self._on_slow(target.hello)
        return False

    def _forward(self, target: _Peer, message: messages.Message) -> None:
        size = target.session.forward(message)
        target.pending += size
        self.stats.pending_bytes += size
        self._dirty[target.key] = target

    def _refuse(
        self, sender: _Peer, message: messages.Deliver, code: messages.Refusal, text: str
    ) -> None:
        self.stats.refused[code.name] += 1
        outbox = message.outbox or sender.outbox
        refusal = messages.Refuse(sender.id, outbox, message.kind, [message.number], code, text)
        self._forward(sender, refusal)

    def _refuse_undelivered(self, message: messages.Deliver) -> None:
        sender = self._by_id.get(message.reply_to or b"")
        if sender is not None:
            self._refuse(sender, message, messages.Refusal.NO_ROUTE, "peer has left")
