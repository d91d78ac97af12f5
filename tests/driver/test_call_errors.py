# SPDX-License-Identifier: Apache-2.0
"""Calls that fail: exceptions, and what does not fit on the bus."""

from __future__ import annotations

import sqlite3
import threading
from typing import Any

import oslo_messaging
import pytest
from oslo_messaging.rpc import client as rpc_client

from tests.driver.conftest import MakePeer
from tests.driver.peers import Recorder


class RefusedHere(Exception):
    """Raised by servers; rebuilt only by callers that allow this module."""

    def __init__(self, text: str = "", **details: object) -> None:
        super().__init__(text)
        self.kwargs = details


class Server(Recorder):
    """Fails in every way that calls can ask for."""

    def refuse(self, ctxt: Any, text: str) -> None:
        raise RefusedHere(text, uuid="42")

    def fail(self, ctxt: Any, text: str) -> None:
        raise ValueError(text)

    def database_error(self, ctxt: Any) -> None:
        raise sqlite3.OperationalError("no such table")

    @oslo_messaging.expected_exceptions(RefusedHere)
    def refuse_as_expected(self, ctxt: Any) -> None:
        raise RefusedHere("expected")

    def give(self, ctxt: Any, size: int) -> str:
        return "x" * size

    def raise_large(self, ctxt: Any, size: int) -> None:
        raise ValueError("x" * size)

    def give_hostile(self, ctxt: Any) -> Any:
        class Hostile:
            def __iter__(self) -> Any:
                raise LookupError("not to be looked at")

        return Hostile()

    def give_unserialisable(self, ctxt: Any) -> Any:
        return {"a": threading.Lock()}

    def raise_unserialisable(self, ctxt: Any) -> None:
        raise ValueError(threading.Lock())


@pytest.fixture
def server() -> Server:
    return Server("first")


def test_exceptions_of_allowed_modules_are_rebuilt(
    make_peer: MakePeer, topic: str, server: Server
) -> None:
    make_peer().serve(topic, "here", server)
    client = make_peer(exmods=[__name__]).client(topic)
    with pytest.raises(RefusedHere) as caught:
        client.call({}, "refuse", text="not so")
    assert type(caught.value).__name__ == "RefusedHere_Remote"
    assert type(caught.value).__module__ == f"{__name__}_Remote"
    assert caught.value.kwargs == {"uuid": "42"}
    assert "not so" in str(caught.value)
    assert "Traceback" in str(caught.value)
    with pytest.raises(RefusedHere):
        client.call({}, "refuse_as_expected")


def test_other_exceptions_are_remote_errors(
    make_peer: MakePeer, topic: str, server: Server
) -> None:
    make_peer().serve(topic, "here", server)
    client = make_peer().client(topic)
    with pytest.raises(rpc_client.RemoteError) as caught:
        client.call({}, "refuse", text="not so")
    assert not isinstance(caught.value, RefusedHere)
    assert caught.value.exc_type == "RefusedHere"
    assert caught.value.value == "not so"
    with pytest.raises(rpc_client.RemoteError) as caught:
        client.call({}, "database_error")
    assert caught.value.exc_type == "OperationalError"


def test_builtin_exceptions_come_back_as_such(
    make_peer: MakePeer, topic: str, server: Server
) -> None:
    make_peer().serve(topic, "here", server)
    with pytest.raises(ValueError, match="no good"):
        make_peer().client(topic).call({}, "fail", text="no good")


def test_a_message_beyond_the_limit_is_refused_and_harms_nothing(
    make_peer: MakePeer, topic: str, server: Server
) -> None:
    make_peer().serve(topic, "here", server)
    client = make_peer().client(topic)
    for send in (client.call, client.cast):
        with pytest.raises(oslo_messaging.MessageDeliveryFailure) as caught:
            send({}, "echo", value="x" * (16 << 20))
        assert "echo" in str(caught.value)
        assert str(15 << 20) in str(caught.value)
    assert client.call({}, "echo", value="after") == "after"


def test_a_message_just_below_the_limit_passes(
    make_peer: MakePeer, topic: str, server: Server
) -> None:
    make_peer().serve(topic, "here", server)
    client = make_peer().client(topic)
    large = "x" * ((15 << 20) - 1000)
    assert client.call({}, "echo", value=large) == large


@pytest.mark.parametrize("method", ["give", "raise_large"])
def test_a_reply_beyond_the_limit_says_so_to_the_caller(
    make_peer: MakePeer, topic: str, server: Server, method: str
) -> None:
    make_peer().serve(topic, "here", server)
    client = make_peer().client(topic)
    with pytest.raises(ValueError, match=f"carries {15 << 20}"):
        client.call({}, method, size=16 << 20)
    assert client.call({}, "who") == "first"


@pytest.mark.parametrize("method", ["give_unserialisable", "raise_unserialisable", "give_hostile"])
def test_a_reply_that_cannot_be_packed_says_so_to_the_caller(
    make_peer: MakePeer, topic: str, server: Server, method: str
) -> None:
    make_peer().serve(topic, "here", server)
    client = make_peer().client(topic)
    with pytest.raises((TypeError, ValueError, LookupError)):
        client.call({}, method)
    assert client.call({}, "who") == "first"


def test_a_call_with_an_unserialisable_argument_fails_in_the_caller(
    make_peer: MakePeer, topic: str, server: Server
) -> None:
    make_peer().serve(topic, "here", server)
    client = make_peer().client(topic)
    with pytest.raises((TypeError, ValueError)):
        client.call({}, "echo", value=threading.Lock())
    assert client.call({}, "who") == "first"


@pytest.mark.parametrize("send", ["call", "cast"])
@pytest.mark.parametrize(
    "uuid",
    [
        pytest.param("x" * 5000, id="long"),
        pytest.param("\ud800", id="not-unicode"),
        pytest.param("\0", id="zero"),
        pytest.param(["a", {"b": None}], id="list"),
        pytest.param(7, id="number"),
    ],
)
def test_whatever_stands_for_an_instance_harms_nothing(
    make_peer: MakePeer, topic: str, server: Server, send: str, uuid: Any
) -> None:
    make_peer().serve(topic, "here", server, threads=1)
    client = make_peer().client(topic)
    try:
        getattr(client, send)({}, "put", value=1, instance_uuid=uuid)
    except ValueError:
        assert uuid == "\ud800"
    else:
        assert server.take(1) == [1]
    assert client.call({}, "echo", value=1) == 1
    client.cast({}, "put", value=2, instance_uuid="one")
    assert server.take(1) == [2]


def test_an_address_that_does_not_fit_is_refused(make_peer: MakePeer, server: Server) -> None:
    peer = make_peer()
    client = peer.client("x" * 5000)
    for send in (client.call, client.cast):
        with pytest.raises(oslo_messaging.InvalidTarget, match="characters"):
            send({}, "who")
    with pytest.raises(oslo_messaging.InvalidTarget, match="characters"):
        peer.serve("topic", "x" * 5000, server)
