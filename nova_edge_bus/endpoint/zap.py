# SPDX-License-Identifier: Apache-2.0
"""ZeroMQ's authentication protocol (ZAP, RFC 27): who asks to come in, and the answer.

pyzmq's own handler runs an asyncio loop in a thread of its own, where eventlet may have patched
what it stands on. This one is a socket on the loop that owns all the others.
"""

import typing

import zmq

ADDRESS = "inproc://zeromq.zap.01"
"""Where ZeroMQ asks, one handler a context."""

_VERSION = b"1.0"
_ADMITTED = b"200"
_REFUSED = b"400"


class Request(typing.NamedTuple):
    """Somebody has proved to hold the secret half of the key *public*.

    ``route`` and ``number`` lead the answer back. A request of any other kind has no key.
    """

    route: bytes
    number: bytes
    address: str
    public: bytes


def parse(frames: list[bytes]) -> Request | None:
    """Read a request; None for what is none, which nobody waits for an answer to."""
    if len(frames) < 8 or frames[2] != _VERSION:
        return None
    route, _, _, number, _, address, _, mechanism, *credentials = frames
    is_curve = mechanism == b"CURVE" and len(credentials) == 1
    return Request(
        route, number, address.decode("utf-8", "replace"), credentials[0] if is_curve else b""
    )


def answer(request: Request, *, admitted: bool) -> list[bytes]:
    """The answer; ZeroMQ then names the key with everything that comes by the connection."""
    status = _ADMITTED if admitted else _REFUSED
    user = request.public.hex().encode() if admitted else b""
    return [request.route, b"", _VERSION, request.number, status, b"", user, b""]


def handler(context: "zmq.Context[zmq.Socket[bytes]]") -> "zmq.Socket[bytes]":
    """The socket that requests come to.

    :raises zmq.ZMQError: when the context has a handler already
    """
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.LINGER, 0)
    try:
        socket.bind(ADDRESS)
    except zmq.ZMQError:
        socket.close()
        raise
    return socket
