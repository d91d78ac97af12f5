# SPDX-License-Identifier: Apache-2.0
"""The arguments that choose entries of a journal, and what they mean."""

import argparse
import datetime
import re
import time
from collections.abc import Sequence

from nova_edge_bus.journal import selecting

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_AGO = re.compile(r"(?P<count>[0-9]+(\.[0-9]+)?)(?P<unit>[smhd])")
_RANGE = re.compile(r"(?P<first>[0-9]*)(?P<dash>-?)(?P<last>[0-9]*)")
MAX_SEQ = (1 << 63) - 1


def add_arguments(parser: argparse.ArgumentParser, statuses: Sequence[str] = ()) -> None:
    """Add the arguments that choose entries.

    :param statuses: of :data:`selecting.STATUSES`: between which the command lets one choose
    """
    group = parser.add_argument_group(
        "entries",
        "An entry is meant when it meets every option given; of one that is repeated, any.",
    )
    add_names(group)
    if statuses:
        group.add_argument(
            "--status", action="append", choices=list(statuses), help="that ended, or did not, so"
        )
    for option, text in (("--since", "or later"), ("--until", "at the latest, exclusive")):
        group.add_argument(
            option,
            type=moment,
            metavar="TIME",
            help=f"made then {text}: 2026-03-01T12:00:00Z (UTC without an offset), or how long "
            "ago: 90s, 30m, 6h, 2d",
        )


def add_names(group: argparse._ArgumentGroup) -> None:
    """Add to *group* the arguments that choose entries by what they are, not by when."""
    group.add_argument(
        "--seq",
        action="append",
        type=seqs,
        metavar="N[-M]",
        help="the entry N, or those from N to M; one end may be left out, as in --seq=-M",
    )
    group.add_argument(
        "--group",
        action="append",
        metavar="NAME",
        help="of this group, such as the uuid of an instance or the name of a host",
    )
    group.add_argument(
        "--method", action="append", metavar="NAME", help="of this method; NAME* means a beginning"
    )
    group.add_argument(
        "--destination",
        action="append",
        metavar="ADDRESS",
        help="to this address, or to the topic or the server named in it",
    )


def given(args: argparse.Namespace, statuses: tuple[str, ...] = ()) -> selecting.Filter:
    """Return what the arguments of :func:`add_arguments` mean.

    :param statuses: those that are meant when the command lets one choose none
    """
    return selecting.Filter(
        statuses=tuple(getattr(args, "status", None) or statuses),
        seqs=tuple(args.seq or ()),
        groups=tuple(args.group or ()),
        methods=tuple(args.method or ()),
        destinations=tuple(args.destination or ()),
        since=args.since,
        until=args.until,
    )


def seqs(text: str) -> tuple[int | None, int | None]:
    """Read an inclusive range of seqs, of which one end may be open.

    :raises argparse.ArgumentTypeError: when *text* is none
    """
    match = _RANGE.fullmatch(text)
    if match is None or not (match["first"] or match["last"]):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a seq N nor a range N-M")
    first = int(match["first"]) if match["first"] else None
    last = int(match["last"]) if match["last"] else (None if match["dash"] else first)
    if max(first or 0, last or 0) > MAX_SEQ:
        raise argparse.ArgumentTypeError(f"no seq is above {MAX_SEQ}")
    if first is not None and last is not None and first > last:
        raise argparse.ArgumentTypeError(f"the range {text} ends before it begins")
    return first, last


def moment(text: str) -> float:
    """Read a time as wall clock seconds: ISO 8601, or how long ago it was.

    :raises argparse.ArgumentTypeError: when *text* is neither
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return time.time() - float(ago["count"]) * _UNITS[ago["unit"]]
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a time such as 2026-03-01T12:00:00Z nor one such as 30m"
        ) from error
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return when.timestamp()
