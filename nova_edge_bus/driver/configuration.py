# SPDX-License-Identifier: Apache-2.0
"""From configuration and transport URL to :class:`~nova_edge_bus.settings.Settings`."""

import os
import socket
import sys
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_messaging._drivers import common

from nova_edge_bus import errors
from nova_edge_bus import listening
from nova_edge_bus import opts
from nova_edge_bus import settings
from nova_edge_bus.contracts import overrides
from nova_edge_bus.keys import credentials


def read(conf: cfg.ConfigOpts, url: oslo_messaging.TransportURL) -> settings.Settings:
    """Read everything the driver needs to know.

    :raises ConfigurationError: when the URL names no endpoint, an unknown option or a bad value,
        or a connection would leave this machine unencrypted without leave
    :raises KeyFileError: when a file of keys cannot be used
    """
    opts.register(conf)
    known = {opt.dest: opt for _, options in opts.list_opts() for opt in options}
    for name, text in url.query.items():
        if name not in known:
            raise errors.ConfigurationError(
                f"the transport URL has an unknown option {name!r}; known are "
                + ", ".join(sorted(known))
            )
        try:
            known[name].type(text)
        except ValueError as error:
            raise errors.ConfigurationError(
                f"the transport URL has a bad {name}: {error}"
            ) from error
    values = {name: _value(conf, url, name) for name in known}
    values["contracts"] = overrides.parse(values["contracts"])
    if values["metrics_listen"]:
        try:
            listening.parse(values["metrics_listen"])
        except ValueError as error:
            raise errors.ConfigurationError(f"bad metrics_listen: {error}") from error
    values["curve_server_keys"] = tuple(values["curve_server_keys"])
    endpoints = tuple(
        dict.fromkeys(settings.endpoint_address(host.hostname, host.port) for host in url.hosts)
    )
    if not endpoints:
        raise errors.ConfigurationError(
            "the transport URL names no endpoint; write edgebus://HOST[:PORT][,HOST2...]/"
        )
    read = settings.Settings(
        endpoints=endpoints,
        vhost=url.virtual_host or "",
        host=_host(conf),
        service=_service(conf),
        **values,
    )
    for endpoint in endpoints:
        # The link reads them anew when it dials; what is wrong now is told at the start.
        credentials.load(read, endpoint)
    return read


def _value(conf: cfg.ConfigOpts, url: oslo_messaging.TransportURL, name: str) -> Any:
    try:
        return getattr(common.ConfigOptsProxy(conf, url, opts.GROUP).edge_bus, name)
    except ValueError as error:
        raise errors.ConfigurationError(f"bad value in [{opts.GROUP}]: {error}") from error


def _host(conf: cfg.ConfigOpts) -> str:
    """The name of this host: the service's own idea of it, where it has one."""
    try:
        return str(conf.host or socket.gethostname())
    except cfg.NoSuchOptError:
        return socket.gethostname()


def _service(conf: cfg.ConfigOpts) -> str:
    """The name of the program, such as nova-compute."""
    try:
        name = conf.prog
    except cfg.NoSuchOptError:
        name = None
    return os.path.basename(str(name or sys.argv[0] or "python")) or "python"
