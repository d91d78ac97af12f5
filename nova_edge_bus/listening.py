# SPDX-License-Identifier: Apache-2.0
"""Addresses of this host to listen on, as operators write them: loopback unless one is named."""

import errno
import ipaddress
import typing

LOOPBACK = "127.0.0.1"

_HINTS = {
    errno.EADDRINUSE: "the address is in use; see 'ss -ltnp' for by whom",
    errno.EADDRNOTAVAIL: "this host has no such address; see 'ip address'",
    errno.ENODEV: "this host has no such address; see 'ip address'",
    errno.EACCES: "permission denied; choose a port above 1023",
}


class Address(typing.NamedTuple):
    """An IP address of this host and a port; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse(text: str) -> Address:
    """Read ``ADDRESS:PORT``, ``:PORT`` or ``PORT``; without ADDRESS it is 127.0.0.1.

    :raises ValueError: when *text* is something else
    """
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"expected ADDRESS:PORT, not {text!r}")
    if bare in ("", "localhost"):
        return Address(LOOPBACK, int(port))
    try:
        version = ipaddress.ip_address(bare).version
    except ValueError:
        raise ValueError(f"{bare!r} in {text!r} is not an IP address of this host") from None
    if (version == 6) != (bare != host):
        raise ValueError(f"write an IPv6 address, and nothing else, in []: {text!r}")
    return Address(bare, int(port))


def hint(number: int, otherwise: str) -> str:
    """What to do about a bind that failed with the system's error *number*."""
    return _HINTS.get(number, otherwise)
