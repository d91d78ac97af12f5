# SPDX-License-Identifier: Apache-2.0
"""Where the guard may listen, and services to forward to, as operators write them."""

from __future__ import annotations

import pytest

from nova_edge_bus import listening
from nova_edge_bus.rest_guard import addresses
from nova_edge_bus.rest_guard import errors


@pytest.mark.parametrize(
    ("text", "upstream"),
    [
        ("http://ctl:8778", ("ctl:8778", "http://ctl:8778", "")),
        ("https://ctl/placement/", ("ctl/placement", "https://ctl", "/placement")),
        ("neutron=https://[::1]:9696", ("neutron", "https://[::1]:9696", "")),
        ("http://ctl/a=b", ("ctl/a=b", "http://ctl", "/a=b")),
    ],
)
def test_an_upstream_is_an_origin_and_a_path(text: str, upstream: tuple[str, str, str]) -> None:
    parsed = addresses.parse_upstream(text)
    assert (parsed.name, parsed.origin, parsed.path) == upstream


@pytest.mark.parametrize(
    "text",
    ["", "ctl:8778", "ftp://ctl", "http://", "http://u:p@ctl", "http://ctl/?x", "http://ctl:x/"],
)
def test_other_upstreams_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        addresses.parse_upstream(text)


@pytest.mark.parametrize("text", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"])
def test_what_the_network_can_reach_must_be_allowed(text: str) -> None:
    listen = listening.parse(text)
    with pytest.raises(errors.RestGuardError, match="--allow-insecure"):
        addresses.check_safe(listen, allow_insecure=False)
    addresses.check_safe(listen, allow_insecure=True)


@pytest.mark.parametrize("text", ["127.0.0.1:1", "127.1.2.3:1", "[::1]:1"])
def test_loopback_is_safe(text: str) -> None:
    addresses.check_safe(listening.parse(text), allow_insecure=False)
