# SPDX-License-Identifier: Apache-2.0
"""``python -m bench plot``: pictures of what other runs have written with ``--json``.

The pictures are named after what they show. Files of the same command are drawn together, so that
a long measurement can be made in parts.
"""

import argparse
import collections.abc
import json
import pathlib
import sys
import typing

from matplotlib import figure

from bench import plot_buses
from bench import plot_far
from bench import sheets

Document = sheets.Document


def draw(document: Document, into: pathlib.Path, form: str = "svg") -> list[pathlib.Path]:
    """Draw what *document* holds, and return the files.

    :param into: existing directory
    :param form: svg or png
    :raises ValueError: when there is nothing in it that is known
    """
    drawn = []
    for name, (key, paint) in _PICTURES.items():
        if not document.get(key) or not _APPLIES.get(name, _always)(document):
            continue
        picture = paint(document)
        sheets.sign(picture, document)
        path = into / f"{name}.{form}"
        picture.savefig(path, facecolor="white", dpi=120)
        drawn.append(path)
    if not drawn:
        raise ValueError(f"no document of the benchmarks; it has {', '.join(document)}")
    return drawn


def merged(documents: collections.abc.Sequence[Document]) -> list[Document]:
    """One document for each command: its lists joined, the rest from the first."""
    found: dict[str, Document] = {}
    for document in documents:
        kind = next((key for key, _ in _PICTURES.values() if key in document), "")
        first = found.setdefault(kind, {})
        for name, value in document.items():
            if name in first and isinstance(value, list):
                first[name] = first[name] + value
            else:
                first.setdefault(name, value)
    return list(found.values())


def _drain(document: Document) -> figure.Figure:
    """Entries drained a second beside the least a drain can do, and what computes for them."""
    drains = document["drain"]
    titles = ("entries a second", "computing for an entry, microseconds")
    drawn, (rates, costs) = sheets.sheet(titles, 4.0)
    labels = [f"{one['entries']:,}" for one in drains]
    sheets.bars(
        rates,
        labels,
        [
            ("edge bus", sheets.EDGE, [one["per_second"] for one in drains]),
            ("rows and sockets alone", sheets.LIMIT, [one["limit_per_second"] for one in drains]),
        ],
    )
    rates.set_xlabel(f"entries of {drains[0]['size'] / 1024:g} KiB in the journal", fontsize=8)
    rates.margins(y=0.25)
    rates.legend(fontsize=7.5, loc="upper right")
    parts = (
        ("host", "drainer", sheets.EDGE),
        ("endpoint", "endpoint", sheets.LIMIT),
        ("conductor", "receiver", sheets.BEHIND),
    )
    series = [
        (name, colour, [one["cpu_us"][key] for one in drains]) for name, key, colour in parts
    ]
    sheets.stacks(costs, labels, series)
    costs.legend(fontsize=7.5, loc="lower right")
    return drawn


def _cut(document: Document) -> figure.Figure:
    """A save answered while cut off, and the longest call of a host at a cut."""
    local, outage = document["local"], document.get("outage", [])
    titles = ["a save answered while cut off, ms"]
    titles += ["longest call in a cut, s"] if outage else []
    drawn, several = sheets.sheet(titles, 3.6)
    labels = [f"{one['callers']} caller{'s' * (one['callers'] > 1)}" for one in local]
    series = [
        ("fdatasync, p50", sheets.LIMIT, [one["sync_p50_ms"] for one in local]),
        ("save, p50", sheets.EDGE, [one["p50_ms"] for one in local]),
        ("save, p99", sheets.BEHIND, [one["p99_ms"] for one in local]),
    ]
    sheets.bars(several[0], labels, series, sheets.milliseconds)
    if outage:
        threads = list(dict.fromkeys(each["thread"] for each in outage[0]["stalls"]))
        series = [
            (
                *sheets.BUSES[one["bus"]],
                [max(e["longest"] for e in one["stalls"] if e["thread"] == t) for t in threads],
            )
            for one in outage
        ]
        sheets.bars(several[1], threads, series, "{:.1f}")
    for axis in several:
        axis.margins(y=0.25)
        axis.legend(fontsize=7.5)
    return drawn


def _heal(document: Document) -> figure.Figure:
    """Reads and saves of a linked host while a fleet comes back."""
    runs = document["heal"]
    drawn, both = sheets.sheet(("reads of a linked host, s", "its saves, s"), 3.6)
    labels = [f"{one['backlog_at_once'] or 'all'} at once" for one in runs]
    for axis, what in zip(both, ("read", "save"), strict=True):
        found = [
            next(
                each
                for each in one["latencies"]
                if (each["phase"], each["what"]) == ("during", what)
            )
            for one in runs
        ]
        series = [
            (key.partition("_")[0], colour, [each[key] / 1000 for each in found])
            for key, colour in (("p50_ms", sheets.EDGE), ("p99_ms", sheets.RABBIT))
        ]
        sheets.bars(axis, labels, series, "{:.2g}")
        axis.set_yscale("log")
        axis.legend(fontsize=7.5)
    return drawn


def _store(document: Document) -> figure.Figure:
    """Messages kept and passed on a second, and what a disk is asked for them."""
    lines = document["store"]
    callers = list(dict.fromkeys(one["callers"] for one in lines))
    titles = ("kept and passed on, messages a second", "until it is kept, p50, ms")
    drawn, (rates, times) = sheets.sheet(titles, 3.8)
    names = list(dict.fromkeys(one["what"] for one in lines))
    colours = dict(zip(names, (sheets.EDGE, sheets.RABBIT, sheets.LIMIT), strict=False))
    labels = [f"{count} caller{'s' * (count > 1)}" for count in callers]
    for axis, key, form in (
        (rates, "per_second", "{:,.0f}"),
        (times, "p50_ms", sheets.milliseconds),
    ):
        series = [
            (name, colours[name], [one[key] for one in lines if one["what"] == name])
            for name in names
        ]
        sheets.bars(axis, labels, series, typing.cast(typing.Any, form))
        axis.margins(y=0.35)
    rates.legend(fontsize=7, loc="upper left")
    return drawn


_Paint = collections.abc.Callable[[Document], figure.Figure]
_PICTURES: dict[str, tuple[str, _Paint]] = {
    "comparison": ("ratios", plot_buses.ratios),
    "fixed-load": ("results", plot_buses.fixed_load),
    "costs": ("results", plot_buses.costs),
    "drain": ("drain", _drain),
    "cut": ("local", _cut),
    "wan": ("wan", plot_far.distances),
    "wan-parts": ("wan", plot_far.parts),
    "heal": ("heal", _heal),
    "fleet": ("fleet", plot_far.fleets),
    "store": ("store", _store),
}


def _always(document: Document) -> bool:
    return True


def _has_parts(document: Document) -> bool:
    buses = {one["bus"] for one in document["wan"] if one.get("parts")}
    return {"rabbit", "edge"} <= buses


_APPLIES: dict[str, collections.abc.Callable[[Document], bool]] = {
    "comparison": lambda document: any(not one["rate"] for one in document["ratios"]),
    "costs": lambda document: any(not one["rate"] for one in document["results"]),
    "fixed-load": lambda document: any(one["rate"] for one in document["results"]),
    "wan-parts": _has_parts,
}
"""What a picture needs beside its list."""


def main(arguments: list[str]) -> int:
    """Draw the files that are named.

    :returns: 0; 2 when one cannot be read or is not of the benchmarks
    """
    parser = argparse.ArgumentParser(prog="python -m bench plot", description=__doc__)
    add = parser.add_argument
    add("files", type=pathlib.Path, nargs="+", metavar="FILE.json", help="written with --json")
    into_help = "directory for the pictures (the current one)"
    add("--into", type=pathlib.Path, default=pathlib.Path("."), metavar="DIR", help=into_help)
    add("--form", choices=["svg", "png"], default="svg", help="of the pictures (svg)")
    parsed = parser.parse_args(arguments)
    documents = []
    path: object = ""
    try:
        for path in parsed.files:
            documents.append(json.loads(path.read_text()))
        for document in merged(documents):
            path = ", ".join(document)
            for picture in draw(document, parsed.into, parsed.form):
                print(picture)
    except (OSError, ValueError, KeyError) as error:
        print(f"bench plot: {path}: {error!r}", file=sys.stderr)
        return 2
    return 0
