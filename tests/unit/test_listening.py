# SPDX-License-Identifier: Apache-2.0
"""Addresses to listen on, as operators write them."""

from __future__ import annotations

import pytest

from nova_edge_bus import listening


@pytest.mark.parametrize("text", ["127.0.0.1:8778", "[::1]:0", "0.0.0.0:65535"])
def test_addresses_are_written_as_they_are_read(text: str) -> None:
    assert str(listening.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9570", ("127.0.0.1", 9570)),
        (":9570", ("127.0.0.1", 9570)),
        ("localhost:0", ("127.0.0.1", 0)),
        ("0.0.0.0:9570", ("0.0.0.0", 9570)),
        ("[::]:9570", ("::", 9570)),
    ],
)
def test_an_address_is_loopback_unless_it_is_written_out(
    text: str, address: tuple[str, int]
) -> None:
    assert listening.parse(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "nova:9570", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:-1", "::1:9570"),
        *("[127.0.0.1]:80", "tcp://*:1"),
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|not an IP|IPv6"):
        listening.parse(text)
