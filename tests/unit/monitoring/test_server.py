# SPDX-License-Identifier: Apache-2.0
"""The HTTP server: what it answers, and that no client can take more of it than it is given."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator

import pytest

from nova_edge_bus import listening
from nova_edge_bus.monitoring import pages
from nova_edge_bus.monitoring import server as servers
from tests.unit.monitoring import reading

ANYWHERE = listening.Address("127.0.0.1", 0)


@contextlib.contextmanager
def serving(routes: dict[str, pages.Page]) -> Iterator[str]:
    server = servers.Server(ANYWHERE, routes)
    try:
        yield f"http://{server.start()}"
    finally:
        server.stop()


def broken(request: pages.Request) -> pages.Response:
    raise RuntimeError("broken page")


ROUTES: dict[str, pages.Page] = {
    "/told": lambda request: pages.as_json({"query": dict(request.query)}),
    "/broken": broken,
}


@pytest.fixture
def base() -> Iterator[str]:
    with serving(ROUTES) as url:
        yield url


def connect(base: str) -> socket.socket:
    host, _, port = base.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=reading.PATIENCE)


def everything(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(4096), b""))


def test_a_page_is_given_its_query(base: str) -> None:
    status, text = reading.get(f"{base}/told?journal=a&journal=b&x=1")
    assert (status, json.loads(text)) == (200, {"query": {"journal": ["a", "b"], "x": ["1"]}})


def test_head_is_without_the_body(base: str) -> None:
    assert reading.get(f"{base}/told", "HEAD") == (200, "")


def test_what_is_not_there_names_what_is(base: str) -> None:
    status, text = reading.get(f"{base}/nowhere")
    assert (status, "/told /broken" in text) == (404, True)


def test_nothing_can_be_changed(base: str) -> None:
    assert reading.get(f"{base}/told", "POST")[0] == 501
    assert reading.get(f"{base}/told", "DELETE")[0] == 501


@pytest.mark.filterwarnings("default:::nova_edge_bus")
def test_a_page_that_fails_takes_nothing_with_it(base: str) -> None:
    for _ in range(2 * servers.THREADS):
        assert reading.get(f"{base}/broken")[0] == 500
    assert reading.get(f"{base}/told")[0] == 200


def test_clients_that_say_nothing_are_sent_away(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "CLIENT_SECONDS", 0.2)
    with contextlib.ExitStack() as stack:
        for _ in range(2 * servers.THREADS):
            silent = stack.enter_context(connect(base))
            silent.sendall(b"GET /told HTTP/1.1\r\nX-Endless: ")
        assert reading.get(f"{base}/told")[0] == 200


def test_a_request_has_a_largest_size(base: str) -> None:
    with connect(base) as client:
        client.sendall(b"GET /told HTTP/1.1\r\nX-Long: ".ljust(servers.REQUEST_BYTES, b"x"))
        # It is answered or turned away, but nobody waits for more of it.
        assert everything(client).split(b"\r\n")[0].startswith(b"HTTP/1.0 ")


def test_what_is_no_http_is_turned_away(base: str) -> None:
    with connect(base) as client:
        client.sendall(b"\x16\x03\x01 is not\x00 http\r\n\r\n")
        assert b"400" in everything(client)
    assert reading.get(f"{base}/told")[0] == 200


def test_stopping_ends_the_threads_and_frees_the_address() -> None:
    before = set(threading.enumerate())
    first = servers.Server(ANYWHERE, ROUTES)
    address = first.start()
    with pytest.raises(servers.MonitoringError, match="in use"):
        servers.Server(address, ROUTES).start()
    first.stop()
    assert set(threading.enumerate()) == before
    second = servers.Server(address, ROUTES)
    assert second.start() == address
    second.stop()
