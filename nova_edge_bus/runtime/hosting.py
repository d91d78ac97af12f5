# SPDX-License-Identifier: Apache-2.0
"""An endpoint inside a process that uses the bus, taken over by another one when this one ends."""

import pathlib
from typing import Any

import zmq

from nova_edge_bus import concurrency
from nova_edge_bus import events
from nova_edge_bus import settings as settings_module
from nova_edge_bus.endpoint import listening
from nova_edge_bus.endpoint import server
from nova_edge_bus.monitoring import endpoints
from nova_edge_bus.transport import loop as loop_module
from nova_edge_bus.transport import timed

LOG = concurrency.NativeLogger(__name__)

RETRY = 0.25
"""Seconds between two attempts to bind the address while another process has it."""


class HostedEndpoint(timed.Timed):
    """A service that binds the endpoint as soon as the address is free."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        loop: loop_module.Loop,
        settings: settings_module.Settings,
    ) -> None:
        self._server = server.EndpointServer(
            context,
            loop,
            [settings.listen],
            curve_dir=pathlib.Path(settings.curve_dir),
            allow_insecure=settings.allow_insecure,
        )
        self._address = settings.listen
        self._try_at: float | None = 0.0

    def figures(self) -> dict[str, Any] | None:
        """What the endpoint has counted, see :func:`endpoints.describe`; None without one."""
        if not self._server.is_listening:
            return None
        router = self._server.router
        return endpoints.describe(self._server.name, router.stats, router.settings)

    def stop(self) -> None:
        """Give the address back; on the loop's thread."""
        self._try_at = None
        self._server.stop()

    def next_deadline(self) -> float | None:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        return self._try_at

    def tick(self, now: float) -> None:
        """See :class:`nova_edge_bus.transport.loop.Service`."""
        if self._try_at is None or now < self._try_at:
            return
        try:
            self._server.start()
        except listening.AddressInUse:
            self._try_at = now + RETRY
        except listening.EndpointError as error:
            LOG.error("cannot host an endpoint at %s: %s", self._address, error)
            self._try_at = None
        else:
            LOG.info(events.ENDPOINT_LISTENING, self._address)
            self._try_at = None
