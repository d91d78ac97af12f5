# SPDX-License-Identifier: Apache-2.0
"""What senders and receivers use of a bus."""

from typing import Protocol

from nova_edge_bus.delivery import directory as directory_module
from nova_edge_bus.protocol import messages


class Links(Protocol):
    """The links to one set of endpoints, which ``link`` names as the journal does."""

    link: str
    directory: directory_module.Directory

    def has_room(self, endpoint: object) -> bool:
        """Tell whether the link to *endpoint* is up and takes more."""

    def transmit(self, endpoint: object, message: messages.Message) -> None:
        """Write to *endpoint*, or to another one when that link is down."""

    def lookup(self, address: str) -> None:
        """Ask all endpoints who takes *address*, once."""
