# SPDX-License-Identifier: Apache-2.0
"""Which header fields pass through a gateway, and which it adds (RFC 9110, section 7.6)."""

import collections.abc

import multidict

VIA = "nova-edge-bus"

_Fields = multidict.CIMultiDictProxy[str]

_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


def for_upstream(
    received: _Fields, *, http: str, client: str | None
) -> multidict.CIMultiDict[str]:
    """The fields to send on with a request; Host and Expect are the HTTP client's to write.

    :param http: the version of the received request, as in ``1.1``
    :param client: the IP address that it came from
    """
    fields = _end_to_end(received, drop=("host", "expect"))
    fields.add("Via", f"{http} {VIA}")
    if client:
        fields["X-Forwarded-For"] = ", ".join((*fields.popall("X-Forwarded-For", ()), client))
    fields.setdefault("X-Forwarded-Proto", "http")
    if "Host" in received:
        fields.setdefault("X-Forwarded-Host", received["Host"])
    return fields


def for_client(received: _Fields) -> multidict.CIMultiDict[str]:
    """The fields to send on with an answer."""
    return _end_to_end(received)


def _end_to_end(
    received: _Fields, drop: collections.abc.Iterable[str] = ()
) -> multidict.CIMultiDict[str]:
    named = ",".join(received.getall("Connection", ())).split(",")
    dropped = _HOP_BY_HOP.union(drop, (name.strip().lower() for name in named))
    if "Transfer-Encoding" in received:
        dropped |= {"content-length"}
    return multidict.CIMultiDict(
        (name, value) for name, value in received.items() if name.lower() not in dropped
    )
