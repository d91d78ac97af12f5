# SPDX-License-Identifier: Apache-2.0
"""Who a peer is by its key, and what that lets it say of itself: no peer speaks for another."""

import collections.abc
import enum
import typing

from nova_edge_bus import addressing
from nova_edge_bus.protocol import messages

COMPUTE_SERVICE = "nova-compute"
_COMPUTE_TOPICS = frozenset({"compute", "compute-alt"})
"""The second one is what a compute that shuts down still listens to."""


class Role(enum.Enum):
    """What a key was given out for."""

    COMPUTE = "compute"
    CONDUCTOR = "conductor"
    SCHEDULER = "scheduler"
    API = "api"
    CENTRE = "centre"
    """Everything that runs at the central site, for hosts whose services share one key."""


_TOPICS: dict[Role, frozenset[str]] = {
    Role.COMPUTE: _COMPUTE_TOPICS,
    Role.CONDUCTOR: frozenset({"conductor"}),
    Role.SCHEDULER: frozenset({"scheduler"}),
    Role.API: frozenset(),
}
"""The topics that a role may take; the centre may take all but those of computes."""


class Identity(typing.NamedTuple):
    """A host and a role, as an endpoint's operator has enrolled them."""

    host: str
    role: Role

    @property
    def text(self) -> str:
        """The identity as it stands on the wire and in logs."""
        return f"{self.role.value}:{self.host}"

    @classmethod
    def parse(cls, text: str) -> "Identity":
        """Read the text form back.

        :raises ValueError: when *text* names no role
        """
        role, _, host = text.partition(":")
        return cls(host, Role(role))

    def objection_to_hello(self, hello: messages.Hello) -> str:
        """Why a peer of this identity may not say *hello*; empty when it may."""
        if hello.host != self.host:
            return f"it says it is host {hello.host}"
        if (hello.service == COMPUTE_SERVICE) != (self.role is Role.COMPUTE):
            return f"it says it is {hello.service}"
        return ""

    def objection_to_listen(self, announcement: messages.Listen) -> str:
        """Why a peer of this identity may not take these addresses; empty when it may."""
        if announcement.pool and self.role is Role.COMPUTE:
            return "it may not listen in a pool"
        for text in (*announcement.addresses, *announcement.fanouts):
            try:
                address = addressing.Address.parse(text)
            except ValueError as error:
                return str(error)
            if not self._takes(address):
                return f"it may not listen on {text}"
        return ""

    def may_fan_out(self, text: str) -> bool:
        """Whether a peer of this identity may speak to all who take *text* at once.

        Everybody may, but a compute not to the other computes.
        """
        if self.role is not Role.COMPUTE:
            return True
        try:
            return addressing.Address.parse(text).topic not in _COMPUTE_TOPICS
        except ValueError:
            return False

    def _takes(self, address: addressing.Address) -> bool:
        if address.server not in ("", self.host):
            return False
        topics = _TOPICS.get(self.role)
        if topics is None:
            return address.topic not in _COMPUTE_TOPICS
        return address.topic in topics


class Visitor(typing.NamedTuple):
    """Who is at the other end of an authenticated connection.

    :param identity: None when the key admits nobody any more; *objection* is why
    :param fingerprint: of the key that it has proved to hold
    :param address: where the connection comes from
    :param public: that key
    """

    identity: Identity | None
    fingerprint: str
    address: str
    public: bytes
    objection: str = ""

    @property
    def text(self) -> str:
        """Whom the key belongs to, as logs and errors say it."""
        owner = "" if self.identity is None else f" ({self.identity.text})"
        return f"key {self.fingerprint}{owner}"

    def objection_to(
        self, hello: messages.Hello, others: collections.abc.Iterable["Visitor | None"]
    ) -> str:
        """Why there is to be no session with this HELLO; empty when there may be.

        :param others: the ends of the sessions that have the same peer id or outbox
        """
        if self.identity is None:
            return f"{self.text} {self.objection}"
        if objection := self.identity.objection_to_hello(hello):
            return f"{self.text} is another's: {objection}"
        for other in others:
            if other is None or other.identity != self.identity:
                return f"{self.text} is another's: its peer id or its outbox belongs to a session"
        return ""

    def objection_to_listen(self, announcement: messages.Listen) -> str:
        """Why it may not take these addresses; empty when it may."""
        objection = self.identity.objection_to_listen(announcement) if self.identity else ""
        return f"{self.text}: {objection}" if objection else ""

    def may_fan_out(self, address: str) -> bool:
        """Whether it may speak to all who take *address* at once."""
        return self.identity is not None and self.identity.may_fan_out(address)
