# SPDX-License-Identifier: Apache-2.0
"""What a gateway drops, adds and leaves alone."""

from __future__ import annotations

import multidict

from nova_edge_bus.rest_guard import headers


def fields(*pairs: tuple[str, str]) -> multidict.CIMultiDictProxy[str]:
    return multidict.CIMultiDictProxy(multidict.CIMultiDict(pairs))


def test_hop_by_hop_fields_go_and_those_that_connection_names() -> None:
    received = fields(
        ("Connection", "close, X-One"),
        ("Connection", "x-two"),
        ("X-One", "1"),
        ("X-Two", "2"),
        ("X-Three", "3"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Trailer", "X-After"),
        ("Upgrade", "h2c"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "secret"),
    )
    assert list(headers.for_client(received).items()) == [("X-Three", "3")]


def test_a_chunked_body_has_no_length() -> None:
    received = fields(("Transfer-Encoding", "chunked"), ("Content-Length", "5"))
    assert not headers.for_client(received)
    assert headers.for_client(fields(("Content-Length", "5"))) == {"Content-Length": "5"}


def test_repeated_fields_stay_repeated() -> None:
    received = fields(("Set-Cookie", "a"), ("Set-Cookie", "b"))
    assert headers.for_client(received).getall("Set-Cookie") == ["a", "b"]


def test_the_upstream_learns_whom_it_answers() -> None:
    received = fields(("Host", "127.0.0.1:8778"), ("Expect", "100-continue"), ("Via", "1.0 other"))
    sent = headers.for_upstream(received, http="1.1", client="127.0.0.1")
    assert sorted(sent.items()) == [
        ("Via", "1.0 other"),
        ("Via", "1.1 nova-edge-bus"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Host", "127.0.0.1:8778"),
        ("X-Forwarded-Proto", "http"),
    ]


def test_an_earlier_proxy_is_not_overruled() -> None:
    received = fields(
        ("Host", "me"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "first"),
    )
    sent = headers.for_upstream(received, http="1.1", client="127.0.0.1")
    assert sent["X-Forwarded-For"] == "10.0.0.1, 127.0.0.1"
    assert (sent["X-Forwarded-Proto"], sent["X-Forwarded-Host"]) == ("https", "first")
