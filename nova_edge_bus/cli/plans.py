# SPDX-License-Identifier: Apache-2.0
"""What a replay is to do with each journal, and what came of it."""

import argparse
import contextlib
import dataclasses
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from nova_edge_bus import errors
from nova_edge_bus.cli import filters
from nova_edge_bus.cli import journals
from nova_edge_bus.journal import journal as journal_module
from nova_edge_bus.journal import reading
from nova_edge_bus.journal import selecting
from nova_edge_bus.journal import slots

BATCH = 256
"""How many entries are marked in one transaction of a journal that may have a process."""
_WAITING = ("requeueing", "forwarding")


@dataclasses.dataclass
class Plan:
    """What is to be done with one journal, and what came of it.

    :ivar pid: its process, which does it by itself
    :ivar pending: how many entries were pending at the beginning
    :ivar lost: applied entries that are to be brought forward
    :ivar dead: dead letters that are to be shipped again
    :ivar left: how many entries are pending at the end
    :ivar refused: how many dead letters have come of it
    """

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

    @property
    def heads(self) -> Iterator[reading.Head]:
        """The entries that are to be shipped again, and others between them.

        :raises InputError: when the journal cannot be read
        """
        seqs = [*self.lost, *self.dead]
        if seqs:
            with journals.opened(self.journal) as reader:
                yield from reader.heads(selecting.Filter(seqs=((min(seqs), max(seqs)),)))

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that choose what is shipped again."""
    group = parser.add_argument_group(
        "what is shipped again",
        "Without any of these nothing is but what is pending, and that always is. An entry is "
        "meant when it meets every option given; of one that is repeated, any.",
    )
    group.add_argument(
        "--since",
        type=filters.moment,
        metavar="TIME",
        help="the centre has lost what it applied then or later: 2026-03-01T12:00:00Z (UTC "
        "without an offset), or how long ago: 90s, 30m, 6h, 2d",
    )
    group.add_argument(
        "--until", type=filters.moment, metavar="TIME", help="only what was applied before that"
    )
    filters.add_names(group)
    group.add_argument(
        "--dead-letters",
        action="store_true",
        help="dead letters in place of applied entries; all, if not chosen by the others",
    )


def make(args: argparse.Namespace, journal: journals.Journal) -> Plan:
    """See what is to be done with a journal.

    :raises InputError: when it cannot be read
    """
    with journals.opened(journal) as reader:
        pending = unsettled(reader)
        dead_before = _count(reader, ("dead",))
        chosen = _chosen(args, reader)
    lost, dead = ([], chosen) if args.dead_letters else (chosen, [])
    pid = slots.holder(journal.path)
    return Plan(journal, pid, pending, lost, dead, dead_before - len(dead))


def mark(plan: Plan, selection: journals.Selection) -> None:
    """Tell the journal's owner, present or to come, what to ship again.

    :raises InputError: when the journal cannot be opened
    """
    if not plan.asked:
        return

    def lost(it: journal_module.Journal, seqs: list[int]) -> None:
        it.outbox.history.mark_lost(seqs)

    def dead(it: journal_module.Journal, seqs: list[int]) -> None:
        it.outbox.dead.ask_many(seqs)

    with journals.attached(plan.journal, selection) as it:
        for seqs, change in ((plan.lost, lost), (plan.dead, dead)):
            _in_batches(it, seqs, change)


def look(plan: Plan) -> None:
    """See what is left in a journal, and what was refused."""
    with contextlib.suppress(errors.InputError), journals.opened(plan.journal) as reader:
        if plan.pid is None or plan.asked:
            plan.left = unsettled(reader)
        plan.refused = max(0, _count(reader, ("dead",)) - plan.dead_before)


def unsettled(reader: reading.Reader) -> int:
    """How many entries are to be shipped, or to be shipped again."""
    return _count(reader, (selecting.PENDING, *_WAITING))


def _chosen(args: argparse.Namespace, reader: reading.Reader) -> list[int]:
    """The entries to ship again: none, unless something was chosen."""
    options = (args.seq, args.group, args.method, args.destination, args.dead_letters)
    if args.since is None and args.until is None and not any(options):
        return []
    wanted = selecting.Filter(
        statuses=("dead",) if args.dead_letters else ("applied",),
        seqs=tuple(args.seq or ()),
        groups=tuple(args.group or ()),
        methods=tuple(args.method or ()),
        destinations=tuple(args.destination or ()),
    )
    since = 0.0 if args.since is None else args.since
    until = float("inf") if args.until is None else args.until
    # The journal keeps whole seconds, cut off.
    return [
        head.seq
        for head in reader.heads(wanted)
        if head.changed_at + 1 > since and head.changed_at < until
    ]


def _count(reader: reading.Reader, statuses: tuple[str, ...]) -> int:
    found = reader.overview().statuses
    return sum(found[status].entries for status in statuses)


def _in_batches(
    it: journal_module.Journal,
    seqs: list[int],
    change: Callable[[journal_module.Journal, list[int]], None],
) -> None:
    for first in range(0, len(seqs), BATCH):
        with it.transaction():
            change(it, seqs[first : first + BATCH])
