# SPDX-License-Identifier: Apache-2.0
"""RPC servers that stop, restart and move while messages come in."""

from __future__ import annotations

import concurrent.futures
import itertools
import threading
from typing import Any

from tests.driver.conftest import MakePeer
from tests.driver.peers import WAIT_SECONDS
from tests.driver.peers import Recorder
from tests.driver.peers import await_drained
from tests.driver.peers import instance
from tests.nova.processes import wait_until


class Gated(Recorder):
    """Works on nothing before the test says so."""

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self.gate = threading.Event()

    def put(self, ctxt: dict[str, Any], value: Any, **others: Any) -> None:
        self.gate.wait(WAIT_SECONDS)
        super().put(ctxt, value)

    def who(self, ctxt: dict[str, Any]) -> str:
        self.queue.put("called")
        self.gate.wait(WAIT_SECONDS)
        return super().who(ctxt)


def test_a_server_that_stops_finishes_its_casts_and_gets_no_more(
    make_peer: MakePeer, topic: str
) -> None:
    taker, sender = make_peer(), make_peer()
    stopping, staying = Gated(), Gated()
    stopped = taker.serve(topic, "stopping", stopping, threads=1)
    taker.serve(topic, "staying", staying, threads=1)
    client = sender.client(topic)
    for value in range(10):
        client.cast({}, "put", value=value)
    await_drained(sender)
    stopped.stop()
    for value in range(10, 15):
        client.cast({}, "put", value=value)
    stopping.gate.set()
    staying.gate.set()
    stopped.wait()
    first, second = stopping.take(5), staying.take(10)
    assert sorted(first + second) == list(range(15))
    assert max(first) < 10
    assert stopping.rest() == []


def test_a_server_that_stops_answers_its_calls(make_peer: MakePeer, topic: str) -> None:
    taker, caller = make_peer(), make_peer()
    stopping, staying = Gated("stopping"), Gated("staying")
    staying.gate.set()
    stopped = taker.serve(topic, "stopping", stopping)
    taker.serve(topic, "staying", staying)
    client = caller.client(topic)
    with concurrent.futures.ThreadPoolExecutor(10) as callers:
        calls = [callers.submit(client.call, {}, "who") for _ in range(10)]
        stopping.take(5)
        stopped.stop()
        assert {client.call({}, "who") for _ in range(4)} == {"staying"}
        stopping.gate.set()
        stopped.wait()
        answers = sorted(call.result(WAIT_SECONDS) for call in calls)
    assert answers == ["staying"] * 5 + ["stopping"] * 5


def test_a_server_that_stops_in_one_process_is_replaced_by_another_one(
    make_peer: MakePeer, topic: str
) -> None:
    first, second = Recorder("first"), Recorder("second")
    taker, other, sender = make_peer(), make_peer(), make_peer()
    server = taker.serve(topic, "same", first, threads=1)
    client = sender.client(topic, "same")
    client.cast({}, "put", value=1)
    assert first.take(1) == [1]
    server.stop()
    server.wait()
    client.cast({}, "put", value=2)
    other.serve(topic, "same", second, threads=1)
    assert second.take(1) == [2]
    assert client.call({}, "who") == "second"
    assert first.rest() == []


def test_a_server_that_restarts_in_the_same_process_goes_on(
    make_peer: MakePeer, topic: str
) -> None:
    recorder = Recorder()
    taker, sender = make_peer(), make_peer()
    server = taker.serve(topic, "same", recorder, threads=1)
    client = sender.client(topic)
    for value in range(6):
        client.cast({}, "put", value=value, instance=instance("one"))
        if value % 2 == 0:
            server.stop()
            server.wait()
        else:
            server.start(override_pool_size=1)
    assert recorder.take(6) == list(range(6))


def test_nothing_is_lost_where_a_server_stops_and_starts_under_load(
    make_peer: MakePeer, topic: str
) -> None:
    recorder, over = Recorder(), threading.Event()
    taker, sender = make_peer(), make_peer()
    server = taker.serve(topic, "same", recorder)
    client = sender.client(topic)

    def send() -> int:
        for value in itertools.count():
            if over.is_set():
                return value
            client.cast({}, "put", value=value)
        raise AssertionError

    with concurrent.futures.ThreadPoolExecutor(1) as senders:
        sending = senders.submit(send)
        for _ in range(20):
            server.stop()
            server.wait()
            server.start()
            taken = recorder.queue.qsize()
            wait_until(
                lambda taken=taken: recorder.queue.qsize() > taken + 10, WAIT_SECONDS, "casts"
            )
        over.set()
        sent = sending.result(WAIT_SECONDS)
    found = recorder.take(sent)
    assert sorted(found) == list(range(sent))
    await_drained(sender)
    assert recorder.rest() == []
