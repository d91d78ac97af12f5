# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus rest-guard``: stand in for REST services while they are out of reach."""

import argparse
import asyncio
import json
import logging
import pathlib
import ssl
import sys
import typing

from nova_edge_bus.cli import addresses as arguments
from nova_edge_bus.rest_guard import addresses
from nova_edge_bus.rest_guard import errors
from nova_edge_bus.rest_guard import settings as times

_CACHE_DIRECTORY = pathlib.Path("/var/lib/nova/edge-bus/rest-guard")
_DEFAULTS = times.Settings()


def register(subparsers: typing.Any) -> None:
    """Add the subcommand's parser."""
    parser = subparsers.add_parser(
        "rest-guard",
        help="stand in for REST services while they are out of reach",
        description="Forward HTTP to a service while it answers. While it does not, answer "
        "version discovery from what it once said, and all else at once with 503. nova-compute's "
        "endpoint_override points to the address printed. Runs until SIGTERM or SIGINT. "
        "Logs go to stderr; once bound, each address is printed to stdout.",
    )
    parser.add_argument(
        "--listen",
        action="append",
        required=True,
        type=arguments.listen,
        metavar="ADDRESS:PORT",
        help="IP address to listen on, 127.0.0.1 if none is given; port 0 takes a free one. "
        "May be repeated, each with its own --upstream, in the same order",
    )
    parser.add_argument(
        "--upstream",
        action="append",
        required=True,
        type=_upstream,
        metavar="[NAME=]URL",
        help="unversioned URL of the service, as in placement=https://ctl.example:8778; NAME is "
        "for the logs, and selects the format of errors (placement, neutron)",
    )
    parser.add_argument(
        "--ca-file",
        type=pathlib.Path,
        metavar="FILE",
        help="certificate authorities to trust for https (PEM), instead of the system's",
    )
    parser.add_argument(
        "--cache-dir",
        type=pathlib.Path,
        default=_CACHE_DIRECTORY,
        metavar="DIR",
        help="where version documents are kept (default: %(default)s)",
    )
    parser.add_argument(
        "--keep-tokens",
        action="store_true",
        help="answer requests for a token, too, with what keystone last said to the same "
        "credentials, without the token and marked as expired; nova-compute asks for one before "
        "it starts. The passwords are not kept, only a digest of each request",
    )
    parser.add_argument(
        "--allow-insecure",
        action="store_true",
        help="listen on addresses that are not loopback although what is sent there is neither "
        "encrypted nor authenticated",
    )
    _add_times(parser)
    parser.add_argument("--debug", action="store_true", help="log each request")
    parser.add_argument(
        "--json", action="store_true", help="print the bound addresses as a JSON object"
    )
    parser.set_defaults(run=lambda args: run(args, parser))


def _add_times(parser: argparse.ArgumentParser) -> None:
    texts = {
        "connect_timeout": "for a connection to the service, name lookup and TLS included",
        "probe_interval": "silence after which a service that owes an answer is probed, and the "
        "first pause between probes while it is out of reach",
        "probe_interval_max": "longest pause between probes",
        "probe_timeout": "for the answer to a probe, on top of the connection",
        "link_timeout": "for the rest of an answer once the service is out of reach",
    }
    for name, text in texts.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=_seconds,
            default=getattr(_DEFAULTS, name),
            metavar="SECONDS",
            help=f"{text} (default: %(default)s)",
        )


def run(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Serve until a signal asks to stop.

    :raises RestGuardError: when an address cannot be listened on, or a file not be used
    """
    if len(args.listen) != len(args.upstream):
        parser.error(f"{len(args.listen)} times --listen, {len(args.upstream)} times --upstream")
    # The other commands must not pay for an HTTP library.
    from nova_edge_bus.rest_guard import service

    for listen in args.listen:
        addresses.check_safe(listen, allow_insecure=args.allow_insecure)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    if args.debug:
        logging.getLogger("nova_edge_bus").setLevel(logging.DEBUG)
    asyncio.run(
        service.serve(
            [service.Pair(*each) for each in zip(args.listen, args.upstream, strict=True)],
            times.Settings(**{name: getattr(args, name) for name in vars(_DEFAULTS)}),
            args.cache_dir,
            tls=_tls(args.ca_file, args.upstream),
            keep_tokens=args.keep_tokens,
            on_bound=lambda bound: _print_bound(bound, as_json=args.json),
        )
    )
    return 0


def _tls(
    ca_file: pathlib.Path | None, upstreams: list[addresses.Upstream]
) -> ssl.SSLContext | None:
    # The system's authorities take memory, so they are loaded only where they are used.
    if not any(each.origin.startswith("https:") for each in upstreams):
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as exc:
        raise errors.RestGuardError(f"cannot use --ca-file {ca_file}: {exc}") from None


def _print_bound(bound: list[str], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"listening": bound}), flush=True)
    else:
        for address in bound:
            print(f"listening on {address}", flush=True)


def _upstream(text: str) -> addresses.Upstream:
    try:
        return addresses.parse_upstream(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 86400:
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0, not {text}")
    return value
