# SPDX-License-Identifier: Apache-2.0
"""Addresses: who a message is for, as one string that journals, wire and logs share.

The text form is ``vhost/exchange/topic`` for a topic and ``vhost/exchange/topic/server`` for one
server of it. Each part is percent-encoded, so that no part can contain the separator.
"""

import dataclasses
import functools
import urllib.parse


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """A topic, or one server of a topic, inside an exchange of a virtual host."""

    vhost: str
    exchange: str
    topic: str
    server: str = ""

    @property
    def text(self) -> str:
        """The address as it stands on the wire and in the journal."""
        return _text(self.vhost, self.exchange, self.topic, self.server)

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read the text form back.

        :raises ValueError: when *text* does not have three or four parts.
        """
        parts = [urllib.parse.unquote(part) for part in text.split("/")]
        if len(parts) not in (3, 4):
            raise ValueError(f"address {text!r} has {len(parts)} parts, expected 3 or 4")
        return cls(*parts)


@functools.lru_cache(maxsize=1024)
def _text(*parts: str) -> str:
    """The parts as one text; a process sends to few addresses, each of them often."""
    *topic, server = parts
    wanted = [*topic, server] if server else topic
    return "/".join(urllib.parse.quote(part, safe="") for part in wanted)


def is_server_directed(address: str) -> bool:
    """Tell whether the text form *address* names one server rather than a topic."""
    return address.count("/") == 3
