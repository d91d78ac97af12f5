# SPDX-License-Identifier: Apache-2.0
"""Which documents are version discovery, and where their links lead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nova_edge_bus.rest_guard import discovery


def version(href: str = "http://ctl:8774/v2.1/") -> dict[str, Any]:
    return {"id": "v2.1", "status": "CURRENT", "links": [{"rel": "self", "href": href}]}


def hrefs(document: discovery.Document) -> list[str]:
    return [link["href"] for link in discovery.links(document)]


@pytest.mark.parametrize(
    ("target", "base", "key"),
    [
        ("/", "", "/"),
        ("", "", "/"),
        ("/v3", "", "/v3"),
        ("/v3/", "", "/v3"),
        ("/v2.1/", "", "/v2.1"),
        ("/placement", "/placement", "/placement"),
        ("/placement/", "/placement", "/placement"),
        ("/", "/placement", "/"),
        ("/volume", "/volume/v3/p", "/volume"),
        ("/volume/v3", "/volume", "/volume/v3"),
        ("/v3?x=1", "", None),
        ("/placement/traits", "/placement", None),
        ("/servers", "", None),
        ("/place", "/placement", None),
        ("/version", "", None),
        ("/v3/auth/tokens", "", None),
    ],
)
def test_documents_are_expected_at_the_base_above_it_and_at_versions(
    target: str, base: str, key: str | None
) -> None:
    assert discovery.key(target, base) == key


@pytest.mark.parametrize(
    "document",
    [
        {"versions": [version()]},
        {"versions": {"values": [version(), version()]}},
        {"version": version()},
        {"versions": [version("")]},
    ],
)
def test_the_forms_that_keystoneauth_takes_are_documents(document: object) -> None:
    assert discovery.parse(json.dumps(document).encode()) == document


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'"versions"',
        b"{}",
        b'{"versions": []}',
        b'{"versions": 3}',
        b'{"versions": [3]}',
        b'{"versions": {"values": 3}}',
        b'{"versions": [{"id": "v1"}]}',
        b'{"version": {"id": 1, "links": []}}',
        b'{"version": "1.0"}',
        b'{"servers": [{"id": "v1", "links": []}]}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_anything_else_is_none(body: bytes) -> None:
    assert discovery.parse(body) is None


def test_links_to_the_upstream_are_kept_without_its_host() -> None:
    kept = discovery.detach({"version": version("https://CTL:8774/v2.1/?a=b")}, ["ctl:8774"])
    assert hrefs(kept) == ["/v2.1/?a=b"]
    assert hrefs(discovery.attach(kept, "http://127.0.0.1:1")) == ["http://127.0.0.1:1/v2.1/?a=b"]


@pytest.mark.parametrize(
    "href", ["http://public.example/v2.1/", "", "v2.1/", "http://[", "mailto:x"]
)
def test_other_links_stay_as_they_are(href: str) -> None:
    kept = discovery.detach({"version": version(href)}, ["ctl:8774"])
    assert hrefs(kept) == [href]
    assert hrefs(discovery.attach(kept, "http://127.0.0.1:1")) == [href]


@pytest.mark.parametrize(
    ("href", "netloc"),
    [
        ("http://ctl/v3/", "ctl:80"),
        ("https://ctl:443/v3/", "ctl"),
        ("http://ctl/v3/", "ctl"),
    ],
)
def test_a_default_port_is_the_same_named_or_not(href: str, netloc: str) -> None:
    assert discovery.relative(href, [netloc]) == "/v3/"


def test_another_port_is_another_host() -> None:
    assert discovery.relative("http://ctl:9696/v2.0/", ["ctl:8774"]) == "http://ctl:9696/v2.0/"


def test_the_document_given_is_not_changed() -> None:
    document = {"version": version()}
    discovery.detach(document, ["ctl:8774"])
    assert hrefs(document) == ["http://ctl:8774/v2.1/"]


def test_odd_links_do_no_harm() -> None:
    odd = {"id": "v1", "links": [None, {}, {"href": 3}, {"href": "/v1/"}]}
    assert hrefs(discovery.attach({"versions": [odd]}, "http://me")) == ["http://me/v1/"]
