# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus outbox``: the entries of journals, listed and shown."""

import argparse
import sys
import typing
from collections.abc import Iterator

from nova_edge_bus.cli import filters
from nova_edge_bus.cli import journals
from nova_edge_bus.cli import output
from nova_edge_bus.cli import shown
from nova_edge_bus.journal import reading
from nova_edge_bus.journal import selecting


def register(subparsers: typing.Any) -> None:
    """Add the subcommand's parsers."""
    group = subparsers.add_parser(
        "outbox",
        help="list and show what is in the journals, pending and settled",
        description="The entries of journals, pending and settled.",
    )
    verbs = group.add_subparsers(metavar="VERB", required=True)
    listing = verbs.add_parser(
        "list",
        help="list entries",
        description="List entries, the oldest of each journal first, without their bodies.",
    )
    journals.add_arguments(listing)
    filters.add_arguments(listing, selecting.STATUSES)
    listing.add_argument("--json", action="store_true", help="print a JSON list of objects")
    listing.set_defaults(run=run_list)
    showing = verbs.add_parser(
        "show",
        help="show an entry with its body",
        description="Show entries with their bodies, but for passwords, tokens and the like.",
    )
    showing.add_argument("seq", nargs="+", type=seq, metavar="SEQ", help="number of an entry")
    journals.add_arguments(showing)
    showing.add_argument("--json", action="store_true", help="print a JSON list of objects")
    showing.set_defaults(run=run_show)


def run_list(args: argparse.Namespace) -> int:
    """List entries; an empty list is no failure.

    :raises InputError: when there is no journal, or one cannot be opened
    :raises JournalError: when one cannot be read to its end
    """
    entries = found(journals.select(args).journals, filters.given(args))
    if args.json:
        output.print_json_list(shown.head(journal, entry) for journal, entry in entries)
    else:
        output.print_table(shown.HEADINGS, (shown.cells(*each) for each in entries))
    return 0


def found(
    selected: list[journals.Journal], wanted: selecting.Filter
) -> Iterator[tuple[journals.Journal, reading.Head]]:
    """Yield the entries of some journals that a filter means.

    :raises InputError: when a journal cannot be opened
    :raises JournalError: when one cannot be read to its end
    """
    for journal in selected:
        with journals.opened(journal) as reader:
            for entry in reader.heads(wanted):
                yield journal, entry


def run_show(args: argparse.Namespace) -> int:
    """Show entries; 1 when one of them is in none of the journals.

    :raises InputError: when there is no journal, or one cannot be opened
    :raises JournalError: when one cannot be read
    """
    selected = journals.select(args).journals
    shown_ones = []
    missing = set(args.seq)
    wanted = selecting.Filter(seqs=tuple((seq, seq) for seq in args.seq))
    for journal in selected:
        with journals.opened(journal) as reader:
            for entry in reader.heads(wanted):
                shown_ones.append(shown.whole(journal, reader, entry))
                missing.discard(entry.seq)
    print_whole(shown_ones, as_json=args.json)
    for seq in sorted(missing):
        place = "the journal" if len(selected) == 1 else f"any of the {len(selected)} journals"
        print(f"nova-edge-bus: entry {seq} is not in {place}", file=sys.stderr)
    return 1 if missing else 0


def print_whole(entries: list[dict[str, typing.Any]], *, as_json: bool) -> None:
    """Print what :func:`shown.whole` gave."""
    if as_json:
        output.print_json(entries)
        return
    for number, entry in enumerate(entries):
        if number:
            print()
        for line in shown.lines(entry):
            print(line)


def seq(text: str) -> int:
    """Read the number of an entry.

    :raises ArgumentTypeError: when *text* is none
    """
    first, last = filters.seqs(text)
    if first is None or first != last:
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of an entry")
    return first
