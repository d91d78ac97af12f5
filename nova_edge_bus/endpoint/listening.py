# SPDX-License-Identifier: Apache-2.0
"""Addresses to listen on: which are possible, which are safe, and what went wrong."""

import errno
import ipaddress

from nova_edge_bus import errors
from nova_edge_bus import listening


class EndpointError(errors.EdgeBusError):
    """An endpoint cannot listen as it was told to."""


class AddressInUse(EndpointError):
    """Another process listens there; it may be worth trying again later."""


def split(address: str) -> tuple[str, int]:
    """Take ``tcp://HOST:PORT`` apart; HOST is an IP address, ``localhost`` or ``*``.

    :raises EndpointError: when *address* is something else
    """
    scheme, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if scheme != "tcp" or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise EndpointError(f"cannot listen on {address!r}: expected tcp://ADDRESS:PORT")
    if bare not in ("localhost", "*"):
        try:
            version = ipaddress.ip_address(bare).version
        except ValueError:
            raise EndpointError(
                f"cannot listen on {address!r}: {bare!r} is not an IP address of this host, "
                "nor 'localhost', nor '*'"
            ) from None
        if (version == 6) != (bare != host):
            raise EndpointError(
                f"cannot listen on {address!r}: write an IPv6 address, and nothing else, in []"
            )
    return bare, int(port)


def check_safe(address: str, *, secret: str, allow_insecure: bool) -> None:
    """Refuse an address that the network can reach, because nothing on it would be encrypted.

    :param secret: the file that the endpoint's key would be in
    :raises EndpointError: when *address* is not loopback and *allow_insecure* is not set
    """
    host, _ = split(address)
    loopback = host == "localhost" or (host != "*" and ipaddress.ip_address(host).is_loopback)
    if not loopback and not allow_insecure:
        raise EndpointError(
            f"will not listen on {address}: it is not loopback, and there is no key {secret} to "
            "encrypt and authenticate with; make it with 'nova-edge-bus keys new endpoint', or "
            "do without on a network you trust with --allow-insecure ([edge_bus] allow_insecure)"
        )


def bind_error(address: str, number: int, text: str) -> EndpointError:
    """The error for a bind that failed with the system's error *number*."""
    kind = AddressInUse if number == errno.EADDRINUSE else EndpointError
    return kind(f"cannot listen on {address}: {listening.hint(number, text)}")
