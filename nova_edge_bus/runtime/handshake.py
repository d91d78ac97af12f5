# SPDX-License-Identifier: Apache-2.0
"""The keys of each attempt to dial an endpoint, and what a failed attempt tells."""

import collections.abc
import typing

import zmq

from nova_edge_bus import concurrency
from nova_edge_bus import events
from nova_edge_bus import settings as settings_module
from nova_edge_bus.keys import credentials
from nova_edge_bus.keys import files

LOG = concurrency.NativeLogger(__name__)

FAILURES = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
"""The events of a socket monitor that end a handshake."""

_MECHANISM_MISMATCH = 0x11000002


class Handshake:
    """Belongs to one link; an endpoint that gets a new key is found again by trying.

    :param settings: for the paths of the keys; the files are read at each attempt
    """

    def __init__(self, settings: settings_module.Settings, address: str) -> None:
        self._settings = settings
        self._address = address
        self._used: credentials.Credentials | None = None
        self._server = b""
        self._refused: set[bytes] = set()
        self._told: set[str] = set()
        self._broken = 0

    def prepare(self, socket: "zmq.Socket[bytes]") -> None:
        """Give a new socket its keys.

        :raises EdgeBusError: when there are none and there must be, or a file cannot be used
        """
        self._used = credentials.load(self._settings, self._address)
        if self._used is None:
            return
        servers = self._used.servers
        if self._server not in servers or self._server in self._refused:
            untried = [key for key in servers if key not in self._refused]
            if not untried:
                self._refused.clear()
                untried = list(servers)
            self._server = untried[0]
        socket.setsockopt(zmq.CURVE_SERVERKEY, self._server)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self._used.own.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._used.own.secret)

    def succeeded(self) -> None:
        """The endpoint has welcomed this peer."""
        self._refused.clear()
        self._told.clear()
        self._broken = 0

    def failed(self, event: collections.abc.Mapping[str, typing.Any]) -> tuple[str, bool]:
        """What a failure means, and whether there is another key to try at once."""
        kind, value = event["event"], event["value"]
        if kind == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return self.tell(self._not_admitted()), False
        if kind == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and value == _MECHANISM_MISMATCH:
            return self.tell(self._mismatch()), False
        self._refused.add(self._server)
        if self._used and any(key not in self._refused for key in self._used.servers):
            return "the endpoint does not take this key for its own", True
        # An endpoint that stops may end one handshake in this way; one with other keys ends all.
        self._broken += 1
        text = self._ended()
        return self.tell(text) if self._broken > 1 else text, False

    def tell(self, text: str) -> str:
        """Log what an operator should act on, once until the link has been up; return it."""
        if text not in self._told:
            self._told.add(text)
            LOG.warning(events.LINK_REFUSED, self._address, text)
        return text

    def _not_admitted(self) -> str:
        if self._used is None:
            return "it does not admit this peer"
        public = self._used.own.public
        return (
            f"it does not admit key {files.fingerprint(public)}, which is not enrolled there, is "
            f"revoked or has expired; its log says which, and 'nova-edge-bus keys enroll "
            f"{public.hex()} --host {self._settings.host} --role ...' admits it"
        )

    def _mismatch(self) -> str:
        if self._used is None:
            return (
                "it demands encryption; make a key with 'nova-edge-bus keys new peer', enrol it "
                "there, and put its endpoint.pub into "
                f"{self._settings.curve_dir}/{credentials.TRUSTED}"
            )
        return "it does not encrypt; make its key there with 'nova-edge-bus keys new endpoint'"

    def _ended(self) -> str:
        if self._used is None:
            return f"it ends the handshake; perhaps {self._mismatch()}"
        names = ", ".join(files.fingerprint(key) for key in self._used.servers)
        return (
            f"it ends the handshake, so it has none of the keys that are known here ({names}); "
            "compare them with its endpoint.pub, see [edge_bus] curve_server_keys"
        )
