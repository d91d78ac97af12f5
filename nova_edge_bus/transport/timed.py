# SPDX-License-Identifier: Apache-2.0
"""Services of a loop that have no socket."""

import zmq

from nova_edge_bus.transport import loop


class Timed(loop.Service):
    """A service that only goes by the clock: it says when it is due, and is ticked."""

    def sockets(self) -> list["zmq.Socket[bytes]"]:
        """None."""
        return []

    def on_readable(self, socket: "zmq.Socket[bytes]", now: float) -> None:
        """Never called, as there is nothing to read."""
