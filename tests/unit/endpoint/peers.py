# SPDX-License-Identifier: Apache-2.0
"""Endpoints on real sockets, and plain peers that dial them."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import zmq

from nova_edge_bus.endpoint import server
from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import session
from nova_edge_bus.transport import loop as loops

PATIENCE = 20.0
"""Seconds that anything here may take on a busy machine."""

LOOPBACK = "tcp://127.0.0.1:0"


class Peer:
    """A DEALER with a session on it."""

    def __init__(self, context: zmq.Context[Any], address: str, name: str = "edge-7") -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(address)
        hello = messages.Hello(
            1, 1, os.urandom(8), os.urandom(8), 1, os.urandom(8), name, "test", 64, 1 << 20
        )
        self.session = session.DialSession(
            hello, link_timeout=PATIENCE, now=time.monotonic(), codec=codec.Codec()
        )
        self.inbox: list[Any] = []

    @property
    def id(self) -> bytes:
        return self.session.hello.peer

    def write(self) -> None:
        for packet in self.session.outgoing():
            self.socket.send(packet)

    def read(self) -> None:
        while self.socket.poll(0):
            for message in self.session.receive(self.socket.recv(), time.monotonic()):
                self.inbox.append(message)
                self.session.consumed(message)

    def close(self) -> None:
        self.socket.close(0)


def run(peers: list[Peer], until: Callable[[], bool]) -> None:
    """Have the peers write and read until something is so.

    :raises AssertionError: when it is not so after a generous time
    """
    deadline = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < deadline, "it did not happen"
        for peer in peers:
            peer.write()
            peer.read()
        time.sleep(0.002)


@contextlib.contextmanager
def running(loop: loops.Loop) -> Iterator[None]:
    """Run a loop in a thread."""
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield
    finally:
        loop.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def on_loop(loop: loops.Loop, call: Callable[[], Any]) -> Any:
    """Call something on a running loop and give what it returns or raises."""
    results: list[Any] = []
    done = threading.Event()

    def run_it() -> None:
        try:
            results.append(call())
        except Exception as exc:
            results.append(exc)
        done.set()

    loop.call_soon_threadsafe(run_it)
    assert done.wait(PATIENCE)
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


@contextlib.contextmanager
def endpoint(
    context: zmq.Context[Any], **options: Any
) -> Iterator[tuple[server.EndpointServer, str]]:
    """An endpoint on a free port of loopback, and its address."""
    loop = loops.Loop()
    served = server.EndpointServer(context, loop, [LOOPBACK], **options)
    (address,) = served.start()
    with running(loop):
        yield served, address
    served.stop()
    loop.close()
