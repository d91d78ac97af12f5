# SPDX-License-Identifier: Apache-2.0
"""What one driver object was told, as plain values that the layers below can use."""

import dataclasses
import ipaddress

from nova_edge_bus import errors
from nova_edge_bus.contracts.terms import Contract

DEFAULT_PORT = 5570


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options of :mod:`nova_edge_bus.opts` with the URL applied, and who this process is.

    ``endpoints`` are ZeroMQ addresses (``tcp://HOST:PORT``) in the order of the URL.
    ``contracts`` are an operator's in place of the published ones, by the name of the row.
    """

    endpoints: tuple[str, ...]
    vhost: str
    host: str
    service: str
    journal_dir: str
    journal_max_bytes: int
    journal_retention: int
    link_timeout: float
    autonomy: str
    snapshot_max_bytes: int
    refuse_after: float
    write_behind: bool
    consumer_grace: float
    notification_ttl: int
    compression: str
    linger: float
    adoption_interval: float
    listen: str
    allow_insecure: bool
    contracts: tuple[tuple[str, Contract], ...] = ()
    backlog_at_once: int = 2
    metrics_listen: str = ""
    curve_dir: str = "/etc/nova/edge-bus"
    curve_key_file: str = "peer.key"
    curve_server_keys: tuple[str, ...] = ()

    def compresses(self, endpoint: str) -> bool:
        """Whether what goes to *endpoint*, and comes from it, is compressed."""
        if self.compression == "auto":
            return not is_loopback(hostname_of(endpoint))
        return self.compression == "zstd"

    @property
    def is_autonomous(self) -> bool:
        """Whether this process goes on by itself while its centre cannot be reached."""
        if self.autonomy == "auto":
            return self.service == "nova-compute"
        return self.autonomy == "on"

    @property
    def link(self) -> str:
        """The set of endpoints as one text: what entries are bound to in the journal."""
        return ",".join(sorted(self.endpoints))


def for_link(settings: Settings, link: str) -> Settings:
    """The same settings for another set of endpoints, as :attr:`Settings.link` names it."""
    return dataclasses.replace(settings, endpoints=tuple(link.split(",")))


def endpoint_address(hostname: str | None, port: int | None) -> str:
    """The ZeroMQ address of an endpoint named in a URL.

    :raises ConfigurationError: when no host is named
    """
    if not hostname:
        raise errors.ConfigurationError(
            "the transport URL names no endpoint; write edgebus://HOST[:PORT][,HOST2...]/"
        )
    bracketed = f"[{hostname}]" if ":" in hostname else hostname
    return f"tcp://{bracketed}:{port or DEFAULT_PORT}"


def hostname_of(endpoint: str) -> str:
    """The host in the ZeroMQ address of an endpoint."""
    return endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")


def is_loopback(hostname: str) -> bool:
    """Tell whether *hostname* is this machine's loopback interface by its name or number."""
    if hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return False
