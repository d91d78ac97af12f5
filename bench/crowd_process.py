# SPDX-License-Identifier: Apache-2.0
"""Some simulated computes, or consumers: ``python -m bench.crowd_process``.

It is commanded by lines of JSON.
"""

import dataclasses
import functools
import importlib
import resource
import typing

import zmq
from oslo_service import backend

from bench import places
from bench import serving

_SOCKETS = 9
"""Of a link, most of them for what it has given up and ZeroMQ still closes."""
_SERVICES = {"compute": ("nova-compute", "Compute"), "consumer": ("nova-conductor", "Consumer")}


class Process:
    """A loop of members with a context that has room for them."""

    def __init__(self) -> None:
        # Here, because oslo.messaging imports eventlet unless native threads were chosen before.
        self._crowd: typing.Any = importlib.import_module("bench.crowd")
        self._loop: typing.Any = importlib.import_module("bench.crowd_loop").CrowdLoop()
        codec = importlib.import_module("nova_edge_bus.protocol.codec")
        # They keep no state between packets, but a megabyte to work with: a process has one or
        # two, and not ten thousand.
        codec.Codec = functools.cache(codec.Codec)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)

    def join(
        self, role: str, url: str, hosts: list[str], first: int, network: str, seconds: float
    ) -> dict[str, typing.Any]:
        """Have so many members dial, spread over so many seconds, and return at once.

        :param role: ``compute`` or ``consumer``
        :param url: the transport URL of all of them; with a directory of keys, each uses HOST.key
        :param first: number of the first of them
        :param network: see :class:`bench.crowd.Member`
        """
        service, kind = _SERVICES[role]
        known = _settings(url, service)
        lines = len(hosts) * len(known.endpoints)
        _make_room(lines * places.LINE_DESCRIPTORS + places.OTHER_DESCRIPTORS)
        most = self._context.get(zmq.SOCKET_LIMIT)
        self._context.set(zmq.MAX_SOCKETS, min(most, lines * _SOCKETS + places.OTHER_DESCRIPTORS))
        members = [
            getattr(self._crowd, kind)(
                self._context,
                dataclasses.replace(known, host=host, curve_key_file=f"{host}.key"),
                first + place,
                network,
            )
            for place, host in enumerate(hosts)
        ]
        self._loop.add(members, seconds)
        return {}

    def report(self, interval: float) -> dict[str, typing.Any]:
        """See :meth:`bench.crowd_loop.CrowdLoop.report`."""
        self._loop.report(interval)
        return {}

    def state(self) -> dict[str, typing.Any]:
        """See :meth:`bench.crowd_loop.CrowdLoop.state`."""
        found: dict[str, typing.Any] = self._loop.state()
        return found

    def returned(self, endpoint: int, since: float, times: bool) -> dict[str, typing.Any]:
        """See :meth:`bench.crowd_loop.CrowdLoop.returned`; with the *times*, or how many."""
        linked, routed = self._loop.returned(endpoint, since)
        if times:
            return {"linked": linked, "routed": routed}
        return {"linked": len(linked), "routed": len(routed)}


def _settings(url: str, service: str) -> typing.Any:
    import oslo_messaging
    from oslo_config import cfg

    from nova_edge_bus.driver import configuration

    cfg.CONF([], project="nova", prog=service, default_config_files=[], default_config_dirs=[])
    return configuration.read(cfg.CONF, oslo_messaging.TransportURL.parse(cfg.CONF, url))


def _make_room(descriptors: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(hard, descriptors)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (ValueError, OSError):
        raise RuntimeError(
            f"needs {descriptors} descriptors, and may have {hard}; use more --processes"
        ) from None


def _open() -> Process:
    backend.init_backend(backend.BackendType.THREADING)
    return Process()


if __name__ == "__main__":
    serving.serve(_open, frozenset({"join", "report", "state", "returned"}))
