# SPDX-License-Identifier: Apache-2.0
"""Calls: what comes back, when nothing does, and what is raised then."""

from __future__ import annotations

import concurrent.futures
import re
import threading
import time
from typing import Any

import oslo_messaging
import pytest
from oslo_config import cfg
from oslo_messaging.rpc import client as rpc_client
from oslo_messaging.rpc import dispatcher as rpc_dispatcher

from nova_edge_bus.runtime import bus as bus_module
from tests.driver.conftest import MakeEndpoint
from tests.driver.conftest import MakePeer
from tests.driver.peers import WAIT_SECONDS
from tests.driver.peers import Recorder
from tests.nova.processes import wait_until


class Server(Recorder):
    """Does what calls can ask for."""

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self.release = threading.Event()

    def hold(self, ctxt: Any) -> str:
        """Answer when the test says so."""
        self.queue.put("holding")
        self.release.wait(WAIT_SECONDS)
        return "released"


@pytest.fixture
def server() -> Server:
    return Server("first")


def test_a_call_to_nobody_times_out_by_default(make_peer: MakePeer, topic: str) -> None:
    options = oslo_messaging.TransportOptions(at_least_once=False)
    client = make_peer().client(topic, "absent", timeout=1, transport_options=options)
    with pytest.raises(oslo_messaging.MessagingTimeout):
        client.call({}, "who")


def test_a_mandatory_call_to_nobody_is_undeliverable_at_once(
    make_peer: MakePeer, topic: str
) -> None:
    options = oslo_messaging.TransportOptions(at_least_once=True)
    # Longer than this test may take: only an immediate error gets it through.
    client = make_peer().client(topic, "absent", timeout=3600, transport_options=options)
    with pytest.raises(oslo_messaging.MessageUndeliverable) as caught:
        client.call({}, "who")
    assert caught.value.routing_key == topic
    assert caught.value.message["method"] == "who"


def test_a_mandatory_call_is_answered_when_somebody_takes_it(
    make_peer: MakePeer, topic: str, server: Server
) -> None:
    make_peer().serve(topic, "here", server)
    options = oslo_messaging.TransportOptions(at_least_once=True)
    client = make_peer().client(topic, transport_options=options)
    assert client.call({}, "who") == "first"


def test_a_mandatory_call_looks_behind_every_endpoint(
    make_peer: MakePeer, make_endpoint: MakeEndpoint, topic: str, server: Server
) -> None:
    near, far = make_endpoint(), make_endpoint()
    make_peer(far.url).serve(topic, "here", server)
    options = oslo_messaging.TransportOptions(at_least_once=True)
    for number in range(10):
        caller = make_peer(f"edgebus://{near.address},{far.address}/")
        client = caller.client(topic, transport_options=options)
        assert client.call({}, "who") == "first", f"call {number}"


def test_a_mandatory_call_waits_for_no_dead_endpoint(
    make_peer: MakePeer, make_endpoint: MakeEndpoint, topic: str
) -> None:
    dead, alive = make_endpoint(), make_endpoint()
    dead.kill()
    options = oslo_messaging.TransportOptions(at_least_once=True)
    caller = make_peer(f"edgebus://{dead.address},{alive.address}/", link_timeout=1.0)
    client = caller.client(topic, timeout=3600, transport_options=options)
    with pytest.raises(oslo_messaging.MessageUndeliverable):
        client.call({}, "who")


def test_an_unmonitored_call_times_out_while_the_server_is_at_it(
    make_peer: MakePeer, topic: str, server: Server
) -> None:
    make_peer().serve(topic, "here", server)
    with pytest.raises(oslo_messaging.MessagingTimeout):
        make_peer().client(topic, timeout=1).call({}, "hold")
    server.release.set()


def test_the_heartbeats_of_the_server_keep_a_monitored_call_waiting(
    make_peer: MakePeer, topic: str, server: Server
) -> None:
    make_peer().serve(topic, "here", server)
    client = make_peer().client(topic, timeout=3600, call_monitor_timeout=4)
    with concurrent.futures.ThreadPoolExecutor(1) as callers:
        answer = callers.submit(client.call, {}, "hold")
        server.take(1)
        with pytest.raises(concurrent.futures.TimeoutError):
            answer.result(6)
        server.release.set()
        assert answer.result(WAIT_SECONDS) == "released"


def test_a_monitored_call_gives_up_a_server_that_says_nothing(
    make_peer: MakePeer, topic: str
) -> None:
    client = make_peer().client(topic, timeout=3600, call_monitor_timeout=1)
    with pytest.raises(oslo_messaging.MessagingTimeout) as caught:
        client.call({}, "who")
    assert "within 1." in str(caught.value)


def test_one_slow_call_holds_up_no_other(make_peer: MakePeer, topic: str, server: Server) -> None:
    make_peer().serve(topic, "here", server)
    client = make_peer().client(topic)
    with concurrent.futures.ThreadPoolExecutor(1) as callers:
        slow = callers.submit(client.call, {}, "hold")
        server.take(1)
        assert [client.call({}, "echo", value=n) for n in range(20)] == list(range(20))
        assert not slow.done()
        server.release.set()
        assert slow.result(WAIT_SECONDS) == "released"


def test_the_timeout_says_what_was_called_where_and_how_long(
    make_peer: MakePeer, topic: str
) -> None:
    with pytest.raises(oslo_messaging.MessagingTimeout) as caught:
        make_peer().client(topic, "absent", timeout=0.5).call({}, "who")
    text = str(caught.value)
    assert "who" in text
    assert f"{topic}/absent" in text
    assert re.search(r"within 0\.\d s", text)


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}, {"a": [1, None, "ü"]}])
def test_any_value_is_a_result(
    make_peer: MakePeer, topic: str, server: Server, value: Any
) -> None:
    make_peer().serve(topic, "here", server)
    result = make_peer().client(topic, timeout=10).call({}, "echo", value=value)
    assert result == value
    assert type(result) is type(value)


def test_the_context_and_the_arguments_arrive_as_they_were_sent(
    make_peer: MakePeer, topic: str
) -> None:
    class Contexts:
        def both(self, ctxt: Any, **args: Any) -> Any:
            return [ctxt, args]

    make_peer().serve(topic, "here", Contexts())
    ctxt = {"request_id": "req-1", "roles": ["admin"], "project_id": None}
    args = {"one": 1, "nested": {"nova_object.data": {"uuid": "u"}}, "text": "ä\u0000"}
    assert make_peer().client(topic).call(ctxt, "both", **args) == [ctxt, args]


def test_namespaces_and_versions_are_told_apart(make_peer: MakePeer, topic: str) -> None:
    class Spaced:
        target = oslo_messaging.Target(namespace="compute_task", version="1.5")

        def who(self, ctxt: Any) -> str:
            return "spaced"

    class Plain:
        target = oslo_messaging.Target(version="3.1")

        def who(self, ctxt: Any) -> str:
            return "plain"

    make_peer().serve(topic, "here", Spaced(), Plain())
    caller = make_peer()
    spaced = {"namespace": "compute_task", "version": "1.2"}
    assert caller.client(topic, **spaced).call({}, "who") == "spaced"
    assert caller.client(topic, version="3.0").call({}, "who") == "plain"
    for wrong in ({"namespace": "compute_task", "version": "1.6"}, {"namespace": "other"}):
        with pytest.raises(rpc_client.RemoteError) as caught:
            caller.client(topic, **wrong).call({}, "who")
        assert caught.value.exc_type == "UnsupportedVersion"


def test_a_call_to_a_server_goes_to_that_server(make_peer: MakePeer, topic: str) -> None:
    taker = make_peer()
    names = ["first", "second", "third"]
    for name in names:
        taker.serve(topic, name, Server(name))
    caller = make_peer()
    for name in [*names, *reversed(names)]:
        assert caller.client(topic, name).call({}, "who") == name


def test_calls_to_a_topic_take_strict_turns(make_peer: MakePeer, topic: str) -> None:
    for name in ("first", "second", "third"):
        make_peer().serve(topic, name, Server(name))
    client = make_peer().client(topic)
    answers = [client.call({}, "who") for _ in range(12)]
    assert {answers.count(name) for name in ("first", "second", "third")} == {4}
    assert answers[:3] * 4 == answers


@pytest.mark.parametrize("retry", [0, 1])
def test_a_bounded_retry_without_any_endpoint_is_a_delivery_failure(
    make_peer: MakePeer, make_endpoint: MakeEndpoint, topic: str, retry: int
) -> None:
    endpoint = make_endpoint()
    endpoint.kill()
    client = make_peer(endpoint.url).client(topic, timeout=3600, retry=retry)
    with pytest.raises(oslo_messaging.MessageDeliveryFailure):
        client.call({}, "who")


@pytest.mark.parametrize("retry", [None, -1, 3600])
def test_the_timeout_of_a_call_bounds_its_retries(
    make_peer: MakePeer, make_endpoint: MakeEndpoint, topic: str, retry: int | None
) -> None:
    endpoint = make_endpoint()
    endpoint.kill()
    client = make_peer(endpoint.url).client(topic, timeout=1, retry=retry)
    with pytest.raises(oslo_messaging.MessagingTimeout):
        client.call({}, "who")


def test_a_call_waits_for_an_endpoint_that_comes_in_time(
    make_peer: MakePeer, make_endpoint: MakeEndpoint, topic: str, server: Server
) -> None:
    endpoint = make_endpoint()
    endpoint.kill()
    taker, caller = make_peer(endpoint.url), make_peer(endpoint.url)
    with concurrent.futures.ThreadPoolExecutor(1) as callers:
        answer = callers.submit(caller.client(topic).call, {}, "who")
        time.sleep(0.5)
        endpoint.start()
        taker.serve(topic, "here", server)
        assert answer.result(WAIT_SECONDS) == "first"


def test_a_call_waits_for_a_server_that_comes_in_time(
    make_peer: MakePeer, topic: str, server: Server
) -> None:
    taker, caller = make_peer(), make_peer()
    with concurrent.futures.ThreadPoolExecutor(1) as callers:
        answer = callers.submit(caller.client(topic).call, {}, "who")
        with pytest.raises(concurrent.futures.TimeoutError):
            answer.result(1)
        taker.serve(topic, "here", server)
        assert answer.result(WAIT_SECONDS) == "first"


def test_a_call_that_was_given_up_is_not_dispatched_later(
    make_peer: MakePeer, topic: str, server: Server
) -> None:
    caller = make_peer()
    client = caller.client(topic, timeout=0.5)
    with pytest.raises(oslo_messaging.MessagingTimeout):
        client.call({}, "hold")
    make_peer().serve(topic, "here", server)
    assert caller.client(topic).call({}, "who") == "first"
    assert server.rest() == []


def test_a_call_that_waited_too_long_in_the_server_is_not_dispatched(
    make_peer: MakePeer, topic: str
) -> None:
    target = oslo_messaging.Target(topic=topic, server="slow")
    poller = make_peer().rpc._listen(target, 1, None)._poll_style_listener
    caller = make_peer()
    with pytest.raises(oslo_messaging.MessagingTimeout):
        caller.client(topic, timeout=0.5).call({}, "given_up")
    time.sleep(1)  # the server counts the half second from when it had the call
    with concurrent.futures.ThreadPoolExecutor(1) as callers:
        answer = callers.submit(caller.client(topic).call, {}, "wanted")
        (incoming,) = poller.poll(timeout=WAIT_SECONDS)
        assert incoming.message["method"] == "wanted"
        incoming.acknowledge()
        incoming.reply("at last")
        assert answer.result(WAIT_SECONDS) == "at last"
    poller.stop()
    poller.cleanup()


def test_the_ping_of_oslo_messaging_is_answered(
    make_peer: MakePeer, topic: str, server: Server
) -> None:
    taker = make_peer()
    cfg.CONF.register_opts(rpc_dispatcher._dispatcher_opts)
    cfg.CONF.set_override("rpc_ping_enabled", True)  # a server reads no other when it is made
    try:
        taker.serve(topic, "here", server)
    finally:
        cfg.CONF.clear_override("rpc_ping_enabled")
    assert make_peer().client(topic, "here").call({}, "oslo_rpc_server_ping") == "pong"


def test_an_address_that_is_used_no_more_is_forgotten(
    make_peer: MakePeer, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every address ever sent to would else be looked up again with each new link."""
    monkeypatch.setattr(bus_module, "FORGET_TICK", 0.2)
    make_peer().serve(topic, "first", Recorder("first"))
    caller = make_peer()
    assert caller.client(topic).call({}, "who") == "first"
    interest = caller.rpc._driver._use()._bus.interest
    wait_until(lambda: not interest, WAIT_SECONDS, "the interest to end")
    assert caller.client(topic, "first").call({}, "who") == "first"
    assert caller.client(topic).call({}, "who") == "first"
