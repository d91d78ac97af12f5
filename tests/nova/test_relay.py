# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.nova.processes import wait_until
from tests.nova.relay import RESET_ON_CLOSE
from tests.nova.relay import Address
from tests.nova.relay import Relay
from tests.nova.relay import Traffic


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(65536):
                self.request.sendall(data)


class _OneWord(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(1)
        self.request.sendall(b"word")


@contextlib.contextmanager
def _serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[Address]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.socket.getsockname()
        server.shutdown()


@pytest.fixture
def echo() -> Iterator[Address]:
    with _serving(_Echo) as address:
        yield address


@pytest.fixture
def relay(echo: Address) -> Iterator[Relay]:
    relay = Relay([echo])
    relay.start()
    yield relay
    relay.stop()


@pytest.fixture
def client(relay: Relay) -> Iterator[socket.socket]:
    with socket.create_connection(relay.addresses[0], timeout=10) as client:
        yield client


def _receive(client: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        chunk = client.recv(size - len(received))
        if not chunk:
            break
        received += chunk
    return received


def _echoed(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    return _receive(client, len(data))


def _hears_nothing(client: socket.socket, seconds: float = 0.3) -> bool:
    client.settimeout(seconds)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(10)
    return False


def test_forwards_both_ways_and_counts_each(relay: Relay, client: socket.socket) -> None:
    data = bytes(range(256)) * 4096
    writer = threading.Thread(target=client.sendall, args=(data,))
    writer.start()
    assert _receive(client, len(data)) == data
    writer.join()
    assert relay.traffic == Traffic(len(data), len(data))


def test_each_upstream_has_a_port_of_its_own(echo: Address) -> None:
    with _serving(_OneWord) as other:
        relay = Relay([echo, other])
        relay.start()
        with socket.create_connection(relay.addresses[1], timeout=10) as client:
            client.sendall(b"x")
            assert _receive(client, 4) == b"word"
        with socket.create_connection(relay.addresses[0], timeout=10) as client:
            assert _echoed(client, b"hello") == b"hello"
        relay.stop()


def test_the_end_of_a_stream_passes_through(client: socket.socket) -> None:
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)
    assert _receive(client, 100) == b"last words"


def test_delay_adds_to_each_direction(relay: Relay, client: socket.socket) -> None:
    assert _echoed(client, b"connected") == b"connected"
    relay.delay(0.2)
    began = time.monotonic()
    assert _echoed(client, b"x") == b"x"
    assert time.monotonic() - began >= 0.4


def test_throttle_limits_the_rate(relay: Relay, client: socket.socket) -> None:
    relay.throttle(100_000)
    began = time.monotonic()
    assert len(_echoed(client, bytes(50_000))) == 50_000
    assert time.monotonic() - began >= 0.5


def test_silence_holds_what_is_sent_and_resume_delivers_it(
    relay: Relay, client: socket.socket
) -> None:
    assert _echoed(client, b"connected") == b"connected"
    relay.silence()
    before = relay.traffic
    client.sendall(b"held")
    assert _hears_nothing(client)
    assert relay.traffic == before
    relay.resume()
    assert _receive(client, 4) == b"held"


def test_silence_swallows_new_connections(relay: Relay) -> None:
    relay.silence()
    with socket.create_connection(relay.addresses[0], timeout=10) as client:
        client.sendall(b"held")
        assert _hears_nothing(client)
        assert relay.open_connections == 1
        relay.resume()
        assert _receive(client, 4) == b"held"


def test_reset_breaks_connections_and_takes_new_ones(relay: Relay, client: socket.socket) -> None:
    assert _echoed(client, b"connected") == b"connected"
    relay.reset()
    with pytest.raises(ConnectionResetError):
        _receive(client, 1)
    with socket.create_connection(relay.addresses[0], timeout=10) as another:
        assert _echoed(another, b"hello") == b"hello"


def test_reset_during_silence_loses_what_was_held(relay: Relay, client: socket.socket) -> None:
    assert _echoed(client, b"connected") == b"connected"
    relay.silence()
    before = relay.traffic
    client.sendall(b"lost")
    assert _hears_nothing(client)
    relay.reset()
    relay.resume()
    with socket.create_connection(relay.addresses[0], timeout=10) as another:
        assert _echoed(another, b"hello") == b"hello"
    assert relay.traffic - before == Traffic(5, 5)


def test_an_upstream_that_is_away_closes_the_connection() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        relay = Relay([nobody.getsockname()])
        relay.start()
        with (
            socket.create_connection(relay.addresses[0], timeout=10) as client,
            contextlib.suppress(ConnectionResetError),
        ):
            assert _receive(client, 1) == b""
        relay.stop()


def test_reset_passes_over_connections_that_are_broken_already(relay: Relay) -> None:
    relay.silence()
    client = socket.create_connection(relay.addresses[0], timeout=10)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    wait_until(lambda: relay.open_connections == 1, 10, "the connection")
    client.close()
    time.sleep(0.2)  # or the reset of the client is not heard before ours
    relay.reset()
    assert relay.open_connections == 0
