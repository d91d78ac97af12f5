# SPDX-License-Identifier: Apache-2.0
"""Addresses that the metrics are served at: loopback unless another one is written out."""

import errno
import ipaddress
import typing

from nova_edge_bus import errors

LOOPBACK = "127.0.0.1"


class MonitoringError(errors.EdgeBusError):
    """Metrics and health cannot be served as they were to be."""


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


def bind_error(address: Address, error: OSError) -> MonitoringError:
    """The error for a bind that failed."""
    hints = {
        errno.EADDRINUSE: "the address is in use; see 'ss -ltnp' for by whom",
        errno.EADDRNOTAVAIL: "this host has no such address; see 'ip address'",
        errno.EACCES: "permission denied; choose a port above 1023",
    }
    hint = hints.get(error.errno or 0, error.strerror or str(error))
    return MonitoringError(f"cannot serve metrics at {address}: {hint}")
