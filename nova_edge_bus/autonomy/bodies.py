# SPDX-License-Identifier: Apache-2.0
"""The JSON of requests and replies, as far as a process has to understand it to answer itself."""

import dataclasses
import json
from typing import Any

from nova_edge_bus.protocol import messages
from nova_edge_bus.snapshot import outcomes


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """The request context and the RPC message of a body.

    ``note`` is there when the request was answered by its own side: what that side knew, for the
    one who applies it later; see :func:`noted`.
    """

    context: dict[str, Any]
    message: dict[str, Any]
    note: dict[str, Any] | None = None


def request(body: bytes) -> Request:
    """Take a body apart.

    :raises ValueError: when it is not the JSON of a context and a message
    """
    parts = json.loads(body)
    if not isinstance(parts, list) or len(parts) not in (2, 3):
        raise ValueError("the body is not a pair of a context and a message")
    if not all(isinstance(part, dict) for part in parts):
        raise ValueError("the context, the message or the note is not an object")
    return Request(*parts)


def pack(parts: Request) -> bytes:
    """Put a body together."""
    whole = [parts.context, parts.message]
    if parts.note is not None:
        whole.append(parts.note)
    return json.dumps(whole).encode()


def noted(body: bytes, note: dict[str, Any]) -> bytes:
    """Add a note to a body that has none, without taking it apart."""
    return body.rstrip()[:-1] + b", " + json.dumps(note).encode() + b"]"


def is_noted(body: bytes) -> bool:
    """Whether a body has a note, found out from its end alone where that can be.

    What stands behind the last "}, {" and is an object by itself is the last part of the body:
    the note, or the message, which has arguments.

    :returns: False as well for what is no body
    """
    begin = body.rfind(b"}, {")
    if begin < 0:
        return False
    try:
        last = json.loads(body[begin + 3 :].rstrip()[:-1])
    except ValueError:
        return _is_noted_within(body)
    return isinstance(last, dict) and "args" not in last


def _is_noted_within(body: bytes) -> bool:
    try:
        return request(body).note is not None
    except ValueError:
        return False


def reply(outcome: outcomes.Answer | outcomes.Failure) -> tuple[int, bytes]:
    """The status and the body of the reply that the centre would have sent.

    A failure has the form of oslo.messaging's remote exceptions, from which the caller's side
    builds the exception anew.
    """
    if isinstance(outcome, outcomes.Answer):
        return messages.Status.OK, json.dumps(outcome.reply).encode()
    failure = {
        "class": outcome.class_name,
        "module": outcome.module,
        "message": f"{outcome.class_name}, as far as is known while the centre is out of reach",
        "tb": [],
        "args": [],
        "kwargs": outcome.kwargs,
    }
    return messages.Status.FAILURE, json.dumps(failure).encode()
