# SPDX-License-Identifier: Apache-2.0
"""The table for people and the JSON for programs."""

import collections.abc
import dataclasses
import typing

from bench import figures
from bench import floor

_HEADINGS = ("what", "size", "callers", "bus", "p50 ms", "p99 ms", "sent/s", "arrived/s")
_TITLES = {
    "call-read": "call (read)",
    "call-save": "call (journaled save)",
    "cast": "cast",
    "notification": "notification",
}
_TEXT_COLUMNS = 4


def number(value: float | None, digits: int) -> str:
    """A figure with its thousands apart, or a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def _size(size: int) -> str:
    return f"{size / 1024:g} KiB"


def align(rows: list[tuple[str, ...]], text_columns: int) -> list[str]:
    """The rows as lines with their columns aligned, so many of them to the left."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if position < text_columns else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _result_row(result: figures.Result) -> tuple[str, ...]:
    return (
        _TITLES[result.kind],
        _size(result.size),
        str(result.callers),
        result.bus + ("" if result.exact else " !"),
        number(result.p50_ms, 2),
        number(result.p99_ms, 2),
        number(result.sent_per_second, 0),
        number(result.arrived_per_second, 0),
    )


def _ratio_row(ratio: dict[str, float | None]) -> tuple[str, ...]:
    return ("", "", "", "edge/rabbit", *(number(value, 2) for value in ratio.values()))


def pair(
    results: collections.abc.Iterable[figures.Result],
) -> list[tuple[figures.Scenario, dict[str, figures.Result]]]:
    """The results of each scenario by bus, in the order in which they were run."""
    found: dict[figures.Scenario, dict[str, figures.Result]] = {}
    for one in results:
        scenario = figures.Scenario(one.kind, one.size, one.callers)
        found.setdefault(scenario, {})[one.bus] = one
    return list(found.items())


def table(results: list[figures.Result]) -> str:
    """The comparison, one line a bus and, where both ran, one of ratios."""
    rows: list[tuple[str, ...]] = [_HEADINGS]
    for _, by_bus in pair(results):
        rows.extend(_result_row(one) for one in by_bus.values())
        if {"edge", "rabbit"} <= by_bus.keys():
            rows.append(_ratio_row(figures.ratios(by_bus["edge"], by_bus["rabbit"])))
    return "\n".join([*align(rows, _TEXT_COLUMNS), "", *_counts(results)])


def _counts(results: list[figures.Result]) -> list[str]:
    inexact = [one for one in results if not one.exact]
    lines = [
        f"! {_TITLES[one.kind]}, {_size(one.size)}, {one.callers} callers on {one.bus}: "
        f"of {one.sent} sent {one.counted_once} counted once, {one.lost} lost, "
        f"{one.repeated} repeated, {one.failed} raised {'; '.join(one.failures)}".rstrip()
        for one in inexact
    ]
    exact = len(results) - len(inexact)
    if exact:
        sent = sum(one.sent for one in results if one.exact)
        lines.append(
            f"every message counted exactly once in {exact} of {len(results)} lines: {sent}"
        )
    return lines


def floors(measured: list[floor.Floor]) -> str:
    """The floors as a table."""
    rows: list[tuple[str, ...]] = [("floor", "p50 ms", "p99 ms", "per s")]
    for one in measured:
        rows.append(
            (
                one.what,
                number(one.p50_ms, 3),
                number(one.p99_ms, 3),
                number(one.per_second, 0),
            )
        )
    return "\n".join(align(rows, 1))


def as_json(
    machine: dict[str, object],
    versions: dict[str, str],
    settings: dict[str, object],
    measured: list[floor.Floor],
    results: list[figures.Result],
) -> dict[str, typing.Any]:
    """Everything that was measured, and on what, for ``--json``."""
    return {
        "machine": machine,
        "versions": versions,
        "settings": settings,
        "floor": [dataclasses.asdict(one) for one in measured],
        "results": [{**dataclasses.asdict(one), "exact": one.exact} for one in results],
        "ratios": [
            {**dataclasses.asdict(scenario), **figures.ratios(by_bus["edge"], by_bus["rabbit"])}
            for scenario, by_bus in pair(results)
            if {"edge", "rabbit"} <= by_bus.keys()
        ],
    }
