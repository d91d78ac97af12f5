# SPDX-License-Identifier: Apache-2.0
"""One bus: the links to one set of endpoints, and all that this process sends and takes there.

Everything here runs on the I/O thread, except where a method says otherwise.
"""

from collections.abc import Callable

import zmq

from nova_edge_bus import concurrency
from nova_edge_bus import settings as settings_module
from nova_edge_bus.delivery import directory as directory_module
from nova_edge_bus.delivery import fanouts
from nova_edge_bus.delivery import sender as sender_module
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import arrivals
from nova_edge_bus.runtime import autonomy as autonomy_module
from nova_edge_bus.runtime import figures as figures_module
from nova_edge_bus.runtime import incoming
from nova_edge_bus.runtime import link as link_module
from nova_edge_bus.runtime import loopback
from nova_edge_bus.runtime import mailbox
from nova_edge_bus.runtime import outgoing
from nova_edge_bus.runtime import store as store_module

LOG = concurrency.NativeLogger(__name__)

SENDER_TICK = 0.25
"""Seconds between two looks of the sender at what has waited too long."""
LOOKUP_ADDRESSES = 256
"""How many addresses one message asks for; so many fit, however long they are."""
FORGET_TICK = 300.0
"""Seconds for which an address is of interest at least after something was sent to it."""
RECEIVER_TICK = 1.0
"""Seconds between two reports of the receiver on what takes long, at most."""
TICKS_PER_TIMEOUT = 6
"""How often it may report within the link timeout, before which senders must have heard of it."""


class _Listener:
    """What was announced for one listener, and who waits for the endpoints to know of it."""

    def __init__(self, announcement: messages.Listen, established: Callable[[], None]) -> None:
        self.announcement = announcement
        self.established = established


class Bus:
    """A service on the process's loop.

    :param hello: makes the HELLO of a new session
    :param sockets_changed: tells the loop that :meth:`sockets` has changed
    :param autonomy: for a process that goes on while nobody can be reached
    :param figures: where what happens is counted
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        settings: settings_module.Settings,
        store: store_module.Store,
        hello: Callable[[], messages.Hello],
        sockets_changed: Callable[["Bus"], None],
        autonomy: autonomy_module.Autonomy | None = None,
        figures: figures_module.Figures | None = None,
    ) -> None:
        self.link = settings.link
        self._figures = figures or figures_module.Figures()
        self.autonomy = autonomy
        self.directory = directory_module.Directory(concurrency.native.threading.Lock())
        self._sockets_changed = sockets_changed
        self.links: dict[object, link_module.Link] = {
            address: link_module.Link(context, address, hello, settings)
            for address in settings.endpoints
        }
        self._limits = sender_module.Limits(
            ack_timeout=settings.link_timeout, consumer_grace=settings.consumer_grace
        )
        self._loopback = loopback.Loopback(self.directory, hello().peer, store.outbox_id)
        self._holding = autonomy is not None and autonomy.holds_commands
        self.own = outgoing.Outgoing(
            self, store, self._limits, own=True, autonomy=autonomy, figures=self._figures
        )
        if autonomy is not None:
            autonomy.attach(
                self.own.next_call,
                lambda item, moment: self.own.call(item, None, moment),
                lambda number: self.own.abandon(messages.Kind.REQUEST, number),
            )
            autonomy.audit(settings.link, self.own, self.directory.consumers)
        self.own.sender.hold_back(until_all_is_done=self._holding)
        self._outgoing: dict[bytes, outgoing.Outgoing] = {store.outbox_id: self.own}
        self.incoming = incoming.Incoming(
            self,
            store,
            settings,
            None if autonomy is None else autonomy.keeper.heard_command,
            self._figures,
        )
        self._fanouts = fanouts.FanoutSender(self._transmit_anywhere)
        self._listeners: dict[int, _Listener] = {}
        self.interest: dict[str, None] = {}
        self._up: set[object] = set()
        self._watched: list[zmq.Socket[bytes]] = []
        self._sender_due = 0.0
        self._receiver_due = 0.0
        self._forget_due = concurrency.monotonic() + FORGET_TICK
        self._receiver_tick = min(RECEIVER_TICK, settings.link_timeout / TICKS_PER_TIMEOUT)
        self._linked = concurrency.native.threading.Event()
        self._handlers: dict[type, arrivals.Handler] = {
            messages.Routes: self._on_routes,
            messages.Listening: self._on_listening,
            **arrivals.Arrivals(
                self.own, self._outgoing, self.incoming, self._fanouts, self._figures
            ).handlers(),
        }

    # For the runtime.

    def is_linked(self) -> bool:
        """Whether any endpoint is linked; any thread may ask."""
        return bool(self._linked.is_set())

    def adopt(self, store: store_module.Store) -> outgoing.Outgoing:
        """Ship from another journal as well."""
        adopted = outgoing.Outgoing(self, store, self._limits, own=False, figures=self._figures)
        self._outgoing[store.outbox_id] = adopted
        return adopted

    def release(self, outbox_id: bytes) -> None:
        """Ship nothing more from an adopted journal."""
        self._outgoing.pop(outbox_id, None)

    def listen(
        self,
        announcement: messages.Listen,
        box: mailbox.Mailbox,
        established: Callable[[], None],
    ) -> None:
        """Take deliveries into *box*; *established* is called when an endpoint knows of it.

        While the process is cut off or catches up, only what comes from itself is taken, and no
        endpoint is to know.
        """
        self._listeners[announcement.listener] = _Listener(announcement, established)
        self.incoming.listen(announcement, box)
        if self.autonomy is not None:
            self._local_changed(self._loopback.listen(announcement))
        if self._holding:
            concurrency.post(established)
        else:
            self._queue_on_all(announcement)

    def _local_changed(self, addresses: list[str]) -> None:
        for address in addresses:
            for each in self._outgoing.values():
                each.sender.routes_changed(address)

    def unlisten(self, number: int) -> None:
        """The listener takes nothing more."""
        if self._listeners.pop(number, None) is not None:
            self.incoming.unlisten(number)
            self._local_changed(self._loopback.unlisten(number))
            self._queue_on_all(messages.Unlisten(number))

    def fanout(self, address: str, body: bytes) -> None:
        """Send to every listener of a topic that is there now."""
        self._fanouts.send(address, body, concurrency.monotonic())

    def unfinished(self) -> bool:
        """Whether anything is waiting to be shipped or acknowledged."""
        return any(each.sender.unfinished() for each in self._outgoing.values())

    def close(self, linger: int) -> None:
        """Say goodbye to the endpoints and close the sockets; *linger* in milliseconds."""
        for link in self.links.values():
            link.close(linger)

    # For senders and receivers.

    def has_room(self, endpoint: object) -> bool:
        """Whether the link to *endpoint* is up and takes more."""
        if endpoint == directory_module.LOCAL:
            return True
        link = self.links.get(endpoint)
        return link is not None and link.has_room

    def transmit(self, endpoint: object, message: messages.Message) -> None:
        """Write to *endpoint*, or to another one when that link is down."""
        if endpoint == directory_module.LOCAL:
            self._loopback.send(message)
            return
        link = self.links.get(endpoint)
        if link is not None and link.is_up:
            link.queue(message)
        else:
            self._transmit_anywhere(message)

    def lookup(self, address: str) -> None:
        """Ask all endpoints who takes *address*, once."""
        if address not in self.interest:
            self.interest[address] = None
            self._queue_on_all(messages.Lookup([address]))

    # transport.loop.Service

    def sockets(self) -> list["zmq.Socket[bytes]"]:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        return [socket for link in self.links.values() for socket in link.sockets()]

    def on_readable(self, socket: "zmq.Socket[bytes]", now: float) -> None:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        for link in self.links.values():
            if socket in link.sockets():
                for message in link.read(socket, now):
                    self._handle(link, message, now)
                return

    def next_deadline(self) -> float | None:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        deadlines: list[float | None] = [self._sender_due, self._receiver_due]
        deadlines += [link.next_deadline() for link in self.links.values()]
        if self.autonomy is not None:
            deadlines.append(self.autonomy.next_deadline())
        return min(deadline for deadline in deadlines if deadline is not None)

    def tick(self, now: float) -> None:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        for link in self.links.values():
            link.tick(now)
            self.directory.expect(link.address, not link.has_failed)
            if link.is_up != (link.address in self._up):
                self._link_changed(link, now)
        watched = self.sockets()
        if watched != self._watched:
            self._watched = watched
            self._sockets_changed(self)
        self._look_after(now)
        for each in list(self._outgoing.values()):
            each.sender.ship(now)
        self.incoming.receiver.flush(now)
        self._turn_round(now)
        for link in self.links.values():
            link.flush()

    def _turn_round(self, now: float) -> None:
        """Deliver what the process has sent to itself, and what it answers."""
        while not self._loopback.is_empty:
            for message in self._loopback.take():
                self._handle(None, message, now)
            for each in list(self._outgoing.values()):
                each.sender.ship(now)
            self.incoming.receiver.flush(now)

    def _look_after(self, now: float) -> None:
        if self.autonomy is not None and self.autonomy.is_due(now):
            self._judge(self.autonomy, now)
        if now >= self._sender_due:
            self._sender_due = now + SENDER_TICK
            busy = False
            for each in list(self._outgoing.values()):
                each.tick(now)
                busy = busy or each.sender.depth() > 0
            for link in self.links.values():
                link.set_urgent(busy)
        if now >= self._forget_due:
            self._forget_due = now + FORGET_TICK
            self._forget_unused()
        if now >= self._receiver_due:
            self._receiver_due = now + self._receiver_tick
            self.incoming.receiver.tick(now)

    def _forget_unused(self) -> None:
        """Ask no endpoint any longer who takes what nothing goes to."""
        wanted = self.directory.take_used()
        wanted.update(*(each.sender.addresses() for each in self._outgoing.values()))
        if self.autonomy is not None:
            wanted.update(self.autonomy.addresses())
        unused = [address for address in self.interest if address not in wanted]
        for address in unused:
            del self.interest[address]
            self.directory.forget_address(address)
        for first in range(0, len(unused), LOOKUP_ADDRESSES):
            self._queue_on_all(messages.Forget(unused[first : first + LOOKUP_ADDRESSES]))

    def _judge(self, autonomy: autonomy_module.Autonomy, now: float) -> None:
        """Tell whom we can reach, and take what the centre sends only while we can."""
        reachable = {
            address
            for address in autonomy.addresses()
            if self.directory.reaches(address) or self.directory.is_local(address)
        }
        heard_at = max(link.heard_at for link in self.links.values())
        autonomy.look(reachable, heard_at, now)
        if autonomy.holds_commands == self._holding:
            return
        self._holding = autonomy.holds_commands
        self.own.sender.hold_back(until_all_is_done=self._holding)
        for number, listener in self._listeners.items():
            self._queue_on_all(
                messages.Unlisten(number) if self._holding else listener.announcement
            )

    def _link_changed(self, link: link_module.Link, now: float) -> None:
        if link.is_up:
            self._up.add(link.address)
            self.directory.linked(link.address, link.endpoint)
            self._figures.links_made += 1
            for listener in self._listeners.values() if not self._holding else ():
                link.queue(listener.announcement)
            interest = list(self.interest)
            for first in range(0, len(interest), LOOKUP_ADDRESSES):
                link.queue(messages.Lookup(interest[first : first + LOOKUP_ADDRESSES]))
        else:
            self._up.discard(link.address)
            self._figures.links_lost += 1
            self.directory.forget_endpoint(link.address)
            for each in self._outgoing.values():
                each.sender.endpoint_down(link.address)
        if self._up:
            self._linked.set()
        else:
            self._linked.clear()
        self._fanouts.link_changed(now)

    def _transmit_anywhere(self, message: messages.Message) -> bool:
        for link in self.links.values():
            if link.is_up:
                link.queue(message)
                return True
        return False

    def _queue_on_all(self, message: messages.Message) -> None:
        for link in self.links.values():
            if link.is_up:
                link.queue(message)

    # What the endpoints and the peers behind them say.

    def _handle(
        self, link: link_module.Link | None, message: messages.Message, now: float
    ) -> None:
        """One message that cannot be handled costs neither its credit nor those behind it.

        :param link: None for what the process has sent to itself
        """
        via = directory_module.LOCAL if link is None else link.address
        try:
            self._handlers[type(message)](via, message, now)
        except Exception:
            LOG.error("cannot handle a %s from %s", type(message).__name__, via)
        if link is not None:
            link.consumed(message)

    def _on_routes(self, via: object, message: messages.Routes, now: float) -> None:
        if message.address not in self.interest:
            # It was on its way when we gave the interest up; what follows it is not told.
            return
        consumers = [messages.Consumer(*consumer) for consumer in message.consumers]
        self.directory.update(via, message.address, consumers)
        for each in self._outgoing.values():
            each.sender.routes_changed(message.address)

    def _on_listening(self, via: object, message: messages.Listening, now: float) -> None:
        listener = self._listeners.get(message.listener)
        if listener is not None:
            concurrency.post(listener.established)
