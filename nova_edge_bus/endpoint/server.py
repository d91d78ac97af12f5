# SPDX-License-Identifier: Apache-2.0
"""The endpoint's socket: one ROUTER, whose packets a router core passes on."""

import collections.abc
import os
import pathlib
import typing

import zmq

from nova_edge_bus import concurrency
from nova_edge_bus import events
from nova_edge_bus.endpoint import door
from nova_edge_bus.endpoint import fleet
from nova_edge_bus.endpoint import listening
from nova_edge_bus.endpoint import refusals
from nova_edge_bus.keys import credentials
from nova_edge_bus.keys import files
from nova_edge_bus.protocol import compression
from nova_edge_bus.protocol import identity
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import router
from nova_edge_bus.protocol import session
from nova_edge_bus.protocol import settings as limits
from nova_edge_bus.transport import loop as loops

_READS_A_TURN = 512
_TURN_SECONDS = 0.02
"""After so long a turn nothing more is read before what has been read is passed on."""
_HANDSHAKE_LIMIT = 10_000
"""Milliseconds that a connection may take to begin."""
_LINGER = 1000
"""Milliseconds that the last words of a stopping endpoint may take to leave."""

_BACKLOG = 4096
_SEND_QUEUE = 2 * session.MAX_WINDOW
_RECEIVE_QUEUE = 256

_log = concurrency.NativeLogger(__name__)


class EndpointServer:
    """An endpoint as a service on a loop; begins with :meth:`start`, ends with :meth:`stop`.

    :param context: whose sockets limit and I/O threads it uses
    :param listen: addresses, ``tcp://HOST:PORT``; port 0 takes a free one
    :param curve_dir: directory of keys; with an endpoint's key in it everything is encrypted, and
        only who is enrolled there is admitted
    :param allow_insecure: without a key, listen on addresses that are not loopback all the same
    :raises EndpointError: when an address cannot or must not be listened on
    :raises KeyFileError: when there is a key that cannot be used
    """

    def __init__(
        self,
        context: zmq.Context[typing.Any],
        loop: loops.Loop,
        listen: collections.abc.Sequence[str],
        *,
        settings: limits.Settings | None = None,
        curve_dir: pathlib.Path | None = None,
        allow_insecure: bool = False,
    ) -> None:
        directory = curve_dir or pathlib.Path()
        pair = None if curve_dir is None else credentials.load_endpoint(directory)
        secret, _ = files.paths_of(directory, credentials.ENDPOINT_NAME)
        for address in listen:
            listening.check_safe(
                address, secret=str(secret), allow_insecure=allow_insecure or pair is not None
            )
        self._door = None if pair is None else door.Door(context, pair, directory)
        self._context = context
        self._loop = loop
        self._listen = list(listen)
        self._socket: zmq.Socket[bytes] | None = None
        self._slow = refusals.Refusals()
        settings = settings or limits.Settings()
        if pair is not None:
            settings = settings.with_keys()
        self.fleet = fleet.Fleet(settings.max_sessions)
        self.router = router.Router(
            os.urandom(session.ID_BYTES),
            settings,
            on_opened=self._opened,
            on_closed=self._closed,
            on_refused=self._log_refused,
            on_report=self.fleet.reported,
            on_fenced=self.fleet.fenced,
            on_slow=self._log_slow,
        )

    @property
    def name(self) -> str:
        """The first address that it was told to listen on: what its metrics are labelled with."""
        return self._listen[0]

    @property
    def is_listening(self) -> bool:
        """Whether it is bound; any thread may ask."""
        return self._socket is not None

    def trouble(self) -> str | None:
        """Why no new peer can come in; any thread may ask."""
        if not self.is_listening:
            return "the endpoint is not bound"
        return None if self._door is None else self._door.trouble()

    def start(self) -> list[str]:
        """Bind, and be served by the loop from now on; give the addresses as bound.

        May be tried again after it failed.

        :raises AddressInUse: when another process listens there
        :raises EndpointError: when an address cannot be bound for another reason
        """
        socket = self._make_socket()
        bound = []
        try:
            for address in self._listen:
                try:
                    socket.bind(address)
                except zmq.ZMQError as exc:
                    number = exc.errno or 0
                    raise listening.bind_error(address, number, exc.strerror) from None
                bound.append(socket.getsockopt_string(zmq.LAST_ENDPOINT))
        except listening.EndpointError:
            socket.close(0)
            raise
        self._socket = socket
        if self._door is not None:
            self._door.watch(socket)
        self._loop.register(self)
        return bound

    def stop(self) -> None:
        """Say GOODBYE on all sessions and close; called on the loop's thread or after its end.

        Returns at once; the last words have a second to leave before the context ends.
        """
        if self._socket is None:
            return
        self._loop.unregister(self)
        self.router.close("endpoint stops")
        self._write()
        if self._door is not None:
            self._door.close()
        self._socket.close(_LINGER)
        self._socket = None

    def sockets(self) -> list[zmq.Socket[bytes]]:
        """See :class:`~nova_edge_bus.transport.loop.Service`."""
        if self._socket is None:
            return []
        return [self._socket, *(self._door.sockets() if self._door is not None else ())]

    def on_readable(self, socket: zmq.Socket[bytes], now: float) -> None:
        """See :class:`~nova_edge_bus.transport.loop.Service`."""
        try:
            if self._door is None:
                self._read(socket, now)
            elif socket is self._socket:
                self._read_from_known(self._door, socket, now)
            else:
                self._door.read(socket, now)
        except zmq.Again:
            pass

    def _read(self, socket: zmq.Socket[bytes], now: float) -> None:
        receive, take = socket.recv, self.router.receive
        enough = concurrency.monotonic() + _TURN_SECONDS
        for _ in range(_READS_A_TURN):
            key = receive(zmq.DONTWAIT)
            # A ROUTER puts the key before at least one frame, and gives what belongs together at
            # once. The packet is not copied: it may have a quarter of a megabyte.
            frame = receive(zmq.DONTWAIT, copy=False)
            if not frame.more:
                take(key, frame.buffer, now)
            while frame.more:
                frame = receive(zmq.DONTWAIT, copy=False)
            if concurrency.monotonic() > enough:
                return

    def _read_from_known(self, keeper: door.Door, socket: zmq.Socket[bytes], now: float) -> None:
        """As :meth:`_read`, where ZeroMQ tells with each frame by which key it came."""
        router = self.router
        enough = concurrency.monotonic() + _TURN_SECONDS
        for _ in range(_READS_A_TURN):
            frames = socket.recv_multipart(zmq.DONTWAIT, copy=False)
            if len(frames) == 2:
                key = frames[0].bytes
                visitor = None if router.knows(key) else keeper.visitor(frames[0])
                router.receive(key, frames[1].buffer, now, visitor)
            if concurrency.monotonic() > enough:
                return

    def next_deadline(self) -> float | None:
        """See :class:`~nova_edge_bus.transport.loop.Service`."""
        deadline = self.router.next_deadline()
        if self._door is None:
            return deadline
        look = self._door.next_deadline()
        return look if deadline is None else min(look, deadline)

    def tick(self, now: float) -> None:
        """See :class:`~nova_edge_bus.transport.loop.Service`."""
        self.router.tick(now)
        if self._door is not None:
            for key, visitor, why in self._door.dismissals(self.router.visitors, now):
                _log.warning(events.KEY_WITHDRAWN, visitor.fingerprint, visitor.address, why)
                self.router.dismiss(key, why)
        self._write()

    def _opened(self, hello: messages.Hello) -> None:
        _log_opened(hello)
        opened = self.router.session_of(hello.peer)
        if opened is not None:
            self.fleet.opened(hello, opened)

    def _closed(self, hello: messages.Hello, reason: str) -> None:
        _log_closed(hello, reason)
        self.fleet.closed(hello)

    def _log_refused(self, visitor: identity.Visitor, why: str) -> None:
        if self._door is not None:
            self._door.tell(visitor.address, visitor.text, why, concurrency.monotonic())

    def _log_slow(self, hello: messages.Hello) -> None:
        self._slow.tell_slow(hello, concurrency.monotonic())

    def _write(self) -> None:
        assert self._socket is not None
        send = self._socket.send_multipart
        for key, packet, batch in self.router.outgoing():
            try:
                send((key, packet), zmq.DONTWAIT)
            except zmq.ZMQError as exc:
                # EHOSTUNREACH: the connection is gone. EAGAIN: its queue is longer than its
                # credit allows, so it has stopped reading what needs none.
                if exc.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                    raise
                self.router.unreachable(key, batch)

    def _make_socket(self) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.SNDHWM, _SEND_QUEUE)
        socket.setsockopt(zmq.RCVHWM, _RECEIVE_QUEUE)
        socket.setsockopt(zmq.LINGER, _LINGER)
        socket.setsockopt(zmq.MAXMSGSIZE, compression.MAX_PACKET)
        socket.setsockopt(zmq.BACKLOG, _BACKLOG)
        socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_LIMIT)
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        socket.setsockopt(zmq.IPV6, any("[" in address for address in self._listen))
        if self._door is not None:
            self._door.secure(socket)
        return socket


def _log_opened(hello: messages.Hello) -> None:
    _log.info(
        events.SESSION_UP,
        hello.host,
        hello.service,
        hello.peer.hex(),
        hello.outbox.hex(),
        hello.epoch,
    )


def _log_closed(hello: messages.Hello, reason: str) -> None:
    _log.info(
        events.SESSION_CLOSED,
        hello.host,
        hello.service,
        hello.peer.hex(),
        hello.outbox.hex(),
        hello.epoch,
        reason,
    )
