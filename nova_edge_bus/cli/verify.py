# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus verify``: check journals against what they promise."""

import argparse
import sys
import typing
from collections.abc import Iterator

from nova_edge_bus import errors
from nova_edge_bus.cli import journals
from nova_edge_bus.cli import output
from nova_edge_bus.journal import checking
from nova_edge_bus.journal import reading


def register(subparsers: typing.Any) -> None:
    """Add the subcommand's parser."""
    parser = subparsers.add_parser(
        "verify",
        help="check journals for damage",
        description="Check journals against what they promise: SQLite's integrity, numbers, "
        "counters, checksums. Changes nothing, and works beside live processes and on copies.",
    )
    journals.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON list of objects")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is found; 1 when there is anything.

    :raises InputError: when there is no journal, or a file is none
    """
    results = []
    for journal in journals.select(args).journals:
        found = list(_findings(journal))
        results.append({"journal": journal.path, "findings": [each._asdict() for each in found]})
        if not args.json:
            for line in _lines(journal, found):
                print(output.clean(line))
    if args.json:
        output.print_json(results)
    return 1 if any(each["findings"] for each in results) else 0


def _findings(journal: journals.Journal) -> Iterator[checking.Finding]:
    progress = _Progress(journal.name)
    try:
        with reading.opened(journal.path) as reader:
            yield from checking.findings(reader, progress)
    except errors.JournalCorrupt as error:
        # It cannot even be opened, or read to its end: that is what one is looking for here.
        text, _, _ = str(error).partition("; keep the file")
        yield checking.Finding("integrity", "database", text)
    except errors.JournalError as error:
        raise errors.InputError(str(error)) from error
    finally:
        progress.clear()


def _lines(journal: journals.Journal, found: list[checking.Finding]) -> Iterator[str]:
    for each in found:
        yield f"{journal.path}: {each.check}: {each.place}: {each.text}"
    if not found:
        yield f"{journal.path}: nothing found"


class _Progress:
    """How many entries have been looked at, on a terminal."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._shown = False

    def __call__(self, count: int) -> None:
        if sys.stderr.isatty():
            self._shown = True
            print(f"\r{self._name}: {count} entries", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leave the line as it was."""
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
