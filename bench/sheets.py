# SPDX-License-Identifier: Apache-2.0
"""What all pictures share: colours, names, and how a sheet is laid out."""

import collections.abc
import typing

from matplotlib import axes
from matplotlib import figure
from matplotlib import ticker

RABBIT, QUORUM, EDGE, BEHIND, LIMIT = "#c8623c", "#e0a458", "#2f6fab", "#69a84f", "#8c8c8c"
BUSES = {
    "rabbit": ("RabbitMQ", RABBIT),
    "rabbit-quorum": ("RabbitMQ, quorum queues", QUORUM),
    "edge": ("edge bus", EDGE),
    "edge, write_behind": ("edge bus, write_behind", BEHIND),
}
KINDS = {
    "call-read": "call (read)",
    "call-save": "call (journaled save)",
    "cast": "cast",
    "notification": "notification",
    "fanout": "fanout to three",
}
WIDTH = 9.0
ROOM_BELOW = 0.3
"""Inches for the line that says what it was measured on."""

Document = dict[str, typing.Any]


def sheet(
    titles: collections.abc.Sequence[str], height: float, **options: typing.Any
) -> tuple[figure.Figure, list[axes.Axes]]:
    """A figure and its axes, side by side, with a title each.

    :param height: inches
    """
    drawn = figure.Figure(figsize=(WIDTH, height), layout="constrained")
    room = ROOM_BELOW / height
    typing.cast(typing.Any, drawn.get_layout_engine()).set(rect=(0, room, 1, 1 - room))
    found = drawn.subplots(1, len(titles), **options)
    several = list(found) if len(titles) > 1 else [found]
    for axis, title in zip(several, titles, strict=True):
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.set_axisbelow(True)
    return drawn, several


def bars(
    axis: axes.Axes,
    labels: collections.abc.Sequence[str],
    series: collections.abc.Sequence[tuple[str, str, collections.abc.Sequence[float]]],
    form: str | collections.abc.Callable[[float], str] = "{:,.0f}",
) -> None:
    """Groups of bars, one group for each label.

    :param series: the name, the colour and the values of each
    :param form: how a value is written above its bar
    """
    axis.grid(axis="y", color="#e5e5e5", linewidth=0.6)
    width = 0.8 / len(series)
    for number, (name, colour, values) in enumerate(series):
        at = [place + (number - (len(series) - 1) / 2) * width for place in range(len(labels))]
        drawn = axis.bar(at, values, width * 0.94, color=colour, label=name)
        texts = [form.format(each) if isinstance(form, str) else form(each) for each in values]
        axis.bar_label(drawn, texts, fontsize=6.5, padding=1)
    axis.set_xticks(range(len(labels)), labels, fontsize=8)


def stacks(
    axis: axes.Axes,
    labels: collections.abc.Sequence[str],
    series: collections.abc.Sequence[tuple[str, str, collections.abc.Sequence[float]]],
) -> None:
    """One bar for each label, lying, with the parts of *series* one after the other."""
    axis.grid(axis="x", color="#e5e5e5", linewidth=0.6)
    left = [0.0] * len(labels)
    for name, colour, values in series:
        axis.barh(range(len(labels)), values, 0.7, left=left, color=colour, label=name)
        left = [before + value for before, value in zip(left, values, strict=True)]
    for row, value in enumerate(left):
        axis.annotate(f" {value:,.0f}", (value, row), fontsize=7, va="center")
    axis.set_yticks(range(len(labels)), labels, fontsize=7.5)
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.set_xlim(0, max([*left, 1.0]) * 1.22)
    axis.xaxis.set_major_locator(ticker.MaxNLocator(5))
    axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))


def milliseconds(value: float) -> str:
    """A time with two figures that count."""
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"


def short_bytes(value: float) -> str:
    """Bytes as kB or MB."""
    return f"{value / 1e6:.1f} MB" if value >= 1e6 else f"{value / 1e3:.0f} kB"


def sign(drawn: figure.Figure, document: Document) -> None:
    """Say below the picture what it was measured on."""
    machine, versions = document["machine"], document["versions"]
    text = (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']:g} GiB, "
        f"{machine['filesystem'].split()[0]}, load {machine['load_average']} before; "
        f"Python {versions['python']}, oslo.messaging {versions['oslo.messaging']}, "
        f"libzmq {versions['libzmq']}"
    )
    for name in ("rabbit", "nova", "nats"):
        if name in versions:
            text += f", {'nova ' if name == 'nova' else ''}{versions[name]}"
    drawn.text(0.01, 0.008, text, fontsize=6.2, color="#666666", ha="left", va="bottom")
