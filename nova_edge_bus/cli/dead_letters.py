# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus dead-letters``: what could not be applied, and what is to become of it."""

import argparse
import itertools
import sys
import typing
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from nova_edge_bus import errors
from nova_edge_bus.cli import filters
from nova_edge_bus.cli import journals
from nova_edge_bus.cli import outbox
from nova_edge_bus.cli import output
from nova_edge_bus.cli import secrets
from nova_edge_bus.cli import shown
from nova_edge_bus.journal import journal as journal_module
from nova_edge_bus.journal import reading
from nova_edge_bus.journal import reasons
from nova_edge_bus.journal import selecting
from nova_edge_bus.journal import slots

STATUSES = ("dead", "requeueing")
HEADINGS = (*shown.HEADINGS[:-1], "reason")
BATCH = 200
"""Dead letters changed in one transaction, for which the owner has to wait."""

_DONE = {"requeue": "requeued", "discard": "discarded"}
_Change = Callable[[journal_module.Journal, list[int]], list[int]]


def register(subparsers: typing.Any) -> None:
    """Add the subcommand's parsers."""
    group = subparsers.add_parser(
        "dead-letters",
        help="list, show, requeue and discard what could not be applied",
        description="Entries that could not be applied, with the reasons.",
    )
    verbs = group.add_subparsers(metavar="VERB", required=True)
    listing = verbs.add_parser(
        "list", help="list dead letters", description="List dead letters with their reasons."
    )
    journals.add_arguments(listing)
    filters.add_arguments(listing)
    listing.add_argument("--json", action="store_true", help="print a JSON list of objects")
    listing.set_defaults(run=run_list)
    showing = verbs.add_parser(
        "show",
        help="show a dead letter and both sides of its conflict",
        description="Show dead letters: what each was to change, what the other side had, and "
        "the message, but for passwords, tokens and the like.",
    )
    showing.add_argument("seq", nargs="+", type=outbox.seq, metavar="SEQ", help="its number")
    journals.add_arguments(showing)
    showing.add_argument("--json", action="store_true", help="print a JSON list of objects")
    showing.set_defaults(run=run_show)
    requeue = _changing(
        verbs,
        "requeue",
        "have dead letters shipped again",
        "Have dead letters shipped again, as new entries after all that there is. The process of "
        "the journal does so within seconds, or else the next one that opens it.",
    )
    requeue.set_defaults(run=run_requeue)
    discard = _changing(
        verbs,
        "discard",
        "give dead letters up",
        "Give dead letters up. Their messages are gone; that they were there, and why, is kept "
        "for [edge_bus] journal_retention.",
    )
    discard.add_argument("--reason", metavar="TEXT", help="why, for those who look later")
    discard.set_defaults(run=run_discard)


def _changing(verbs: Any, name: str, text: str, description: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=description)
    parser.add_argument(
        "seqs", nargs="*", type=outbox.seq, metavar="SEQ", help="numbers of dead letters"
    )
    parser.add_argument(
        "--all", action="store_true", help="all that the options choose, or simply all"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    journals.add_arguments(parser)
    filters.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    return parser


def run_list(args: argparse.Namespace) -> int:
    """List dead letters; an empty list is no failure.

    :raises InputError: when there is no journal, or one cannot be opened
    """
    found = outbox.found(journals.select(args).journals, filters.given(args, STATUSES))
    if args.json:
        output.print_json_list(shown.head(journal, entry) for journal, entry in found)
    else:
        output.print_table(HEADINGS, (_cells(journal, entry) for journal, entry in found))
    return 0


def _cells(journal: journals.Journal, entry: reading.Head) -> tuple[str, ...]:
    return (*shown.cells(journal, entry)[:-1], shown.reason(entry) or "-")


def run_show(args: argparse.Namespace) -> int:
    """Show dead letters; 1 when one of them is not there.

    :raises InputError: when there is no journal, or one cannot be opened
    """
    wanted = selecting.Filter(statuses=STATUSES, seqs=tuple((seq, seq) for seq in args.seq))
    entries = []
    for journal in journals.select(args).journals:
        with journals.opened(journal) as reader:
            for entry in reader.heads(wanted):
                entries.append(conflict(shown.whole(journal, reader, entry), entry.reason))
    outbox.print_whole(entries, as_json=args.json)
    return _missing(set(args.seq) - {entry["seq"] for entry in entries})


def conflict(entry: dict[str, Any], reason: str | None) -> dict[str, Any]:
    """Add both sides of a conflict to an entry: what it wanted, and what was there."""
    _, found = reasons.read(reason or "")
    message = entry["message"] if isinstance(entry["message"], dict) else {}
    arguments = message.get("args") or {}
    target = arguments.get("objinst") or {}
    data = target.get("nova_object.data") or {}
    changes = target.get("nova_object.changes") or ()
    told = {name: value for name, value in (arguments.get("kwargs") or {}).items() if value}
    seen = secrets.scrub(found or {})
    return {
        **entry,
        "wanted": {name: data.get(name) for name in changes} or None,
        "expected": seen.get("expected") or told or None,
        "actual": seen.get("actual"),
    }


def run_requeue(args: argparse.Namespace) -> int:
    """Ask the owners to ship dead letters again.

    :raises InputError: when nothing is chosen, or a journal cannot be opened
    :raises JournalError: when one cannot be written
    """
    return _change(args, "requeue", lambda it, seqs: it.outbox.dead.ask_many(seqs))


def run_discard(args: argparse.Namespace) -> int:
    """Give dead letters up.

    :raises InputError: when nothing is chosen, or a journal cannot be opened
    :raises JournalError: when one cannot be written
    """
    why = args.reason or ""
    return _change(args, "discard", lambda it, seqs: it.outbox.dead.discard_many(seqs, why))


def _change(args: argparse.Namespace, verb: str, change: _Change) -> int:
    wanted = _chosen(args)
    selection = journals.select(args)
    changed: list[tuple[journals.Journal, list[int]]] = []
    failed: list[tuple[journals.Journal, list[int]]] = []
    for journal in selection.journals:
        with journals.opened(journal) as reader:
            seqs = [entry.seq for entry in reader.heads(wanted)]
        done = seqs
        if seqs and not args.dry_run:
            with journals.attached(journal, selection) as it:
                done = list(_in_batches(it, seqs, change))
        changed.append((journal, done))
        failed.append((journal, sorted(set(seqs) - set(done))))
    _say(args, verb, changed, failed)
    seen = {seq for _, seqs in (*changed, *failed) for seq in seqs}
    missing = set(args.seqs) - seen
    return max(_missing(missing), int(any(seqs for _, seqs in failed)))


def _chosen(args: argparse.Namespace) -> selecting.Filter:
    """Nothing is changed that was not named: numbers, or --all with the options that choose."""
    wanted = filters.given(args, STATUSES)
    if args.seqs:
        if args.all or wanted != selecting.Filter(statuses=STATUSES):
            raise errors.InputError("give either numbers, or --all with the options that choose")
        return selecting.Filter(statuses=STATUSES, seqs=tuple((seq, seq) for seq in args.seqs))
    if not args.all:
        raise errors.InputError(
            "nothing is chosen: give numbers, or --all, alone or with options that choose"
        )
    return wanted


def _in_batches(it: journal_module.Journal, seqs: list[int], change: _Change) -> Iterator[int]:
    for first in range(0, len(seqs), BATCH):
        with it.transaction():
            done = change(it, seqs[first : first + BATCH])
        yield from done


def _say(
    args: argparse.Namespace,
    verb: str,
    changed: list[tuple[journals.Journal, list[int]]],
    failed: list[tuple[journals.Journal, list[int]]],
) -> None:
    if args.json:
        output.print_json(
            {
                "dry_run": args.dry_run,
                _DONE[verb]: _pairs(changed),
                "failed": _pairs(failed),
            }
        )
        return
    for journal, seqs in changed:
        if seqs:
            print(output.clean(f"{journal.path}: {_sentence(args, verb, journal, seqs)}"))
    for journal, seqs in failed:
        for seq in seqs:
            text = f"{journal.path}: entry {seq} is not {_DONE[verb]}: it is damaged or gone"
            print(output.clean(text), file=sys.stderr)
    if not any(seqs for _, seqs in itertools.chain(changed, failed)):
        print("no dead letter is chosen")


def _pairs(changed: list[tuple[journals.Journal, list[int]]]) -> list[dict[str, Any]]:
    return [{"journal": journal.path, "seq": seq} for journal, seqs in changed for seq in seqs]


def _sentence(
    args: argparse.Namespace, verb: str, journal: journals.Journal, seqs: list[int]
) -> str:
    count = f"{len(seqs)} dead letter" + ("" if len(seqs) == 1 else "s")
    if args.dry_run:
        return f"would {verb} {count}"
    if verb == "discard":
        return f"discarded {count}"
    pid = slots.holder(journal.path)
    if pid is None:
        return f"requeued {count}, for the next process that opens the journal"
    return f"requeued {count}, for process {pid} to take up within seconds"


def _missing(seqs: set[int]) -> int:
    for seq in sorted(seqs):
        print(f"nova-edge-bus: there is no dead letter {seq}", file=sys.stderr)
    return 1 if seqs else 0
