# SPDX-License-Identifier: Apache-2.0
"""The metrics of an endpoint, from what its router counts."""

import collections.abc
import typing

from nova_edge_bus.monitoring import catalogue
from nova_edge_bus.monitoring.catalogue import Sample
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import settings as limits

_VALUES = {
    "sessions": catalogue.ENDPOINT_SESSIONS,
    "max_sessions": catalogue.ENDPOINT_SESSIONS_MAX,
    "sessions_ever": catalogue.ENDPOINT_SESSIONS_OPENED,
    "delivered": catalogue.ENDPOINT_DELIVERED,
    "answered": catalogue.ENDPOINT_ANSWERED,
    "answers_dropped": catalogue.ENDPOINT_ANSWERS_DROPPED,
    "fanned_out": catalogue.ENDPOINT_FANNED_OUT,
    "packets_in": catalogue.ENDPOINT_PACKETS_RECEIVED,
    "packets_out": catalogue.ENDPOINT_PACKETS_SENT,
    "bytes_in": catalogue.ENDPOINT_BYTES_RECEIVED,
    "bytes_out": catalogue.ENDPOINT_BYTES_SENT,
    "pending_bytes": catalogue.ENDPOINT_PENDING,
    "pending_bytes_total": catalogue.ENDPOINT_PENDING_MAX,
}
_REFUSALS = [each.name for each in messages.Refusal]
_REJECTIONS = [each.name for each in messages.Rejection]


def describe(listen: str, stats: limits.Stats, settings: limits.Settings) -> dict[str, typing.Any]:
    """What an endpoint has done, as JSON takes it; any thread may ask, each figure is whole."""
    known = {name: getattr(stats if hasattr(stats, name) else settings, name) for name in _VALUES}
    return {
        "listen": listen,
        **known,
        # All reasons from the beginning: a rate cannot be taken of what was not there before.
        "refused": {name: stats.refused.get(name, 0) for name in _REFUSALS},
        "rejected": {name: stats.rejected.get(name, 0) for name in _REJECTIONS},
    }


def samples(
    described: collections.abc.Mapping[str, typing.Any],
) -> collections.abc.Iterator[Sample]:
    """The metrics of what :func:`describe` has returned."""
    listen = described["listen"]
    for name, metric in _VALUES.items():
        yield Sample(metric, (listen,), described[name])
    for reason, count in described["refused"].items():
        yield Sample(catalogue.ENDPOINT_REFUSED, (listen, reason.lower()), count)
    for reason, count in described["rejected"].items():
        yield Sample(catalogue.ENDPOINT_REJECTED, (listen, reason.lower()), count)
