# SPDX-License-Identifier: Apache-2.0
"""The endpoint's door: it encrypts, lets in who is enrolled, and shows out who is so no more."""

import collections
import pathlib
import typing
from collections.abc import Iterable

import zmq

from nova_edge_bus import concurrency
from nova_edge_bus.endpoint import listening
from nova_edge_bus.endpoint import refusals
from nova_edge_bus.endpoint import witness
from nova_edge_bus.endpoint import zap
from nova_edge_bus.keys import files
from nova_edge_bus.keys import registry
from nova_edge_bus.protocol import identity

_log = concurrency.NativeLogger(__name__)

LOOK = 1.0
"""Seconds between two looks at whether anything was enrolled or revoked."""
LOOK_AT_ALL = 30.0
"""Seconds after which every session's key is looked up again, whatever has changed: keys expire,
and a file that is edited in place leaves no trace in its directory."""
_LOOK_UPS_A_TURN = 500
_READS_A_TURN = 256
_DOMAIN = b"nova-edge-bus"

_Socket = zmq.Socket[bytes]
Sessions = Iterable[tuple[bytes, identity.Visitor]]


class Door:
    """Belongs to one endpoint and its thread.

    :param pair: the endpoint's own keys
    :param directory: of keys, with the enrolled clients
    """

    def __init__(
        self, context: zmq.Context[typing.Any], pair: files.Pair, directory: pathlib.Path
    ) -> None:
        self._context = context
        self._pair = pair
        self._registry = registry.Registry(directory)
        self._refusals = refusals.Refusals()
        self._zap: _Socket | None = None
        self._witness: witness.Witness | None = None
        self._version: int | None = -1
        self._look_at = 0.0
        self._look_at_all = 0.0
        self._queue: collections.deque[tuple[bytes, identity.Visitor]] = collections.deque()

    def secure(self, socket: _Socket) -> None:
        """Have a socket that is not bound yet encrypt, and ask here whom to admit.

        :raises EndpointError: when another endpoint of this process does the same
        """
        if self._zap is None:
            try:
                self._zap = zap.handler(self._context)
            except zmq.ZMQError as exc:
                raise listening.EndpointError(
                    f"cannot authenticate clients: {exc.strerror}; a process has one endpoint"
                ) from None
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._pair.secret)
        socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)
        # Without it a missing handler would let in whoever knows the endpoint's public key.
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def watch(self, socket: _Socket) -> None:
        """Tell from now on of the connections to *socket* that come to nothing."""
        self._witness = witness.Witness(
            socket, lambda address, why: self.tell(address, "", why, concurrency.monotonic())
        )

    def trouble(self) -> str | None:
        """Why nobody new is admitted; any thread may ask."""
        if self._version is None:
            return f"there is no {self._registry.directory}: nobody new is admitted"
        return None

    def close(self) -> None:
        """Give the sockets back; :meth:`secure` may begin anew, once ZeroMQ has let go of them."""
        if self._witness is not None:
            self._witness.close()
            self._witness = None
        if self._zap is not None:
            self._zap.close()
            self._zap = None

    def sockets(self) -> list[_Socket]:
        """What the loop has to watch."""
        watched = None if self._witness is None else self._witness.socket
        return [socket for socket in (self._zap, watched) if socket is not None]

    def read(self, socket: _Socket, now: float) -> None:
        """Answer who asks to come in, or note who went away."""
        if self._witness is not None and socket is self._witness.socket:
            self._witness.read()
            return
        for _ in range(_READS_A_TURN):
            try:
                request = zap.parse(socket.recv_multipart(zmq.DONTWAIT))
            except zmq.Again:
                return
            if request is not None:
                socket.send_multipart(zap.answer(request, admitted=self._admits(request, now)))

    def visitor(self, frame: zmq.Frame) -> identity.Visitor:
        """Who sent a frame over a connection that has no session yet."""
        public = bytes.fromhex(str(frame.get("User-Id")))
        who, objection = self._registry.look_up(public)
        name = files.fingerprint(public)
        return identity.Visitor(who, name, str(frame.get("Peer-Address")), public, objection)

    def tell(self, address: str, who: str, why: str, now: float) -> None:
        """Log a refusal, once."""
        self._refusals.tell(address, who, why, now)

    def dismissals(
        self, sessions: typing.Callable[[], Sessions], now: float
    ) -> Iterable[tuple[bytes, identity.Visitor, str]]:
        """Yield the sessions that have to end, and why; call it every turn."""
        if now >= self._look_at:
            self._look_at = now + LOOK
            self._look(sessions, now)
        for _ in range(min(len(self._queue), _LOOK_UPS_A_TURN)):
            key, visitor = self._queue.popleft()
            who, objection = self._registry.look_up(visitor.public)
            if not objection and who != visitor.identity:
                objection = "is enrolled for somebody else now"
            if objection:
                yield key, visitor, f"key {visitor.fingerprint} {objection}"

    def next_deadline(self) -> float:
        """When :meth:`dismissals` has something to do next."""
        return 0.0 if self._queue else self._look_at

    def _look(self, sessions: typing.Callable[[], Sessions], now: float) -> None:
        version = self._registry.version()
        if version is None:
            # Taken for a mishap: to end every session at once takes more than a missing directory.
            if self._version is not None:
                _log.error("there is no %s: nobody new is admitted", self._registry.directory)
        elif version != self._version or now >= self._look_at_all:
            self._look_at_all = now + LOOK_AT_ALL
            self._queue = collections.deque(sessions())
        self._version = version

    def _admits(self, request: zap.Request, now: float) -> bool:
        if not request.public:
            return False
        _, objection = self._registry.look_up(request.public)
        if objection:
            who = f"key {files.fingerprint(request.public)}"
            self.tell(request.address, who, f"the key {objection}", now)
        return not objection
