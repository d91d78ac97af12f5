# SPDX-License-Identifier: Apache-2.0
"""What sender and receiver share: transports, servers and versions as nova has them."""

import typing

import oslo_messaging
from oslo_config import cfg

from bench import places
from nova_edge_bus import concurrency

CONDUCTOR_VERSION = "3.0"
COMPUTE_VERSION = "6.0"
SCHEDULER_VERSION = "4.5"


def _configure(place: places.Place, program: str) -> cfg.ConfigOpts:
    # oslo.messaging registers its tracing options on the global object alone, and call() reads
    # them, so a ConfigOpts of our own would fail.
    conf = cfg.CONF
    conf([], project="nova", prog=program, default_config_files=[], default_config_dirs=[])
    if place.host:
        conf.register_opt(cfg.StrOpt("host"))
        conf.set_override("host", place.host)
    oslo_messaging.set_transport_defaults(control_exchange=place.exchange)
    return conf


def rpc_transport(place: places.Place, program: str) -> typing.Any:
    """The RPC transport of a process that calls itself *program*."""
    return oslo_messaging.get_rpc_transport(_configure(place, program), url=place.url)


def notification_transport(place: places.Place) -> typing.Any:
    """The notification transport on the same URL; made after the RPC transport."""
    return oslo_messaging.get_notification_transport(cfg.CONF, url=place.url)


def executor() -> str:
    """The name of nova's executor in the concurrency mode of this process."""
    return "eventlet" if concurrency.is_patched() else "threading"


def rpc_server(transport: typing.Any, topic: str, server: str, endpoint: object) -> typing.Any:
    """An RPC server with nova's executor."""
    return oslo_messaging.get_rpc_server(
        transport,
        oslo_messaging.Target(topic=topic, server=server),
        [endpoint],
        executor=executor(),
        access_policy=oslo_messaging.DefaultRPCAccessPolicy,
    )
