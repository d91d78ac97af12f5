# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus replay``: ships what has no process to do it, and again what was lost."""

import argparse
import contextlib
import dataclasses
import signal
import sys
import time
import urllib.parse
import warnings
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import tqdm

from nova_edge_bus import errors
from nova_edge_bus import settings as settings_module
from nova_edge_bus.cli import journals
from nova_edge_bus.cli import output
from nova_edge_bus.cli import plans as plans_module

LOOK_SECONDS = 0.5
PATIENCE = 60.0
_SERVICE = "nova-edge-bus"
_HEADINGS = ("journal", "pending", "to bring forward", "to requeue", "owner")


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command line of the replay."""
    parser = subparsers.add_parser(
        "replay",
        help="ship journals that have no process, and ship again what was lost",
        description="Ship what is pending in journals that have no process, such as those of a "
        "dead host's disk, from any machine that reaches an endpoint. With --since, --seq, "
        "--group and the like, bring forward what the centre has lost; with --dead-letters, ship "
        "those again. "
        "Safe to interrupt, to repeat, and to run beside live processes, which do their part "
        "themselves.",
    )
    journals.add_arguments(parser)
    plans_module.add_arguments(parser)
    parser.add_argument(
        "--endpoint",
        action="append",
        metavar="HOST[:PORT]",
        help="ship by this endpoint, in place of those in the journal; may be repeated",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=PATIENCE,
        metavar="SECONDS",
        help="give up when nothing was settled for so long (default: %(default)g)",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text} is no time to wait")


def run(args: argparse.Namespace) -> int:
    """Replay the chosen journals.

    :returns: 0 when nothing is left, 1 when something is or was refused
    :raises InputError: when a journal or an option cannot be used
    """
    selection = journals.select(args)
    plans = [plans_module.make(args, journal) for journal in selection.journals]
    if args.dry_run:
        _print(args, plans)
        return 0
    status = 0
    # A shell starts what it puts into the background with SIGINT ignored.
    _on_signals(signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        try:
            for plan in plans:
                plans_module.mark(plan, selection)
            _ship(args, plans, stack)
        except KeyboardInterrupt:
            # What is under way is brought to its end, however often one asks.
            _on_signals(signal.SIG_IGN)
            print("nova-edge-bus: interrupted; run it again to go on", file=sys.stderr)
            status = 1
    for plan in plans:
        plans_module.look(plan)
    _print(args, plans)
    return max(status, int(any(plan.left or plan.refused or plan.error for plan in plans)))


def _on_signals(action: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, action)


def _ship(
    args: argparse.Namespace, plans: Sequence[plans_module.Plan], stack: contextlib.ExitStack
) -> None:
    replayer = None
    for plan in plans:
        if not plan.pending and not plan.asked:
            continue
        if plan.pid is not None:
            _follow(plan, _owner(plan, args.timeout) if plan.asked else iter(()), args)
            continue
        if replayer is None:
            replayer = _replayer(args, plans)
            stack.callback(replayer.close)
        link = _link(args.endpoint) if args.endpoint else None
        try:
            _follow(plan, replayer.ship(plan.journal.path, link, args.timeout), args)
        except (errors.JournalError, errors.NotLinked) as error:
            plan.error = str(error)


def _owner(plan: plans_module.Plan, patience: float) -> Iterator[int]:
    """Watch what a live process does with what it was asked for, until it is over or rests."""
    moved_at, last = time.monotonic(), -1
    while last and time.monotonic() - moved_at < patience:
        with journals.opened(plan.journal) as reader:
            left = plans_module.unsettled(reader)
        if left != last:
            moved_at, last = time.monotonic(), left
        yield left
        if left:
            time.sleep(LOOK_SECONDS)


def _follow(plan: plans_module.Plan, steps: Iterator[int], args: argparse.Namespace) -> None:
    """Show how far it has come."""
    bar: Any = tqdm.tqdm(
        total=plan.pending + plan.asked,
        desc=plan.journal.name,
        unit=" entries",
        disable=None if not args.json else True,
        file=sys.stderr,
    )
    with bar:
        for left in steps:
            bar.total = max(bar.total, left)
            bar.n = bar.total - left
            bar.refresh()


def _replayer(args: argparse.Namespace, plans: Sequence[plans_module.Plan]) -> Any:
    with warnings.catch_warnings():
        # What oslo says of its own parts while they are loaded is nothing for operators.
        warnings.simplefilter("ignore")
        # Loads oslo.messaging, which takes long and is not needed for the rest.
        from nova_edge_bus.runtime import replaying

        settings = _settings(args, plans)
    return replaying.Replayer(settings)


def _settings(
    args: argparse.Namespace, plans: Sequence[plans_module.Plan]
) -> settings_module.Settings:
    import oslo_messaging

    from nova_edge_bus.driver import configuration

    _link(args.endpoint or ())
    conf = journals.configuration(args.config_file or [])
    hosts = args.endpoint or _endpoints(plans)
    path, query = "/", ""
    if conf.transport_url.startswith("edgebus:"):
        configured = urllib.parse.urlsplit(conf.transport_url)
        path, query = configured.path or "/", configured.query
        hosts = args.endpoint or hosts or [configured.netloc]
    if not hosts:
        raise errors.InputError("no endpoint is known; give --endpoint HOST[:PORT]")
    text = urllib.parse.urlunsplit(("edgebus", ",".join(hosts), path, query, ""))
    try:
        conf = journals.configuration(args.config_file or [], reads_url=False)
        url = oslo_messaging.TransportURL.parse(conf, text)
        read = configuration.read(conf, url)
    except (oslo_messaging.InvalidTransportURL, errors.ConfigurationError) as error:
        raise errors.InputError(str(error)) from error
    return dataclasses.replace(read, service=_service(read.host, plans))


def _service(host: str, plans: Sequence[plans_module.Plan]) -> str:
    """As whom to speak: the key of a compute's host is admitted as its nova-compute alone."""
    services = {plan.journal.service for plan in plans if plan.journal.host == host}
    return "nova-compute" if services == {"nova-compute"} else _SERVICE


def _endpoints(plans: Sequence[plans_module.Plan]) -> list[str]:
    """The endpoints that the pending entries are bound to."""
    found: dict[str, None] = {}
    for plan in plans:
        with journals.opened(plan.journal) as reader:
            for pending in reader.overview().pending:
                found.update(dict.fromkeys(pending.link.split(",")))
        if not found:
            links = (head.link for head in plan.heads)
            found.update(dict.fromkeys(each for link in links for each in link.split(",")))
    return [endpoint.removeprefix("tcp://") for endpoint in found]


def _link(hosts: Sequence[str]) -> str:
    """The endpoints as the journal names them."""
    addresses = []
    for text in hosts:
        try:
            parsed = urllib.parse.urlsplit(f"//{text}")
            addresses.append(settings_module.endpoint_address(parsed.hostname, parsed.port))
        except (ValueError, errors.ConfigurationError) as error:
            raise errors.InputError(f"--endpoint {text}: {error}") from error
    return ",".join(sorted(addresses))


def _print(args: argparse.Namespace, plans: Sequence[plans_module.Plan]) -> None:
    if args.json:
        document = {"dry_run": args.dry_run, "journals": [plan.as_json() for plan in plans]}
        output.print_json(document)
    elif args.dry_run:
        output.print_table(_HEADINGS, [_row(plan) for plan in plans])
    else:
        for plan in plans:
            print(output.clean(f"{plan.journal.path}: {_sentence(plan)}"))


def _row(plan: plans_module.Plan) -> tuple[str, ...]:
    numbers = (plan.pending, len(plan.lost), len(plan.dead))
    name = plan.journal.name.removesuffix(".db")
    owner = "none" if plan.pid is None else f"process {plan.pid}"
    return (name, *map(str, numbers), owner)


def _sentence(plan: plans_module.Plan) -> str:
    if plan.error is not None:
        return f"{plan.error}; {plan.left} left" if plan.left else plan.error
    if plan.pid is not None and not plan.asked:
        return f"process {plan.pid} ships it"
    words = [
        f"shipped {plan.pending + plan.asked - plan.left}"
        if plan.pending or plan.asked
        else "nothing to ship"
    ]
    if plan.left:
        words.append(f"{plan.left} left, for no receiver has taken them yet")
    if plan.refused:
        words.append(f"{plan.refused} refused, see 'nova-edge-bus dead-letters list'")
    return ", ".join(words)
