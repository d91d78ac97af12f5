# SPDX-License-Identifier: Apache-2.0
"""``python -m bench plot``: pictures of what other runs have written with ``--json``.

One picture for each file, named after what is in it: comparison, drain, wan or heal.
"""

import argparse
import collections.abc
import json
import pathlib
import sys
import typing

from matplotlib import axes
from matplotlib import figure
from matplotlib import ticker

_RABBIT, _EDGE, _BEHIND, _LIMIT = "#c8623c", "#2f6fab", "#69a84f", "#8c8c8c"
_BETTER, _WORSE = "#2f6fab", "#c8623c"
_COLOURS = {"rabbit": _RABBIT, "edge": _EDGE, "edge, write_behind": _BEHIND}
_NAMES = {"rabbit": "RabbitMQ", "edge": "edge bus", "edge, write_behind": "edge bus, write_behind"}
_TITLES = {
    "call-read": "call (read)",
    "call-save": "call (journaled save)",
    "cast": "cast",
    "notification": "notification",
}
_INCHES = (9.0, 4.2)
_ROW_INCHES = 0.26

Document = dict[str, typing.Any]


def draw(document: Document, into: pathlib.Path, form: str = "svg") -> pathlib.Path:
    """Draw what *document* holds, and return the file.

    :param into: existing directory
    :param form: svg or png
    :raises ValueError: when it is none of the documents that are known
    """
    for key, paint in _KNOWN.items():
        if key in document:
            sheet = paint(document)
            _sign(sheet, document)
            path = into / f"{_FILES[key]}.{form}"
            sheet.savefig(path, facecolor="white", dpi=120)
            return path
    raise ValueError(f"no document of the benchmarks; it has {', '.join(document)}")


def _sign(sheet: figure.Figure, document: Document) -> None:
    machine, versions = document["machine"], document["versions"]
    text = (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['filesystem'].split()[0]}, "
        f"load {machine['load_average']}; Python {versions['python']}, "
        f"oslo.messaging {versions['oslo.messaging']}, pyzmq {versions['pyzmq']}"
    )
    if "rabbit" in versions:
        text += f", {versions['rabbit']}"
    sheet.text(0.01, 0.008, text, fontsize=6.5, color="#666666", ha="left", va="bottom")


def _comparison(document: Document) -> figure.Figure:
    """Median times and rates in multiples of RabbitMQ's, a row each; blue is better."""
    ratios = document["ratios"]
    height = 1.5 + _ROW_INCHES * len(ratios)
    sheet = figure.Figure(figsize=(_INCHES[0], height), layout="constrained")
    sheet.get_layout_engine().set(rect=(0, 0.3 / height, 1, 1 - 0.3 / height))
    times, rates = sheet.subplots(1, 2, sharey=True)
    labels = [
        f"{_TITLES[one['kind']]}, {one['size'] / 1024:g} KiB, {one['callers']} callers"
        for one in ratios
    ]
    for axis, name, title, sign in (
        (times, "p50_ms", "time of a send, p50", -1),
        (rates, "arrived_per_second", "messages arrived a second", 1),
    ):
        _diverge(axis, [one[name] for one in ratios], sign)
        axis.set_title(f"{title}\nedge bus in multiples of RabbitMQ", fontsize=9)
    times.set_yticks(range(len(ratios)), labels, fontsize=7.5)
    times.invert_yaxis()
    return sheet


def _diverge(axis: axes.Axes, values: list[float | None], sign: int) -> None:
    """Bars from 1 to each value on a logarithmic axis.

    :param sign: 1 where more is better, -1 where less is
    """
    known = [value for value in values if value]
    for row, value in enumerate(values):
        if value:
            colour = _BETTER if (value - 1) * sign >= 0 else _WORSE
            axis.barh(row, value - 1, left=1, color=colour, height=0.7)
            outwards = 1 if value >= 1 else -1
            axis.annotate(
                f"{value:.2g}",
                (value, row),
                fontsize=7,
                va="center",
                ha="left" if outwards > 0 else "right",
                xytext=(3 * outwards, 0),
                textcoords="offset points",
            )
    axis.axvline(1.0, color="#333333", linewidth=1)
    axis.set_xscale("log")
    axis.set_xlim(min([*known, 1.0]) / 1.8, max([*known, 1.0]) * 1.8)
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axis.xaxis.set_minor_locator(ticker.NullLocator())
    axis.tick_params(labelsize=8)


def _two(titles: tuple[str, str]) -> tuple[figure.Figure, list[axes.Axes]]:
    sheet = figure.Figure(figsize=_INCHES, layout="constrained")
    sheet.get_layout_engine().set(rect=(0, 0.06, 1, 0.94))
    pair = list(sheet.subplots(1, 2))
    for axis, title in zip(pair, titles, strict=True):
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(axis="y", color="#e5e5e5", linewidth=0.6)
        axis.set_axisbelow(True)
    return sheet, pair


def _drain(document: Document) -> figure.Figure:
    drains = document["drain"]
    sheet, (rates, costs) = _two(("entries a second", "computing for an entry, microseconds"))
    labels = [f"{one['entries']:,}" for one in drains]
    places = range(len(drains))
    for shift, key, colour, name in (
        (-0.2, "per_second", _EDGE, "edge bus"),
        (0.2, "limit_per_second", _LIMIT, "rows and sockets alone"),
    ):
        values = [one[key] for one in drains]
        bars = rates.bar([at + shift for at in places], values, 0.38, color=colour, label=name)
        rates.bar_label(bars, fmt="{:,.0f}", fontsize=7)
    below = [0.0] * len(drains)
    parts = (("drainer", "host"), ("endpoint", "endpoint"), ("receiver", "conductor"))
    for (key, name), colour in zip(parts, (_EDGE, _LIMIT, _BEHIND), strict=True):
        values = [one["cpu_us"][key] for one in drains]
        costs.bar(places, values, 0.5, bottom=below, color=colour, label=name)
        below = [low + value for low, value in zip(below, values, strict=True)]
    for axis in (rates, costs):
        axis.set_xticks(places, labels)
        axis.set_xlabel(f"entries of {drains[0]['size'] / 1024:g} KiB in the journal", fontsize=8)
        axis.margins(y=0.25)
        axis.legend(fontsize=7.5)
    return sheet


def _wan(document: Document) -> figure.Figure:
    lives = [one for one in document["wan"] if one["what"] != "idle"]
    idle = [one for one in document["wan"] if one["what"] == "idle"]
    sheet, (times, carried) = _two(("a server's whole life, seconds", "bytes on the links"))
    buses = list(dict.fromkeys(one["bus"] for one in lives))
    for bus in buses:
        own = sorted((one["round_trip_ms"], one["seconds"]) for one in lives if one["bus"] == bus)
        times.plot(*zip(*own, strict=True), "o-", color=_COLOURS[bus], label=_NAMES[bus])
    times.set_xlabel("round trip, milliseconds", fontsize=8)
    times.set_ylim(bottom=0)
    times.legend(fontsize=7.5)
    groups: list[tuple[str, dict[str, float]]] = [
        ("one life", {bus: _mean_bytes(lives, bus) for bus in buses}),
        ("an idle hour", {one["bus"]: _bytes(one) * 3600 / one["seconds"] for one in idle}),
    ]
    width = 0.8 / len(buses)
    for number, bus in enumerate(buses):
        values = [by_bus.get(bus, 0.0) for _, by_bus in groups]
        at = [place + (number - (len(buses) - 1) / 2) * width for place in range(len(groups))]
        bars = carried.bar(at, values, width * 0.95, color=_COLOURS[bus])
        carried.bar_label(bars, [_short(value) for value in values], fontsize=7)
    carried.set_yscale("log")
    carried.set_xticks(range(len(groups)), [name for name, _ in groups])
    return sheet


def _bytes(one: dict[str, typing.Any]) -> float:
    return float(one["up_bytes"] + one["down_bytes"])


def _mean_bytes(lives: list[dict[str, typing.Any]], bus: str) -> float:
    own = [_bytes(one) for one in lives if one["bus"] == bus]
    return sum(own) / len(own)


def _short(value: float) -> str:
    return f"{value / 1e6:.1f} MB" if value >= 1e6 else f"{value / 1e3:.0f} kB"


def _heal(document: Document) -> figure.Figure:
    runs = document["heal"]
    sheet, (reads, saves) = _two(("reads of a linked host, seconds", "its saves, seconds"))
    labels = [f"{one['backlog_at_once'] or 'all'} at once" for one in runs]
    for axis, what in ((reads, "read"), (saves, "save")):
        for shift, key, colour in ((-0.2, "p50_ms", _EDGE), (0.2, "p99_ms", _RABBIT)):
            values = [_during(one, what)[key] / 1000 for one in runs]
            at = [place + shift for place in range(len(runs))]
            bars = axis.bar(at, values, 0.38, color=colour, label=key.partition("_")[0])
            axis.bar_label(bars, fmt="{:.2g}", fontsize=7)
        axis.set_yscale("log")
        axis.set_xticks(range(len(runs)), labels, fontsize=8)
        axis.legend(fontsize=7.5)
    return sheet


def _during(run: dict[str, typing.Any], what: str) -> dict[str, float]:
    found: dict[str, float] = next(
        one for one in run["latencies"] if (one["phase"], one["what"]) == ("during", what)
    )
    return found


_KNOWN: dict[str, collections.abc.Callable[[Document], figure.Figure]] = {
    "ratios": _comparison,
    "drain": _drain,
    "wan": _wan,
    "heal": _heal,
}
_FILES = {"ratios": "comparison", "drain": "drain", "wan": "wan", "heal": "heal"}


def main(arguments: list[str]) -> int:
    """Draw the files that are named.

    :returns: 0; 2 when one cannot be read or is not of the benchmarks
    """
    parser = argparse.ArgumentParser(prog="python -m bench plot", description=__doc__)
    parser.add_argument("files", type=pathlib.Path, nargs="+", metavar="FILE.json")
    parser.add_argument("--into", type=pathlib.Path, default=pathlib.Path("."), metavar="DIR")
    parser.add_argument("--form", choices=["svg", "png"], default="svg")
    parsed = parser.parse_args(arguments)
    for path in parsed.files:
        try:
            print(draw(json.loads(path.read_text()), parsed.into, parsed.form))
        except (OSError, ValueError, KeyError) as error:
            print(f"bench plot: {path}: {error!r}", file=sys.stderr)
            return 2
    return 0
