# SPDX-License-Identifier: Apache-2.0
"""What a page is: a function that is given a request and gives a response."""

import collections.abc
import email.message
import http
import json
import typing

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
HTML = "text/html; charset=utf-8"


class Request(typing.NamedTuple):
    """A GET, without a body; ``query`` as :func:`urllib.parse.parse_qs` gives it."""

    path: str
    query: collections.abc.Mapping[str, list[str]]
    headers: email.message.Message


class Response(typing.NamedTuple):
    """What is sent back, whole."""

    body: bytes
    content_type: str = TEXT
    status: int = http.HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()


Page = collections.abc.Callable[[Request], Response]
"""Called in the server's threads, by several at a time: it may wait, but not for ever, and must
neither wait for the I/O thread nor change anything. What it raises is logged, and is a 500."""


def text(said: str, status: int = http.HTTPStatus.OK) -> Response:
    """A response of plain text."""
    return Response(f"{said}\n".encode(), TEXT, status)


def as_json(value: object, status: int = http.HTTPStatus.OK) -> Response:
    """A response with *value* as JSON."""
    return Response(f"{json.dumps(value)}\n".encode(), JSON, status)
