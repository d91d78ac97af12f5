# SPDX-License-Identifier: Apache-2.0
"""What the endpoint's socket tells of connections that come to nothing, and from where they came.

ZeroMQ's monitor names a connection by its descriptor only, and a failed handshake not even so; but
the event that follows a failure is the end of that very connection, because one I/O thread reports
both.
"""

import collections
import os
import typing
from collections.abc import Callable

import zmq
import zmq.utils.monitor

from nova_edge_bus import concurrency

_EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_READS_A_TURN = 256
_MOST_REMEMBERED = 4096
_WRONG_SERVER_KEY = 0x11000001
_NOT_ENCRYPTED = 0x11000002
_TEXTS = {
    _WRONG_SERVER_KEY: "it has another public key for this endpoint; compare its endpoints/ or "
    "curve_server_keys with endpoint.pub",
    _NOT_ENCRYPTED: "it does not encrypt; it has no key, or none of this endpoint",
}
_BROKEN_OFF = "it broke off the handshake, as who does not encrypt may do"
UNKNOWN_ADDRESS = "an address that is gone"


class Witness:
    """Watches one socket.

    :param on_refused: told of the address and the reason of each connection that failed
    """

    def __init__(
        self, socket: "zmq.Socket[bytes]", on_refused: Callable[[str, str], None]
    ) -> None:
        self._watched = socket
        self._on_refused = on_refused
        self._addresses: collections.OrderedDict[int, str] = collections.OrderedDict()
        self._failure: str | None = None
        name = f"inproc://edge-bus-witness-{id(self)}"
        # ZeroMQ's I/O thread must never wait for this one, which may be about to end the watch.
        self.socket = socket.context.socket(zmq.PAIR)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.setsockopt(zmq.LINGER, 0)
        socket.monitor(name, _EVENTS)
        self.socket.connect(name)

    def read(self) -> None:
        """Take what has been reported."""
        for _ in range(_READS_A_TURN):
            try:
                event = zmq.utils.monitor.recv_monitor_message(self.socket, zmq.DONTWAIT)
            except zmq.Again:
                return
            self._take(event)

    def close(self) -> None:
        """Watch no more."""
        self._watched.disable_monitor()
        self.socket.close()

    def _take(self, event: dict[str, typing.Any]) -> None:
        kind, value = event["event"], event["value"]
        if kind == zmq.EVENT_ACCEPTED:
            self._addresses[value] = _address_of(value)
            if len(self._addresses) > _MOST_REMEMBERED:
                self._addresses.popitem(last=False)
        elif kind == zmq.EVENT_DISCONNECTED:
            address = self._addresses.pop(value, UNKNOWN_ADDRESS)
            failure, self._failure = self._failure, None
            if failure is not None:
                self._on_refused(address, failure)
        elif kind == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            self._failure = _TEXTS.get(value, f"it broke ZeroMQ's protocol ({value:#x})")
        else:
            self._failure = _BROKEN_OFF


def _address_of(descriptor: int) -> str:
    """The other end of a connection that ZeroMQ owns, and may be closing."""
    try:
        with concurrency.native.socket.socket(fileno=os.dup(descriptor)) as copy:
            return str(copy.getpeername()[0])
    except OSError:
        return UNKNOWN_ADDRESS
