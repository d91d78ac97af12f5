# SPDX-License-Identifier: Apache-2.0
"""When the service is out of reach, however it went, the guard says so and waits for nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
import urllib3

from tests.nova.processes import wait_until
from tests.nova.relay import Relay
from tests.rest_guard.conftest import MakeGuard
from tests.rest_guard.processes import QUICK
from tests.rest_guard.processes import WAIT_SECONDS
from tests.rest_guard.processes import Guard
from tests.rest_guard.processes import Service

OUT = "upstream placement is out of reach"
BACK = "upstream placement is back"
FAR_TOO_LONG = 10 * WAIT_SECONDS
"""Seconds that no test can wait."""


def ask(
    guard: Guard, method: str = "GET", path: str = "/echo", **options: Any
) -> requests.Response:
    return requests.request(method, guard.url + path, timeout=WAIT_SECONDS, **options)


def read_on(read: Callable[[], bytes]) -> None:
    while read():
        pass


class Asking:
    """A request in a thread of its own, under way at the service when the constructor returns."""

    def __init__(self, guard: Guard, service: Service, method: str, path: str) -> None:
        self.answer: requests.Response | None = None
        self._thread = threading.Thread(target=self._ask, args=(guard, method, path))
        asked = f"{method} {path.partition('?')[0]}"
        before = service.counts().get(asked, 0)
        self._thread.start()
        wait_until(lambda: service.counts().get(asked, 0) > before, WAIT_SECONDS, asked)

    def result(self) -> requests.Response:
        self._thread.join(WAIT_SECONDS)
        assert self.answer is not None, "the request is still under way"
        return self.answer

    def _ask(self, guard: Guard, method: str, path: str) -> None:
        self.answer = ask(guard, method, path)


def test_a_killed_service_is_out_of_reach_and_comes_back(guard: Guard, service: Service) -> None:
    service.process.kill()
    answer = ask(guard, "POST", data=b"x")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    detail = answer.json()["errors"][0]["detail"]
    # The guard may have been in the middle of its own first look.
    assert any(each in detail for each in ("refused", "closed", "broke")), detail
    guard.wait_for(OUT)
    service.start()
    guard.wait_for(BACK)
    assert ask(guard, "POST", data=b"x").ok


def test_the_first_request_after_a_long_silence_is_answered(
    make_guard: MakeGuard, service: Service
) -> None:
    """What the bus brings after a cut comes before the next probe would."""
    guard = make_guard(
        f"placement={service.url}", probe_interval=FAR_TOO_LONG, probe_interval_max=FAR_TOO_LONG
    )
    service.process.kill()
    wait_until(lambda: not ask(guard).ok, WAIT_SECONDS, "the guard to notice")
    guard.wait_for(OUT)
    service.start()
    wait_until(lambda: ask(guard, "POST", data=b"x").ok, WAIT_SECONDS, "an answer")


@pytest.mark.parametrize("cut", ["silent link", "frozen service"])
def test_silence_is_noticed_while_an_answer_is_owed(
    relay: Relay, far_guard: Guard, service: Service, cut: str
) -> None:
    asking = Asking(far_guard, service, "GET", "/never")
    if cut == "silent link":
        relay.silence()
    else:
        service.process.freeze()
    answer = asking.result()
    assert answer.status_code == 503
    far_guard.wait_for(OUT)
    assert ask(far_guard).status_code == 503
    if cut == "silent link":
        relay.resume()
    else:
        service.process.thaw()
    far_guard.wait_for(BACK)
    assert ask(far_guard).ok


def test_while_out_of_reach_nothing_is_waited_for(
    relay: Relay, service: Service, make_guard: MakeGuard
) -> None:
    host, port = relay.addresses[0]
    guard = make_guard(f"placement=http://{host}:{port}", link_timeout=FAR_TOO_LONG)
    relay.silence()
    waiting = threading.Thread(target=ask, args=(guard,))
    waiting.start()
    guard.wait_for(OUT)
    before = relay.open_connections
    # A request that waited for the service, or for the link time-out, would outlive the test.
    for _ in range(100):
        assert ask(guard).status_code == 503
    assert relay.open_connections - before < 100
    assert waiting.is_alive()
    relay.resume()
    waiting.join()


def test_a_connection_that_is_not_taken_is_given_up(make_guard: MakeGuard) -> None:
    with contextlib.ExitStack() as undo:
        full = undo.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # With the backlog full, the kernel drops further SYNs as a firewall does.
        for _ in range(2):
            filler = undo.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        guard = make_guard(f"placement=http://127.0.0.1:{full.getsockname()[1]}")
        answer = ask(guard)
        assert answer.status_code == 503
        guard.wait_for(f"{OUT}: no connection to 127.0.0.1:")


def test_a_name_that_is_not_known_is_out_of_reach(make_guard: MakeGuard) -> None:
    guard = make_guard("placement=http://no-such-host.invalid:8778")
    assert ask(guard).status_code == 503
    guard.wait_for(f"{OUT}: cannot connect to no-such-host.invalid:8778: ")


def test_a_slow_answer_is_waited_for(far_guard: Guard) -> None:
    seconds = 10 * QUICK["probe-interval"] + QUICK["probe-timeout"] + QUICK["link-timeout"]
    assert ask(far_guard, path=f"/slow?seconds={seconds}").ok
    assert OUT not in far_guard.log


def test_503_is_said_only_where_the_request_had_no_effect(
    relay: Relay, far_guard: Guard, service: Service
) -> None:
    asking = {
        method: Asking(far_guard, service, method, "/never") for method in ("GET", "POST", "PUT")
    }
    relay.silence()
    statuses = {method: each.result().status_code for method, each in asking.items()}
    assert statuses == {"GET": 503, "POST": 504, "PUT": 504}


def test_a_request_is_sent_once_whatever_becomes_of_it(guard: Guard, service: Service) -> None:
    for method, status in (("POST", 502), ("PUT", 502), ("DELETE", 502), ("PATCH", 502)):
        # An idle connection that could be used again must not be.
        assert ask(guard, path="/counts").ok
        assert ask(guard, method, "/hang-up").status_code == status
        assert service.counts()[f"{method} /hang-up"] == 1
    assert OUT not in guard.log


def test_an_answer_that_is_cut_is_not_taken_for_whole(guard: Guard) -> None:
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        ask(guard, path="/half")
    with socket.create_connection(("127.0.0.1", guard.port), timeout=WAIT_SECONDS) as old:
        old.sendall(b"GET /half HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            read_on(lambda: old.recv(65536))


def test_an_answer_stuck_in_the_middle_is_cut_off(
    relay: Relay, far_guard: Guard, service: Service
) -> None:
    with requests.get(f"{far_guard.url}/trickle", stream=True, timeout=WAIT_SECONDS) as answer:
        assert answer.raw.read(3)
        relay.silence()
        with pytest.raises(urllib3.exceptions.ProtocolError):
            read_on(lambda: answer.raw.read(1))
    far_guard.wait_for(OUT)


def test_garbage_is_a_bad_gateway(guard: Guard) -> None:
    assert ask(guard, "POST", "/garbage").status_code == 502


def test_a_service_in_reach_is_left_alone_while_nobody_waits(
    guard: Guard, service: Service
) -> None:
    assert ask(guard).ok
    wait_until(lambda: "GET /v3/" in service.counts(), WAIT_SECONDS, "the guard to have learned")
    before = service.counts()["GET /"]
    time.sleep(10 * QUICK["probe-interval"])
    assert service.counts()["GET /"] == before


def test_errors_have_the_format_of_the_service(make_guard: MakeGuard) -> None:
    detail_of: dict[str, Callable[[Any], str]] = {
        "placement": lambda body: body["errors"][0]["detail"],
        "neutron": lambda body: body["NeutronError"]["message"],
        "glance": lambda body: body["error"]["message"],
    }
    for name, detail in detail_of.items():
        answer = ask(make_guard(f"{name}=http://127.0.0.1:1"))
        assert answer.headers["Content-Type"].startswith("application/json")
        assert answer.headers["Server"] == "nova-edge-bus rest-guard"
        assert "out of reach" in detail(answer.json())
