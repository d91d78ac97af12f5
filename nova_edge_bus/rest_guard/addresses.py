# SPDX-License-Identifier: Apache-2.0
"""Where the guard forwards to, as written on the command line, and where it may listen."""

import dataclasses
import ipaddress
import re
import urllib.parse

from nova_edge_bus import listening
from nova_edge_bus.rest_guard import errors

_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")


@dataclasses.dataclass(frozen=True)
class Upstream:
    """A service to forward to.

    :param name: what logs and errors call it
    :param origin: ``SCHEME://HOST[:PORT]``
    :param path: where its version document is, without a slash at the end; empty for the root
    """

    name: str
    origin: str
    path: str

    @property
    def url(self) -> str:
        """Where its version document is."""
        return self.origin + self.path

    @property
    def netloc(self) -> str:
        """``HOST[:PORT]``, which is also what goes into the Host header."""
        return urllib.parse.urlsplit(self.origin).netloc


def parse_upstream(text: str) -> Upstream:
    """Take ``[NAME=]URL`` apart; without NAME, the upstream is called by the URL's host and path.

    :raises ValueError: when *text* is something else
    """
    before, equals, after = text.partition("=")
    named = bool(equals and _NAME.match(before))
    url = after if named else text
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"expected http://HOST[:PORT][/PATH] or https://..., not {url!r}")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"an upstream has no user, query or fragment: {parts.hostname!r}")
    authority_port(url)
    path = parts.path.rstrip("/")
    name = before if named else parts.netloc + path
    return Upstream(name, f"{parts.scheme}://{parts.netloc}", path)


def authority_port(url: str) -> int | None:
    """The port that *url* means, the scheme's own if it names none.

    :raises ValueError: when the port is not a number
    """
    parts = urllib.parse.urlsplit(url)
    return parts.port or _DEFAULT_PORTS.get(parts.scheme)


def check_safe(listen: listening.Address, *, allow_insecure: bool) -> None:
    """Refuse an address that the network can reach, for nothing there is encrypted or asked for.

    :raises RestGuardError: when *listen* is not loopback and *allow_insecure* is not set
    """
    if not ipaddress.ip_address(listen.host).is_loopback and not allow_insecure:
        raise errors.RestGuardError(
            f"will not listen on {listen}: it is not loopback, and whoever can reach it could "
            "read tokens and use the service; listen on 127.0.0.1, or allow it with "
            "--allow-insecure"
        )
