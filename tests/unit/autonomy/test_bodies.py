# SPDX-License-Identifier: Apache-2.0
"""Bodies are read as the driver writes them, and replies are what the driver reads."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies
from nova import exception
from oslo_messaging import RemoteError

from nova_edge_bus.autonomy import bodies
from nova_edge_bus.driver import body as driver_body
from nova_edge_bus.protocol import messages
from nova_edge_bus.snapshot.outcomes import Answer
from nova_edge_bus.snapshot.outcomes import Failure

FAILURE = Failure(
    "nova.exception",
    "UnexpectedTaskStateError",
    {"instance_uuid": "one", "expected": {"task_state": [None]}, "actual": {"task_state": "x"}},
)


def test_a_body_of_the_driver_is_taken_apart_and_put_together() -> None:
    context, message = {"user": "ü", "roles": []}, {"method": "ping", "args": {"n": None}}
    request = bodies.request(driver_body.pack(context, message))
    assert (request.context, request.message) == (context, message)
    assert driver_body.unpack(bodies.pack(request)) == (context, message, None)


def test_a_note_travels_with_the_body() -> None:
    request = bodies.Request({}, {"method": "ping"}, {"instance_host": "edge-1"})
    assert bodies.request(bodies.pack(request)) == request
    assert driver_body.unpack(bodies.pack(request))[2] == request.note
    plain = driver_body.pack(request.context, request.message)
    assert bodies.request(bodies.noted(plain, {"instance_host": "edge-1"})) == request


_TEXTS = strategies.sampled_from(["}, {", '"}, {"args": 1}]', "\\", '\\"}, {', "args", "", "ü"])
_VALUES = strategies.recursive(
    _TEXTS | strategies.none() | strategies.integers(),
    lambda inner: (
        strategies.lists(inner, max_size=3) | strategies.dictionaries(_TEXTS, inner, max_size=3)
    ),
)
_OBJECTS = strategies.dictionaries(_TEXTS, _VALUES, max_size=3)


@hypothesis.given(_OBJECTS, _OBJECTS, _OBJECTS)
def test_a_note_is_found_at_the_end_whatever_stands_before_it(
    context: dict[str, object], arguments: dict[str, object], base: dict[str, object]
) -> None:
    plain = driver_body.pack(context, {"method": "save", "args": arguments, "version": "3.0"})
    assert not bodies.is_noted(plain)
    for note in ({}, {"instance_host": "}, {"}, {"base": base}, {"base": [base, base]}):
        assert bodies.is_noted(bodies.noted(plain, note))


@pytest.mark.parametrize("body", [b"", b"not JSON", b"}, {", b"[{}, {broken}]"])
def test_what_is_no_body_has_no_note(body: bytes) -> None:
    assert not bodies.is_noted(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"null",
        b"{}",
        b"[]",
        b"[{}]",
        b"[{}, {}, {}, {}]",
        b"[{}, []]",
        b'["", {}]',
    ],
)
def test_what_is_no_body_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        bodies.request(body)


@pytest.mark.parametrize("reply", [None, [], {"nova_object.name": "Instance"}, "text", 3])
def test_an_answer_is_a_reply(reply: object) -> None:
    status, body = bodies.reply(Answer(reply))
    assert status == messages.Status.OK
    assert driver_body.unpack_reply(body) == reply


def test_a_failure_becomes_novas_exception_with_its_arguments() -> None:
    status, body = bodies.reply(FAILURE)
    assert status == messages.Status.FAILURE
    error = driver_body.unpack_failure(body, ["nova.exception"])
    assert isinstance(error, exception.UnexpectedTaskStateError)
    assert error.kwargs == {**FAILURE.kwargs, "code": error.code}
    assert error.kwargs["actual"] == {"task_state": "x"}


def test_a_failure_is_a_remote_error_where_its_module_is_not_allowed() -> None:
    _, body = bodies.reply(FAILURE)
    error = driver_body.unpack_failure(body, [])
    assert isinstance(error, RemoteError)
    assert error.exc_type == "UnexpectedTaskStateError"
