# SPDX-License-Identifier: Apache-2.0
"""What somebody does at an endpoint who wants to keep the others from it."""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import threading
import time
from collections.abc import Iterator

import msgpack
import zmq
import zstandard

from nova_edge_bus.protocol import compression
from nova_edge_bus.protocol import messages
from tests.driver import attackers
from tests.driver import peers
from tests.driver import secured

BURST = 200
"""How often something cheap is done."""


class Calling:
    """An honest compute that calls its conductor again and again, and how long that takes."""

    def __init__(self, honest: secured.Honest) -> None:
        self._client = honest.compute.client("conductor")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seconds: list[float] = []
        self.errors: list[Exception] = []
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(0.005):
            began = time.monotonic()
            try:
                assert self._client.call({}, "who") == "centre-1"
            except Exception as error:
                self.errors.append(error)
            self.seconds.append(time.monotonic() - began)

    def some(self, count: int = 30) -> None:
        """Wait for that many more calls to end."""
        until = len(self.seconds) + count
        deadline = time.monotonic() + peers.WAIT_SECONDS
        while len(self.seconds) < until:
            assert time.monotonic() < deadline, "honest calls do not end"
            time.sleep(0.01)

    @contextlib.contextmanager
    def told(self, name: str) -> Iterator[None]:
        """Print how the calls fare before and while something is done."""
        self.some()
        before = self.seconds[-30:]
        first = len(self.seconds)
        yield
        self.some(10)
        print(f"{name}: before {_spread(before)}, during {_spread(self.seconds[first:])}")
        assert self.errors == []

    def stop(self) -> None:
        """Call no more."""
        self._stopping.set()
        self._thread.join(peers.WAIT_SECONDS)


def _spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return f"p50 {1000 * statistics.median(ordered):.1f} ms p99 {1000 * p99:.1f} ms"


def bomb() -> bytes:
    """A hundred bytes that become a million, and those three hundred thousand objects."""
    items = [[99, *["ab"] * 4095]] * 80
    return b"\x01" + zstandard.ZstdCompressor().compress(msgpack.packb(items))


def bomb_of_a_body() -> bytes:
    """Little that claims to be more than a packet may be."""
    packed = zstandard.ZstdCompressor().compress(bytes(compression.MAX_PACKET + 1))
    return b"\x01" + packed


def many_pings() -> bytes:
    """Four thousand questions in some thirty bytes."""
    return b"\x01" + zstandard.ZstdCompressor().compress(msgpack.packb([[5, 1]] * 4096))


def until_ended(thief: attackers.Attacker, packet: bytes) -> str:
    """Send a packet again and again until the session has ended; why it has."""
    deadline = time.monotonic() + attackers.PATIENCE
    while not thief.session.closed:
        assert time.monotonic() < deadline, "the session goes on"
        with contextlib.suppress(zmq.Again):
            thief.socket.send(packet, zmq.DONTWAIT)
        thief.turn()
    return thief.session.reason


def until_disconnected(thief: attackers.Attacker) -> None:
    """Wait until the endpoint has hung up."""
    deadline = time.monotonic() + attackers.PATIENCE
    while True:
        assert time.monotonic() < deadline, "the endpoint has not hung up"
        if thief.monitor.poll(100):
            event = zmq.utils.monitor.recv_monitor_message(thief.monitor)
            if event["event"] == zmq.Event.DISCONNECTED:
                return


def half_open(port: int, count: int) -> list[socket.socket]:
    """Connections that say nothing, or begin as ZeroMQ does and go on as nobody does."""
    made = []
    for number in range(count):
        each = socket.create_connection(("127.0.0.1", port), attackers.PATIENCE)
        if number % 3 == 1:
            each.sendall(b"\xff" + bytes(8) + b"\x7f")
        elif number % 3 == 2:
            with contextlib.suppress(OSError):
                each.sendall(os.urandom(200))
        made.append(each)
    return made


def await_closed(connections: list[socket.socket]) -> None:
    """Wait until the other end has closed all of them."""
    for each in connections:
        with contextlib.suppress(ConnectionError):
            while each.recv(65536):
                pass
        each.close()


class Recorder:
    """A relay in front of an endpoint that keeps what the peers send."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.sent = bytearray()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(self._target)
                threading.Thread(target=self._pass, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(far, near, False), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, is_kept: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_kept:
                    self.sent += data
                sink.sendall(data)
        sink.close()

    def close(self) -> None:
        """Take no more connections."""
        self._listening.close()


def large_lookup(count: int) -> list[messages.Message]:
    """So many addresses that nobody takes."""
    names = [f"/openstack/topic-{number}" for number in range(count)]
    return [messages.Lookup(names[at : at + 256]) for at in range(0, count, 256)]
