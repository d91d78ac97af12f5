# SPDX-License-Identifier: Apache-2.0
"""An address is one text, from which all of its parts come back."""

import pytest

from nova_edge_bus import addressing

PARTS = [
    ("", "nova", "conductor", ""),
    ("", "nova", "compute", "edge-7.example.org"),
    ("site/1", "nova", "compute", "a b#%2F/ü"),
    ("/", "no/va", "compute", ""),
]


@pytest.mark.parametrize("parts", PARTS)
def test_the_text_holds_every_part(parts: tuple[str, str, str, str]) -> None:
    address = addressing.Address(*parts)
    assert addressing.Address.parse(address.text) == address
    assert addressing.is_server_directed(address.text) == bool(parts[3])


def test_no_two_addresses_have_the_same_text() -> None:
    texts = {addressing.Address(*parts).text for parts in [*PARTS, ("site", "1/nova", "x", "")]}
    assert len(texts) == len(PARTS) + 1


def test_a_wrong_number_of_parts_is_no_address() -> None:
    for text in ("nova/conductor", "a/b/c/d/e"):
        with pytest.raises(ValueError, match="parts"):
            addressing.Address.parse(text)
