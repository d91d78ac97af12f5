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
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import tqdm

from nova_edge_bus import errors
from nova_edge_bus import settings as settings_module
from nova_edge_bus.cli import filters
from nova_edge_bus.cli import journals
from nova_edge_bus.cli import output
from nova_edge_bus.journal import journal as journal_module
from nova_edge_bus.journal import reading
from nova_edge_bus.journal import selecting
from nova_edge_bus.journal import slots

BATCH = 256
LOOK_SECONDS = 0.5
PATIENCE = 60.0
_SERVICE = "nova-edge-bus"
_WAITING = ("requeueing", "forwarding")
_HEADINGS = ("journal", "pending", "to bring forward", "to requeue", "owner")


@dataclasses.dataclass
class _Plan:
    """What is to be done with one journal, and what came of it."""

    journal: journals.Journal
    pid: int | None
    pending: int
    lost: list[int]
    dead: list[int]
    dead_before: int
    left: int = 0
    refused: int = 0
    error: str | None = None

    @property
    def asked(self) -> int:
        """How many entries are to be shipped again."""
        return len(self.lost) + len(self.dead)

    def as_json(self) -> dict[str, Any]:
        """The plan as ``--json`` prints it."""
        return {
            "journal": self.journal.path,
            "pid": self.pid,
            "pending": self.pending,
            "forwarded": len(self.lost),
            "requeued": len(self.dead),
            "left": self.left,
            "refused": self.refused,
            "error": self.error,
        }


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command line of the replay."""
    parser = subparsers.add_parser(
        "replay",
        help="ship journals that have no process, and ship again what was lost",
        description="Ship what is pending in journals that have no process, such as those of a "
        "dead host's disk, from any machine that reaches an endpoint. With --since, --seq or "
        "--group, bring forward what the centre has lost; with --dead-letters, ship those again. "
        "Safe to interrupt, to repeat, and to run beside live processes, which do their part "
        "themselves.",
    )
    journals.add_arguments(parser)
    group = parser.add_argument_group("what is shipped again")
    group.add_argument(
        "--since",
        type=filters.moment,
        metavar="TIME",
        help="the centre has lost what it applied then or later: 2026-03-01T12:00:00Z (UTC "
        "without an offset), or how long ago: 90s, 30m, 6h, 2d",
    )
    group.add_argument(
        "--seq",
        action="append",
        type=filters.seqs,
        metavar="N[-M]",
        help="only the entries N to M; may be repeated",
    )
    group.add_argument(
        "--group",
        action="append",
        metavar="NAME",
        help="only of this group, such as the uuid of an instance or the name of a host",
    )
    group.add_argument(
        "--dead-letters",
        action="store_true",
        help="dead letters in place of applied entries; all, if not chosen by --seq or --group",
    )
    parser.add_argument(
        "--endpoint",
        action="append",
        metavar="HOST[:PORT]",
        help="ship by this endpoint, in place of those in the journal; may be repeated",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=PATIENCE,
        metavar="SECONDS",
        help="give up when nothing was settled for so long (default: %(default)g)",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay the chosen journals.

    :returns: 0 when nothing is left, 1 when something is or was refused
    :raises InputError: when a journal or an option cannot be used
    """
    selection = journals.select(args)
    plans = [_plan(args, journal) for journal in selection.journals]
    if args.dry_run:
        _print(args, plans)
        return 0
    status = 0
    # A shell starts what it puts into the background with the signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        try:
            for plan in plans:
                _mark(plan, selection)
            _ship(args, plans, stack)
        except KeyboardInterrupt:
            print("nova-edge-bus: interrupted; run it again to go on", file=sys.stderr)
            status = 1
    for plan in plans:
        _look(plan)
    _print(args, plans)
    return max(status, int(any(plan.left or plan.refused or plan.error for plan in plans)))


# What is to be done.


def _plan(args: argparse.Namespace, journal: journals.Journal) -> _Plan:
    with journals.opened(journal) as reader:
        pending = _count(reader, (selecting.PENDING, *_WAITING))
        dead_before = _count(reader, ("dead",))
        chosen = _chosen(args, reader)
    lost, dead = ([], chosen) if args.dead_letters else (chosen, [])
    pid = slots.holder(journal.path)
    return _Plan(journal, pid, pending, lost, dead, dead_before - len(dead))


def _chosen(args: argparse.Namespace, reader: reading.Reader) -> list[int]:
    """The entries to ship again: none, unless something was chosen."""
    if not (args.since is not None or args.seq or args.group or args.dead_letters):
        return []
    wanted = selecting.Filter(
        statuses=("dead",) if args.dead_letters else ("applied",),
        seqs=tuple(args.seq or ()),
        groups=tuple(args.group or ()),
    )
    since = 0.0 if args.since is None else args.since
    # The journal keeps whole seconds, cut off.
    return [head.seq for head in reader.heads(wanted) if head.changed_at + 1 > since]


def _count(reader: reading.Reader, statuses: tuple[str, ...]) -> int:
    found = reader.overview().statuses
    return sum(found[status].entries for status in statuses)


def _mark(plan: _Plan, selection: journals.Selection) -> None:
    """Tell the journal's owner, present or to come, what to ship again."""
    if not plan.asked:
        return

    def lost(it: journal_module.Journal, seqs: list[int]) -> None:
        it.outbox.history.mark_lost(seqs)

    def dead(it: journal_module.Journal, seqs: list[int]) -> None:
        it.outbox.dead.ask_many(seqs)

    with journals.attached(plan.journal, selection) as it:
        for seqs, change in ((plan.lost, lost), (plan.dead, dead)):
            _in_batches(it, seqs, change)


def _in_batches(
    it: journal_module.Journal,
    seqs: list[int],
    change: Callable[[journal_module.Journal, list[int]], None],
) -> None:
    for first in range(0, len(seqs), BATCH):
        with it.transaction():
            change(it, seqs[first : first + BATCH])


# Doing it.


def _ship(args: argparse.Namespace, plans: Sequence[_Plan], stack: contextlib.ExitStack) -> None:
    replayer = None
    for plan in plans:
        if not plan.pending and not plan.asked:
            continue
        if plan.pid is not None:
            _follow(plan, _owner(plan) if plan.asked else iter(()), args)
            continue
        if replayer is None:
            replayer = _replayer(args, plans)
            stack.callback(replayer.close)
        link = _link(args.endpoint) if args.endpoint else None
        try:
            _follow(plan, replayer.ship(plan.journal.path, link, args.timeout), args)
        except errors.JournalError as error:
            plan.error = str(error)


def _owner(plan: _Plan) -> Iterator[int]:
    """Watch what a live process does with what it was asked for."""
    while True:
        with journals.opened(plan.journal) as reader:
            left = _count(reader, (selecting.PENDING, *_WAITING))
        yield left
        if not left:
            return
        time.sleep(LOOK_SECONDS)


def _follow(plan: _Plan, steps: Iterator[int], args: argparse.Namespace) -> None:
    """Show how far it has come, until it is over or does not move any more."""
    bar: Any = tqdm.tqdm(
        total=plan.pending + plan.asked,
        desc=plan.journal.name,
        unit=" entries",
        disable=None if not args.json else True,
        file=sys.stderr,
    )
    moved_at, last = time.monotonic(), -1
    with bar:
        for left in steps:
            bar.total = max(bar.total, left)
            bar.n = bar.total - left
            bar.refresh()
            if left != last:
                moved_at, last = time.monotonic(), left
            elif time.monotonic() - moved_at > args.timeout:
                return


def _replayer(args: argparse.Namespace, plans: Sequence[_Plan]) -> Any:
    with warnings.catch_warnings():
        # What oslo says of its own parts while they are loaded is nothing for operators.
        warnings.simplefilter("ignore")
        # Loads oslo.messaging, which takes long and is not needed for the rest.
        from nova_edge_bus.runtime import replaying

        settings = _settings(args, plans)
    return replaying.Replayer(settings)


def _settings(args: argparse.Namespace, plans: Sequence[_Plan]) -> settings_module.Settings:
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


def _service(host: str, plans: Sequence[_Plan]) -> str:
    """As whom to speak: the key of a compute's host is admitted as its nova-compute alone."""
    services = {plan.journal.service for plan in plans if plan.journal.host == host}
    return "nova-compute" if services == {"nova-compute"} else _SERVICE


def _endpoints(plans: Sequence[_Plan]) -> list[str]:
    """The endpoints that the pending entries are bound to."""
    found: dict[str, None] = {}
    for plan in plans:
        with journals.opened(plan.journal) as reader:
            for pending in reader.overview().pending:
                found.update(dict.fromkeys(pending.link.split(",")))
            if not found:
                heads = reader.heads(selecting.Filter(seqs=_ranges(plan)))
                found.update(
                    dict.fromkeys(each for head in heads for each in head.link.split(","))
                )
    return [endpoint.removeprefix("tcp://") for endpoint in found]


def _ranges(plan: _Plan) -> tuple[tuple[int, int], ...]:
    seqs = [*plan.lost, *plan.dead]
    return ((min(seqs), max(seqs)),) if seqs else ((0, 0),)


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


# Saying what was done.


def _look(plan: _Plan) -> None:
    """See what is left in a journal, and what was refused."""
    with contextlib.suppress(errors.InputError), journals.opened(plan.journal) as reader:
        if plan.pid is None or plan.asked:
            plan.left = _count(reader, (selecting.PENDING, *_WAITING))
        plan.refused = max(0, _count(reader, ("dead",)) - plan.dead_before)


def _print(args: argparse.Namespace, plans: Sequence[_Plan]) -> None:
    if args.json:
        document = {"dry_run": args.dry_run, "journals": [plan.as_json() for plan in plans]}
        output.print_json(document)
    elif args.dry_run:
        output.print_table(_HEADINGS, [_row(plan) for plan in plans])
    else:
        for plan in plans:
            print(output.clean(f"{plan.journal.path}: {_sentence(plan)}"))


def _row(plan: _Plan) -> tuple[str, ...]:
    numbers = (plan.pending, len(plan.lost), len(plan.dead))
    name = plan.journal.name.removesuffix(".db")
    owner = "none" if plan.pid is None else f"process {plan.pid}"
    return (name, *map(str, numbers), owner)


def _sentence(plan: _Plan) -> str:
    if plan.error is not None:
        return plan.error
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
