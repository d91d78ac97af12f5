# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in the REST guard, at its start and on the way to an upstream."""

from nova_edge_bus import errors


class RestGuardError(errors.EdgeBusError):
    """The guard cannot run as it was told to."""


class UpstreamError(errors.EdgeBusError):
    """An upstream gave no answer to one request."""


class Unreachable(UpstreamError):
    """No connection to the upstream could be made, so the request was not sent."""


class NotConnected(Unreachable):
    """No connection came about in time: packets are lost, or the upstream is too busy."""


class Broken(UpstreamError):
    """The connection ended before the answer did; the request may have had its effect."""


class Silent(UpstreamError):
    """The upstream has fallen silent before the answer; the request may have had its effect."""
