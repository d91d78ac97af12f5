# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus endpoint``: run an endpoint in a process of its own."""

import argparse
import json
import logging
import pathlib
import resource
import signal
import sys
import typing

import zmq

from nova_edge_bus import events
from nova_edge_bus import listening
from nova_edge_bus import systemd
from nova_edge_bus.cli import addresses as arguments
from nova_edge_bus.cli import keys
from nova_edge_bus.endpoint import fleet_pages
from nova_edge_bus.endpoint import server
from nova_edge_bus.monitoring import endpoints
from nova_edge_bus.monitoring import health
from nova_edge_bus.monitoring import server as http_server
from nova_edge_bus.protocol import settings as limits
from nova_edge_bus.transport import loop as loops
from nova_edge_bus.transport import watchdog

_log = logging.getLogger(__name__)

_OWN_DESCRIPTORS = 64
"""Descriptors that the process needs beside one for each session."""


def register(subparsers: typing.Any) -> None:
    """Add the subcommand's parser."""
    parser = subparsers.add_parser(
        "endpoint",
        help="run an endpoint, which peers dial",
        description="Run an endpoint until SIGTERM or SIGINT. Logs go to stderr; once bound, "
        "each address is printed to stdout.",
    )
    parser.add_argument(
        "--listen",
        action="append",
        required=True,
        metavar="tcp://ADDRESS:PORT",
        help="address to listen on, may be repeated; port 0 takes a free one",
    )
    parser.add_argument(
        "--curve-dir",
        type=pathlib.Path,
        default=pathlib.Path(keys.DEFAULT_DIRECTORY),
        metavar="DIR",
        help="directory with the key endpoint.key and the enrolled clients; see 'nova-edge-bus "
        "keys' (default: %(default)s)",
    )
    parser.add_argument(
        "--allow-insecure",
        action="store_true",
        help="listen on addresses that are not loopback even if there is no key, and nothing is "
        "encrypted or authenticated then",
    )
    parser.add_argument(
        "--max-sessions",
        type=_positive,
        default=limits.Settings().max_sessions,
        metavar="N",
        help="sessions held at most, and planned for (default: %(default)s)",
    )
    parser.add_argument(
        "--metrics",
        type=arguments.listen,
        metavar="[ADDRESS:]PORT",
        help="serve metrics for Prometheus, health and the page of the fleet at this address over "
        "HTTP, which is not encrypted; without ADDRESS at 127.0.0.1. Port 0 takes a free one",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the bound addresses as a JSON object"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal asks to stop.

    :raises EndpointError: when an address cannot be listened on
    :raises KeyFileError: when its key cannot be used
    :raises MonitoringError: when the metrics cannot be served
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    _raise_descriptor_limit(args.max_sessions)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
    loop = loops.Loop()
    endpoint = server.EndpointServer(
        context,
        loop,
        args.listen,
        settings=limits.Settings(max_sessions=args.max_sessions),
        curve_dir=args.curve_dir,
        allow_insecure=args.allow_insecure,
    )
    pages = None if args.metrics is None else _pages(args.metrics, endpoint, loop)
    try:
        bound = endpoint.start()
        metrics = None if pages is None else pages.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: loop.stop())
        _print_bound(bound, metrics, as_json=args.json)
        stats, manager = endpoint.router.stats, systemd.Manager()
        for address in bound:
            _log.info(events.ENDPOINT_LISTENING, address)
        where = ", ".join(bound)
        loop.register(watchdog.Watchdog(manager, lambda: f"{stats.sessions} sessions at {where}"))
        loop.run()
        manager.stopping()
        _log.info(
            "stopping: sessions=%s delivered=%s answered=%s refused=%s",
            stats.sessions,
            stats.delivered,
            stats.answered,
            stats.refused.total(),
        )
    finally:
        if pages is not None:
            pages.stop()
        endpoint.stop()
        loop.close()
        context.term()
    return 0


def _pages(
    address: listening.Address, endpoint: server.EndpointServer, loop: loops.Loop
) -> http_server.Server:
    """What is served over HTTP; it begins with :meth:`start`."""
    # A process that serves no metrics must not pay for the library.
    from nova_edge_bus.monitoring import exposition

    router, turns = endpoint.router, health.turns(lambda: loop.turned_at)
    name = endpoint.name
    routes = {
        "/metrics": exposition.page(
            [lambda: endpoints.samples(endpoints.describe(name, router.stats, router.settings))]
        ),
        "/healthz": health.page([turns]),
        "/readyz": health.page([turns, endpoint.trouble]),
        **fleet_pages.routes(endpoint.fleet, name),
    }
    return http_server.Server(address, routes)


def _print_bound(bound: list[str], metrics: listening.Address | None, *, as_json: bool) -> None:
    url = None if metrics is None else f"http://{metrics}"
    if as_json:
        found: dict[str, object] = {"listening": bound}
        print(json.dumps(found if url is None else {**found, "metrics": url}), flush=True)
        return
    for address in bound:
        print(f"listening on {address}", flush=True)
    if url is not None:
        print(f"metrics at {url}/metrics", flush=True)


def _raise_descriptor_limit(max_sessions: int) -> None:
    """Make room for the sessions, one descriptor each, as far as the system lets us."""
    # Connections that are not, or no longer, sessions need one as well.
    wanted = max_sessions + max_sessions // 4 + _OWN_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        attempts = [(max(soft, wanted), hard)]
    else:
        attempts = [(max(hard, wanted), max(hard, wanted)), (hard, hard)]
    for limits_wanted in attempts:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits_wanted)
            break
        except (ValueError, OSError):
            # Only root may raise the hard limit, and only to the system's own.
            continue
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = soft - _OWN_DESCRIPTORS
    if room < max_sessions:
        _log.warning(
            "the limit of %s open files carries %s sessions, --max-sessions is %s; raise it "
            "(LimitNOFILE= in systemd, 'ulimit -n')",
            soft,
            room,
            max_sessions,
        )
    else:
        _log.info("the limit of %s open files carries %s sessions", soft, room)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value
