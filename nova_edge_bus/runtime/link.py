# SPDX-License-Identifier: Apache-2.0
"""One link: a DEALER to one endpoint, dialled again whenever the session ends."""

import random
from collections.abc import Callable

import zmq
import zmq.utils.monitor

from nova_edge_bus import concurrency
from nova_edge_bus import errors
from nova_edge_bus import events
from nova_edge_bus import settings as settings_module
from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import compression
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import session as protocol_session
from nova_edge_bus.runtime import handshake

LOG = concurrency.NativeLogger(__name__)

FIRST_PAUSE = 0.05
"""Seconds before the first attempt to dial again; it doubles up to the link timeout.

Where an endpoint has asked for it, attempts are spread over a longer time.
"""
SHORT_LIFE = 1.0
"""Seconds. After a session that ends sooner the pause goes on growing as if it had not come up."""
MAX_BACKLOG = 256
"""Messages queued on a session beyond which nothing new is put on it."""
MAX_READ = 64
"""Packets read from one link before the others get a turn."""
HIGH_WATER_MARK = 1000


class Link:
    """Dials one endpoint for ever. Belongs to the I/O thread.

    :param hello: makes the HELLO of a new session
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        address: str,
        hello: Callable[[], messages.Hello],
        settings: settings_module.Settings,
    ) -> None:
        self.address = address
        self.bytes_in = 0
        """Bytes of packets from the endpoint, in all sessions, without what ZeroMQ and TCP add."""
        self.bytes_out = 0
        """Bytes of packets to the endpoint, likewise."""
        self._context = context
        self._hello = hello
        self._link_timeout = settings.link_timeout
        self._compress = settings.compresses(address)
        self._handshake = handshake.Handshake(settings, address)
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._session: protocol_session.DialSession | None = None
        self._unsent: list[bytes] = []
        self._dial_at = 0.0
        self._pause = FIRST_PAUSE
        self._spread = 0.0
        self._was_up = False
        self.up_at = 0.0
        """When the present session came up, in seconds of the monotonic clock, or the last one."""
        self._pause_before = FIRST_PAUSE
        self._failed = False
        self._heard_at = float("-inf")

    @property
    def heard_at(self) -> float:
        """When anything was last heard from the endpoint, on whichever session."""
        return self._session.heard if self.is_up and self._session else self._heard_at

    @property
    def has_failed(self) -> bool:
        """Whether the last attempt to link to the endpoint, or the last link, came to nothing."""
        return self._failed and not self.is_up

    @property
    def is_up(self) -> bool:
        """Whether the endpoint has welcomed this peer and is being heard."""
        session = self._session
        return session is not None and session.state is protocol_session.State.UP

    @property
    def endpoint(self) -> bytes:
        """The id of the endpoint that this is linked to, another one after each of its starts."""
        welcome = self._session.welcome if self._session is not None else None
        return b"" if welcome is None else welcome.endpoint

    @property
    def has_room(self) -> bool:
        """Whether a message put on the link now will leave soon."""
        return self.is_up and self._session is not None and self._session.backlog[0] < MAX_BACKLOG

    @property
    def credit(self) -> int:
        """Messages that the endpoint takes now; the others wait, see :attr:`queued`."""
        return self._session.credit if self.is_up and self._session is not None else 0

    @property
    def queued(self) -> int:
        """Messages that wait for credit or the next write."""
        return self._session.backlog[0] if self._session is not None else 0

    def sockets(self) -> list["zmq.Socket[bytes]"]:
        """The sockets that the loop has to watch for this link."""
        return [socket for socket in (self._socket, self._monitor) if socket is not None]

    def queue(self, message: messages.Message) -> None:
        """Put *message* on the session; :meth:`flush` writes it."""
        if self._session is not None:
            self._session.queue(message)

    def consumed(self, message: messages.Message) -> None:
        """What the endpoint sent has been dealt with: give its credit back."""
        if self._session is not None:
            self._session.consumed(message)

    def set_urgent(self, urgent: bool) -> None:
        """Tell whether answers are awaited over this link, so that silence is noticed sooner."""
        if self._session is not None:
            self._session.urgent = urgent

    def read(self, socket: "zmq.Socket[bytes]", now: float) -> list[messages.Message]:
        """Take what has arrived on one of :meth:`sockets`."""
        return self._watch(now) if socket is self._monitor else self._receive(now, MAX_READ)

    def _receive(self, now: float, most: int) -> list[messages.Message]:
        received: list[messages.Message] = []
        for _ in range(most):
            if self._socket is None or self._session is None:
                break
            try:
                packet = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            self.bytes_in += len(packet)
            received += self._session.receive(packet, now)
        return received

    def tick(self, now: float) -> None:
        """Dial when it is time to, and notice that the session has ended or begun."""
        if self._session is None:
            if now >= self._dial_at:
                self._dial(now)
            return
        self._session.tick(now)
        if self._session.state is protocol_session.State.CLOSED:
            if self._session.rejection is not None:
                self._handshake.tell(self._session.reason)
            self.hang_up(now, self._session.reason)
        elif self.is_up and not self._was_up:
            self._was_up = True
            self.up_at = now
            self._pause_before = self._pause
            self._failed = False
            self._pause = FIRST_PAUSE
            self._spread = self._asked_spread()
            self._handshake.succeeded()
            LOG.info(events.LINK_UP, self.address)

    def flush(self) -> None:
        """Write what the session has to say, as far as the socket takes it."""
        if self._socket is None or self._session is None:
            return
        self._unsent += self._session.outgoing()
        while self._unsent:
            try:
                # Copied, whatever its size: for what it does not copy pyzmq keeps a thread with
                # locks that eventlet patches, and they would end the thread that is here.
                self._socket.send(self._unsent[0], zmq.NOBLOCK)
            except zmq.Again:
                return
            self.bytes_out += len(self._unsent[0])
            del self._unsent[0]

    def next_deadline(self) -> float | None:
        """Monotonic seconds at which :meth:`tick` has something to do."""
        if self._socket is None:
            return self._dial_at
        return self._session.next_deadline() if self._session is not None else None

    def hang_up(self, now: float, reason: str) -> None:
        """End the session and the connection; the next one is dialled after a random pause."""
        if self._was_up:
            LOG.warning(events.LINK_DOWN, self.address, reason)
        else:
            LOG.debug("endpoint %s did not answer: %s", self.address, reason)
        self._failed = True
        if self._was_up and self._session is not None:
            self._heard_at = self._session.heard
        if self._was_up and now - self.up_at < SHORT_LIFE:
            self._pause = self._pause_before
        self._close_sockets(linger=0)
        pause = self._pause * random.uniform(0.5, 1.5)
        self._dial_at = now + max(pause, random.uniform(0.0, self._spread))
        self._pause = min(self._pause * 2, self._link_timeout)

    def _asked_spread(self) -> float:
        """Seconds over which the endpoint wants its peers to come back, if it loses all."""
        welcome = self._session.welcome if self._session is not None else None
        return welcome.spread / 1000 if welcome is not None else 0.0

    def close(self, linger: int) -> None:
        """Say goodbye and close for good.

        :param linger: milliseconds for which ZeroMQ may go on writing
        """
        if self._session is not None:
            self._session.close("the peer stops")
            self.flush()
        self._close_sockets(linger=linger)

    def _dial(self, now: float) -> None:
        socket = self._context.socket(zmq.DEALER)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.SNDHWM, HIGH_WATER_MARK)
        socket.set(zmq.RCVHWM, HIGH_WATER_MARK)
        socket.set(zmq.MAXMSGSIZE, compression.MAX_PACKET)
        socket.set(zmq.RECONNECT_IVL, 100)
        socket.set(zmq.RECONNECT_IVL_MAX, 2000)
        socket.set(zmq.IPV6, 1)
        try:
            self._handshake.prepare(socket)
        except errors.EdgeBusError as error:
            socket.close()
            self.hang_up(now, self._handshake.tell(str(error)))
            return
        self._monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | handshake.FAILURES)
        self._session = protocol_session.DialSession(
            self._hello(),
            link_timeout=self._link_timeout,
            now=now,
            codec=codec.Codec(compress=self._compress),
        )
        self._socket = socket
        socket.connect(self.address)
        self.flush()

    def _watch(self, now: float) -> list[messages.Message]:
        """The connection broke: take what came before, and do not wait for the silence."""
        assert self._monitor is not None
        try:
            event = zmq.utils.monitor.recv_monitor_message(self._monitor, zmq.NOBLOCK)
        except zmq.Again:
            return []
        if event["event"] & handshake.FAILURES:
            reason, has_another_key = self._handshake.failed(event)
            self.hang_up(now, reason)
            if has_another_key:
                self._dial_at = now
            return []
        # ZeroMQ holds no more than so many packets, and without a connection none are added.
        received = self._receive(now, HIGH_WATER_MARK)
        if self._session is not None:
            self._session.close("the connection broke")
            self.hang_up(now, self._session.reason)
        return received

    def _close_sockets(self, *, linger: int) -> None:
        if self._socket is not None:
            self._socket.disable_monitor()
            self._socket.close(linger=linger)
        if self._monitor is not None and not self._monitor.closed:
            self._monitor.close(linger=0)
        self._socket = None
        self._monitor = None
        self._session = None
        self._unsent = []
        self._was_up = False
