# SPDX-License-Identifier: Apache-2.0
"""The pictures of the comparison of the buses."""

import collections.abc
import typing

from matplotlib import axes
from matplotlib import figure
from matplotlib import ticker

from bench import sheets

_ROW_INCHES = 0.3
_BETTER, _WORSE = sheets.EDGE, sheets.RABBIT
_MARKS = {"rabbit": "o", "rabbit-quorum": "s"}
_PARTS = {
    "sender": sheets.EDGE,
    "endpoint": sheets.LIMIT,
    "broker": sheets.RABBIT,
    "receiver": sheets.BEHIND,
}
_AIMS = (0.5, 3.0)
"""For the time of a journaled save of one caller, and for the rate of casts of sixteen."""

_Row = dict[str, typing.Any]


def ratios(document: sheets.Document) -> figure.Figure:
    """Median times and rates at saturation in multiples of RabbitMQ's, a row each."""
    rows = _rows([one for one in document["ratios"] if not one["rate"]])
    titles = ("time of a send, p50", "messages arrived a second")
    drawn, (times, rates) = sheets.sheet(titles, 1.3 + _ROW_INCHES * len(rows), sharey=True)
    for axis, name, less_is_better in (
        (times, "p50_ms", True),
        (rates, "arrived_per_second", False),
    ):
        for place, (_, by_bus) in enumerate(rows):
            for bus, one in by_bus.items():
                _mark(axis, place, one[name], _MARKS[bus], less_is_better)
        _scale(axis, [one[name] for _, by_bus in rows for one in by_bus.values()])
    for axis, aim in zip((times, rates), _AIMS, strict=True):
        axis.axvline(aim, color="#69a84f", linewidth=1, linestyle=":")
    drawn.suptitle(
        "the edge bus in multiples of RabbitMQ (round) and of it with quorum queues (square); "
        "dotted: aimed at",
        fontsize=8,
    )
    times.set_yticks(range(len(rows)), [label for label, _ in rows], fontsize=7.5)
    times.set_ylim(len(rows) - 0.4, -0.6)
    return drawn


def _rows(found: list[_Row]) -> list[tuple[str, dict[str, _Row]]]:
    modes = {one["concurrency"] for one in found}
    sizes = {one["size"] for one in found}
    rows: dict[str, dict[str, _Row]] = {}
    for one in found:
        parts = [sheets.KINDS[one["kind"]]]
        parts += [f"{one['size'] / 1024:g} KiB"] if len(sizes) > 1 else []
        parts += [f"{one['callers']} caller{'s' * (one['callers'] > 1)}"]
        parts += [one["concurrency"]] if len(modes) > 1 else []
        rows.setdefault(", ".join(parts), {})[one["to"]] = one
    return list(rows.items())


def _mark(axis: axes.Axes, place: int, value: float | None, form: str, less: bool) -> None:
    if not value:
        return
    colour = _BETTER if (value <= 1) == less else _WORSE
    # Two in a row stand one above the other.
    at = place + (0.17 if form == "s" else -0.17)
    axis.plot([1, value], [at, at], color=colour, linewidth=1.4, alpha=0.6)
    axis.plot([value], [at], form, color=colour, markersize=4.5)
    outwards = 1 if value >= 1 else -1
    axis.annotate(
        f"{value:.2g}",
        (value, at),
        fontsize=6.5,
        va="center",
        ha="left" if outwards > 0 else "right",
        xytext=(5 * outwards, 0),
        textcoords="offset points",
    )


def _scale(axis: axes.Axes, values: collections.abc.Sequence[float | None]) -> None:
    known = [value for value in values if value]
    axis.axvline(1.0, color="#333333", linewidth=1)
    axis.grid(axis="x", color="#e5e5e5", linewidth=0.6)
    axis.set_xscale("log")
    low, high = min([*known, 0.5]), max([*known, 2.0])
    room = (high / low) ** 0.16
    axis.set_xlim(low / room, high * room)
    marks = (1, 2, 5) if high / low < 100 else (1,)
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=marks))
    axis.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axis.xaxis.set_minor_locator(ticker.NullLocator())


def fixed_load(document: sheets.Document) -> figure.Figure:
    """Times of a send while so many messages a second are due, whatever becomes of them."""
    found = [one for one in document["results"] if one["rate"]]
    mode, size = found[0]["concurrency"], _middle(found)
    found = [one for one in found if (one["concurrency"], one["size"]) == (mode, size)]
    rate, kinds = found[0]["rate"], list(dict.fromkeys(one["kind"] for one in found))
    titles = [f"{name} of a send at {rate:g} a second, ms" for name in ("p50", "p99")]
    drawn, both = sheets.sheet(titles, 3.6)
    for axis, name in zip(both, ("p50_ms", "p99_ms"), strict=True):
        series = []
        for bus, (title, colour) in sheets.BUSES.items():
            own = {one["kind"]: one[name] or 0.0 for one in found if one["bus"] == bus}
            if own:
                series.append((title, colour, [own.get(kind, 0.0) for kind in kinds]))
        labels = [sheets.KINDS[kind].replace(" (", "\n(").replace(" to", "\nto") for kind in kinds]
        sheets.bars(axis, labels, series, sheets.milliseconds)
        axis.margins(y=0.55)
        axis.tick_params(axis="x", labelsize=7)
    title = f"{size / 1024:g} KiB, {mode}"
    both[0].legend(fontsize=7, loc="upper right", title=title, title_fontsize=7)
    return drawn


def costs(document: sheets.Document) -> figure.Figure:
    """What the processes compute for a message, at saturation with the most callers."""
    found = [one for one in document["results"] if not one["rate"]]
    mode, size = found[0]["concurrency"], _middle(found)
    callers = max(one["callers"] for one in found)
    chosen = (mode, size, callers)
    found = [one for one in found if (one["concurrency"], one["size"], one["callers"]) == chosen]
    found.sort(key=lambda one: list(sheets.KINDS).index(one["kind"]))
    title = (
        f"computing for a message, microseconds ({size / 1024:g} KiB, {callers} callers, {mode})"
    )
    drawn, (axis,) = sheets.sheet([title], 1.3 + 0.24 * len(found))
    labels = [f"{sheets.KINDS[one['kind']]}, {sheets.BUSES[one['bus']][0]}" for one in found]
    series = [
        (name, colour, [one["cpu_us"].get(name, 0.0) for one in found])
        for name, colour in _PARTS.items()
    ]
    sheets.stacks(axis, labels, series)
    axis.legend(fontsize=7.5)
    return drawn


def _middle(found: list[_Row]) -> int:
    sizes = sorted({one["size"] for one in found})
    return int(sizes[len(sizes) // 2])
