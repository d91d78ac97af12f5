# SPDX-License-Identifier: Apache-2.0
"""Somebody at an endpoint's port who may say whatever the wire can carry, under any key."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import zmq
import zmq.utils.monitor

from nova_edge_bus.keys import files
from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import session

PATIENCE = 20.0
"""Seconds that anything here may take on a busy machine."""


class Attacker:
    """A DEALER with a session on it, and a monitor beside it.

    :param pair: its own keys; None to dial without encryption
    :param server: what it takes for the endpoint's public key
    :param hello: fields of the HELLO, in place of honest ones for ``edge-1``
    """

    def __init__(
        self,
        address: str,
        pair: files.Pair | None = None,
        server: bytes = b"",
        **hello: Any,
    ) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        if pair is not None:
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, server)
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_ALL)
        self.socket.connect(f"tcp://{address}")
        honest = messages.Hello(
            1,
            1,
            os.urandom(8),
            os.urandom(8),
            1,
            os.urandom(8),
            "edge-1",
            "nova-compute",
            64,
            1 << 20,
            False,
        )
        self.inbox: list[Any] = []
        self._hello = honest._replace(**hello)
        self._greet()

    @property
    def id(self) -> bytes:
        """The peer id that it says it has."""
        return self.session.hello.peer

    def greet_again(self) -> None:
        """Begin another session on the same connection."""
        self._greet()

    def _greet(self) -> None:
        self.session = session.DialSession(
            self._hello,
            link_timeout=PATIENCE,
            now=time.monotonic(),
            codec=codec.Codec(compress=False),
        )

    def say(self, *said: messages.Message) -> None:
        """Send messages when the session is up."""
        for message in said:
            self.session.queue(message)

    def turn(self) -> None:
        """Write and read what there is."""
        for packet in self.session.outgoing():
            self.socket.send(packet, zmq.DONTWAIT)
        while self.socket.poll(0):
            for message in self.session.receive(self.socket.recv(), time.monotonic()):
                self.inbox.append(message)
                self.session.consumed(message)

    def until(self, condition: Callable[[], bool], what: str = "it did not happen") -> None:
        """Go on until something is so."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, what
            self.turn()
            time.sleep(0.002)

    def until_up(self) -> None:
        """Go on until the session is up."""
        self.until(lambda: self.session.state is session.State.UP, self.session.reason)

    def until_closed(self) -> str:
        """Go on until the session has ended; why it has."""
        self.until(lambda: self.session.closed, "the session goes on")
        return self.session.reason

    def until_turned_away(self) -> zmq.Event:
        """Go on until the handshake has failed; how it has."""
        deadline = time.monotonic() + PATIENCE
        while True:
            self.turn()
            assert time.monotonic() < deadline, "the handshake has not failed"
            if self.monitor.poll(20):
                event = zmq.utils.monitor.recv_monitor_message(self.monitor)["event"]
                assert event != zmq.Event.HANDSHAKE_SUCCEEDED
                if event.name.startswith("HANDSHAKE_FAILED"):
                    return zmq.Event(event)

    def received(self, kind: type) -> list[Any]:
        """What of this class has come."""
        return [message for message in self.inbox if isinstance(message, kind)]

    def close(self) -> None:
        """Be gone."""
        self.socket.disable_monitor()
        self.context.destroy(linger=0)
