# SPDX-License-Identifier: Apache-2.0
"""The timeline of a site's cut as a picture: lanes over time, the events numbered."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from matplotlib import figure
from matplotlib import patches
from matplotlib import ticker

from tests.nova import timeline
from tests.nova.site_report import Report
from tests.nova.timeline import Event
from tests.nova.timeline import Sample
from tests.nova.timeline import Timeline

_GOOD, _WAITING, _BAD, _NEUTRAL = "#8fce8f", "#f3c969", "#e07a6c", "#d9d9d9"
_WORDS = {
    "linked": _GOOD,
    "cut": _BAD,
    timeline.SERVING: _GOOD,
    timeline.STARTING: _WAITING,
    "up": _GOOD,
    timeline.DOWN: _BAD,
}
_COLOURS = {
    "running": _GOOD,
    "off": "#7fa7d6",
    "crashed": _BAD,
    "a task under way": _WAITING,
    "error": "#b0343c",
    "gone": "#ffffff",
    "other": _NEUTRAL,
}
_EDGE = {"RUNNING": "running", "SHUTDOWN": "off", "CRASHED": "crashed", "gone": "gone"}
_CENTRE = {"ACTIVE": "running", "SHUTOFF": "off", "ERROR": "error", "gone": "gone"}
_STRIP = 0.4
_WIDTH_INCHES = 13.0
_LANE_INCHES = 0.36
_JOURNAL_INCHES = 1.3
_KEY_LINE_INCHES = 0.2
_MARGIN_INCHES = 1.9
_FLAGS_INCHES = 0.32
_KEY_COLUMNS = 3
_FROM_SECONDS = -5.0
_FLAG_SECONDS_SHARE = 0.022


def draw(report: Report, path: pathlib.Path, title: str) -> pathlib.Path:
    """Write the picture, PNG or SVG by the path's suffix, and return the path."""
    samples = [each for each in report.timeline.samples if each.at >= _FROM_SECONDS]
    report = dataclasses.replace(report, timeline=Timeline(samples, report.timeline.events))
    lanes = 3 + len(report.outcomes)
    key_lines = -(-len(report.timeline.events) // _KEY_COLUMNS)
    lanes_inches = _LANE_INCHES * lanes
    key_inches = _KEY_LINE_INCHES * key_lines
    height = lanes_inches + _JOURNAL_INCHES + key_inches + _MARGIN_INCHES
    sheet = figure.Figure(figsize=(_WIDTH_INCHES, height))
    sheet.suptitle(title, x=0.02, y=1 - 0.12 / height, ha="left", va="top", fontsize=12)
    grid = sheet.add_gridspec(
        2,
        1,
        height_ratios=[lanes_inches, _JOURNAL_INCHES],
        hspace=0.06,
        left=0.2,
        right=0.985,
        top=1 - 1.2 / height,
        bottom=(key_inches + 0.65) / height,
    )
    states, journal = grid.subplots(sharex=True)
    _draw_lanes(states, report, lanes_inches)
    _draw_journal(journal, report.timeline.samples)
    _draw_events(states, journal, report.timeline.events)
    _draw_key(sheet, report.timeline.events, height)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.savefig(path, dpi=110)
    return path


def _draw_lanes(axes: Any, report: Report, inches: float) -> None:
    """Draw the lanes into axes that are so many inches high."""
    samples = report.timeline.samples
    names = ["link", "nova-compute", "service, says nova-api"]
    words: tuple[Callable[[Sample], str], ...] = (
        lambda sample: "linked" if sample.linked else "cut",
        lambda sample: sample.compute,
        lambda sample: "up" if sample.service_up else "down",
    )
    for lane, word in enumerate(words):
        _strip(axes, samples, lane, 2 * _STRIP, _coloured(word))
        _label(axes, samples, lane, word)
    for lane, outcome in enumerate(report.outcomes, start=len(names)):
        names.append(outcome.role.name)
        _draw_server(axes, samples, lane, outcome.server_id)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="x", labelbottom=False)
    axes.legend(
        handles=[
            patches.Patch(facecolor=colour, edgecolor="black", linewidth=0.4, label=name)
            for name, colour in _COLOURS.items()
        ],
        title="servers: above, the hypervisor at the edge; below, nova-api",
        title_fontsize=8,
        fontsize=8,
        ncols=len(_COLOURS),
        loc="lower right",
        bbox_to_anchor=(1.0, 1 + _FLAGS_INCHES / inches),
        frameon=False,
        borderaxespad=0.1,
    )


def _coloured(word: Callable[[Sample], str]) -> Callable[[Sample], str]:
    return lambda sample: _WORDS[word(sample)]


def _draw_server(axes: Any, samples: Sequence[Sample], lane: int, server_id: str) -> None:
    def at_edge(sample: Sample) -> str:
        return _COLOURS[_EDGE.get(sample.edge[server_id], "other")]

    def at_centre(sample: Sample) -> str:
        state = sample.centre[server_id]
        if state.task_state:
            return _COLOURS["a task under way"]
        return _COLOURS[_CENTRE.get(state.status, "other")]

    _strip(axes, samples, lane - _STRIP / 2, _STRIP, at_edge)
    _strip(axes, samples, lane + _STRIP / 2, _STRIP, at_centre)


def _strip(
    axes: Any,
    samples: Sequence[Sample],
    middle: float,
    height: float,
    colour: Callable[[Sample], str],
) -> None:
    for value, began, ended in _spans(samples, colour):
        axes.broken_barh(
            [(began, ended - began)],
            (middle - height / 2, height),
            facecolors=value,
            edgecolors="#00000030",
            linewidth=0.4,
        )


def _label(axes: Any, samples: Sequence[Sample], lane: int, word: Callable[[Sample], str]) -> None:
    whole = samples[-1].at - samples[0].at
    for value, began, ended in _spans(samples, word):
        if ended - began > whole / 25:
            axes.text((began + ended) / 2, lane, value, ha="center", va="center", fontsize=8)


def _spans(
    samples: Sequence[Sample], value: Callable[[Sample], str]
) -> list[tuple[str, float, float]]:
    """Return what holds from when to when."""
    spans: list[tuple[str, float, float]] = []
    for now, later in itertools.pairwise(samples):
        if spans and spans[-1][0] == value(now):
            spans[-1] = (value(now), spans[-1][1], later.at)
        else:
            spans.append((value(now), now.at, later.at))
    return spans


def _draw_journal(axes: Any, samples: Sequence[Sample]) -> None:
    depths = [(sample.at, sample.pending) for sample in samples if sample.pending is not None]
    if depths:
        axes.step(*zip(*depths, strict=True), where="post", color="#444444", linewidth=1.2)
        axes.fill_between(*zip(*depths, strict=True), step="post", color="#bbbbbb")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(ticker.MaxNLocator(nbins=4, integer=True))
    else:
        axes.text(0.5, 0.5, "no journal", transform=axes.transAxes, ha="center", va="center")
        axes.set_yticks([])
    axes.set_ylabel("entries in the\nedge's journal", fontsize=9)
    axes.set_xlabel("seconds since the cut", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.set_xlim(samples[0].at, samples[-1].at)


def _draw_events(states: Any, journal: Any, events: Sequence[Event]) -> None:
    began, ended = journal.get_xlim()
    beside = (ended - began) * _FLAG_SECONDS_SHARE
    flag_at = began
    for number, event in enumerate(events, start=1):
        for axes in (states, journal):
            axes.axvline(event.at, color="black", linewidth=0.7, linestyle=":")
        flag_at = max(event.at, flag_at + beside)
        states.annotate(
            str(number),
            xy=(event.at, -0.5),
            xytext=(flag_at, -1.0),
            fontsize=8,
            ha="center",
            va="center",
            annotation_clip=False,
            bbox={"boxstyle": "circle,pad=0.15", "facecolor": "white", "linewidth": 0.6},
            arrowprops={"arrowstyle": "-", "linewidth": 0.5},
        )


def _draw_key(sheet: figure.Figure, events: Sequence[Event], height: float) -> None:
    lines = -(-len(events) // _KEY_COLUMNS)
    for index, event in enumerate(events):
        column, line = divmod(index, lines)
        sheet.text(
            0.02 + column * 0.96 / _KEY_COLUMNS,
            (0.12 + _KEY_LINE_INCHES * (lines - 1 - line)) / height,
            f"{index + 1}: {round(event.at)} s, {event.what}",
            fontsize=8.5,
            va="bottom",
        )
