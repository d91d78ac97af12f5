# SPDX-License-Identifier: Apache-2.0
"""While the service answers, what goes through the guard is what would go without it."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.nova.processes import wait_until
from tests.rest_guard.conftest import MakeGuard
from tests.rest_guard.processes import WAIT_SECONDS
from tests.rest_guard.processes import Guard
from tests.rest_guard.processes import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests here; none of them harms it."""
    made = Service(tmp_path_factory.mktemp("service"))
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def guard(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guard]:
    made = Guard(tmp_path_factory.mktemp("guard"), f"placement={service.url}")
    made.start()
    yield made
    made.process.stop()


def ask(guard: Guard, method: str, path: str, **options: Any) -> requests.Response:
    return requests.request(
        method, guard.url + path, timeout=WAIT_SECONDS, allow_redirects=False, **options
    )


def converse(guard: Guard, request: bytes) -> bytes:
    """Send bytes as they are and return all that comes until the guard closes."""
    with socket.create_connection(("127.0.0.1", guard.port), timeout=WAIT_SECONDS) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def fields(echoed: dict[str, Any], name: str) -> list[str]:
    """The values of a header field that the service saw."""
    return [value for each, value in echoed["headers"] if each == name]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT"])
def test_every_method_passes(guard: Guard, method: str) -> None:
    echoed = ask(guard, method, "/things/a%2Fb?q=%20x&y").json()
    assert (echoed["method"], echoed["path"]) == (method, "/things/a%2Fb?q=%20x&y")


def test_head_says_how_long_the_body_would_be(guard: Guard) -> None:
    answer = ask(guard, "HEAD", "/big?bytes=12345")
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, "12345")


@pytest.mark.parametrize("status", [201, 204, 304, 401, 404, 409, 500, 503])
def test_every_status_passes(guard: Guard, status: int) -> None:
    assert ask(guard, "GET", f"/status?code={status}").status_code == status
    # The connection is still good, whether that status has a body or not.
    assert ask(guard, "GET", "/echo").ok


def test_a_body_of_known_length_passes(guard: Guard) -> None:
    body = b"\x00\xff" * 50_000
    echoed = ask(guard, "POST", "/echo", data=body).json()
    assert echoed["sha256"] == hashlib.sha256(body).hexdigest()
    assert fields(echoed, "content-length") == ["100000"]


def test_a_chunked_body_passes(guard: Guard) -> None:
    pieces = [b"one", b"two" * 30_000, b"three"]
    echoed = ask(guard, "PUT", "/echo", data=iter(pieces)).json()
    assert echoed["sha256"] == hashlib.sha256(b"".join(pieces)).hexdigest()
    assert fields(echoed, "transfer-encoding") == ["chunked"]


def test_an_encoded_body_is_not_decoded(guard: Guard) -> None:
    encoded = {"Content-Encoding": "gzip"}
    echoed = ask(guard, "PUT", "/echo", data=b"not really gzip", headers=encoded).json()
    assert echoed["size"] == len(b"not really gzip")
    assert fields(echoed, "content-encoding") == ["gzip"]


def test_a_chunked_answer_passes(guard: Guard) -> None:
    answer = ask(guard, "GET", "/chunked")
    assert answer.content == b"onetwothree"
    assert answer.headers["Transfer-Encoding"] == "chunked"


def test_an_answer_to_http_1_0_ends_with_the_connection(guard: Guard) -> None:
    head, _, body = converse(guard, b"GET /chunked HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    assert body == b"onetwothree"
    assert b"chunked" not in head.lower()


def test_end_to_end_fields_pass_and_hop_by_hop_fields_do_not(guard: Guard) -> None:
    sent = {
        "X-Auth-Token": "t" * 20_000,
        "OpenStack-API-Version": "placement 1.39",
        "Connection": "keep-alive, X-Mine",
        "X-Mine": "for the guard",
        "TE": "trailers",
        "Keep-Alive": "timeout=5",
        "Upgrade": "websocket",
        "Accept": "application/json",
    }
    echoed = ask(guard, "GET", "/echo", headers=sent).json()
    assert fields(echoed, "x-auth-token") == ["t" * 20_000]
    assert fields(echoed, "openstack-api-version") == ["placement 1.39"]
    assert fields(echoed, "accept") == ["application/json"]
    for name in ("x-mine", "te", "keep-alive", "upgrade"):
        assert fields(echoed, name) == []


def test_nothing_is_added_to_a_request_but_what_a_gateway_adds(
    guard: Guard, service: Service
) -> None:
    request = b"GET /echo HTTP/1.1\r\nHost: me:1\r\nConnection: close\r\n\r\n"
    echoed = json.loads(converse(guard, request).partition(b"\r\n\r\n")[2])
    assert sorted(map(tuple, echoed["headers"])) == [
        ("host", service.netloc),
        ("via", "1.1 nova-edge-bus"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "me:1"),
        ("x-forwarded-proto", "http"),
    ]


def test_fields_of_an_answer_pass_but_for_those_of_the_hop(guard: Guard) -> None:
    answer = ask(guard, "GET", "/fields")
    assert "X-Private" not in answer.headers
    assert answer.raw.headers.getlist("Set-Cookie") == ["a=1", "b=2"]


def test_cookies_of_one_client_are_not_sent_for_another(guard: Guard) -> None:
    ask(guard, "GET", "/fields")
    assert fields(ask(guard, "GET", "/echo").json(), "cookie") == []


def test_a_redirect_within_the_service_stays_at_the_guard(guard: Guard) -> None:
    assert ask(guard, "GET", "/moved").headers["Location"] == f"{guard.url}/v3/?a=b"
    assert ask(guard, "GET", "/elsewhere").headers["Location"] == "https://other.example/x"


def test_an_expectation_is_left_to_the_service(guard: Guard) -> None:
    head = "Host: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", guard.port), timeout=WAIT_SECONDS) as connection:
        connection.sendall(f"PUT /echo HTTP/1.1\r\n{head}".encode())
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"body")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert json.loads(answer.read())["size"] == 4
    refused = converse(guard, f"PUT /refuses HTTP/1.1\r\n{head}".encode())
    assert refused.startswith(b"HTTP/1.1 413 ")


def test_an_expectation_that_the_service_ignores_fails(guard: Guard) -> None:
    head = "Host: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    answer = converse(guard, f"PUT /never-continues HTTP/1.1\r\n{head}".encode())
    assert answer.startswith(b"HTTP/1.1 417 ")


def test_requests_are_served_side_by_side(guard: Guard) -> None:
    slow = threading.Thread(target=ask, args=(guard, "GET", "/slow?seconds=5"))
    slow.start()
    assert ask(guard, "GET", "/echo").ok
    assert slow.is_alive()
    slow.join()


def test_an_upload_begins_before_its_end_is_known(guard: Guard, service: Service) -> None:
    may_end = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"first"
        assert may_end.wait(WAIT_SECONDS)
        yield b"last"

    upload = threading.Thread(
        target=ask, args=(guard, "PUT", "/upload"), kwargs={"data": pieces()}
    )
    upload.start()
    wait_until(lambda: "PUT /upload" in service.counts(), WAIT_SECONDS, "the upload to arrive")
    may_end.set()
    upload.join(WAIT_SECONDS)
    assert not upload.is_alive()


def test_a_client_that_goes_ends_the_request_upstream(guard: Guard, service: Service) -> None:
    with socket.create_connection(("127.0.0.1", guard.port)) as client:
        client.sendall(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: "GET /never" in service.counts(), WAIT_SECONDS, "the request")
    guard.wait_for("GET /never: cut")
    with requests.get(f"{guard.url}/trickle", stream=True, timeout=WAIT_SECONDS) as answer:
        assert answer.raw.read(3)
    guard.wait_for("GET /trickle: cut")


def test_large_bodies_are_never_held(service: Service, make_guard: MakeGuard) -> None:
    guard = make_guard(f"glance={service.url}")
    size = 50 * 1024 * 1024
    ask(guard, "GET", "/big?bytes=1000000")
    ask(guard, "PUT", "/echo", data=b"x" * 1_000_000)
    before = guard.resident_kib()
    most = before
    with requests.get(f"{guard.url}/big?bytes={size}", stream=True, timeout=WAIT_SECONDS) as down:
        received = 0
        while chunk := down.raw.read(1024 * 1024):
            received += len(chunk)
            most = max(most, guard.resident_kib())
    assert received == size

    def pieces() -> Iterator[bytes]:
        nonlocal most
        for _ in range(50):
            most = max(most, guard.resident_kib())
            yield b"x" * 1024 * 1024

    assert ask(guard, "PUT", "/echo", data=pieces()).json()["size"] == size
    assert max(most, guard.resident_kib()) - before < size / 1024 / 5


def test_a_client_that_reads_slowly_holds_up_the_service(guard: Guard) -> None:
    before = guard.resident_kib()
    size = 50 * 1024 * 1024
    with requests.get(f"{guard.url}/big?bytes={size}", stream=True, timeout=WAIT_SECONDS) as down:
        assert down.raw.read(1)
        for _ in range(20):
            requests.get(f"{guard.url}/echo", timeout=WAIT_SECONDS)
        assert guard.resident_kib() - before < size / 1024 / 5
