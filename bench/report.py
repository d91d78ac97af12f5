# SPDX-License-Identifier: Apache-2.0
"""The table for people and the JSON for programs."""

import collections.abc
import dataclasses
import typing

from bench import figures
from bench import floor

_SCENARIO = ("what", "size", "callers", "load", "mode", "bus")
_HEADINGS = (*_SCENARIO, "p50 ms", "p99 ms", "sent/s", "arrived/s")
_PARTS = ("sender", "receiver", "broker", "endpoint")
_TO = ("rabbit", "rabbit-quorum")
_MIB = 2**20
_TITLES = {
    "call-read": "call (read)",
    "call-save": "call (journaled save)",
    "cast": "cast",
    "notification": "notification",
    "fanout": "fanout to three",
}


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


def _scenario(result: figures.Result) -> tuple[str, ...]:
    return (
        _TITLES[result.kind],
        _size(result.size),
        str(result.callers),
        f"{result.rate:g}/s" if result.rate else "all",
        result.concurrency,
        result.bus + ("" if result.exact else " !"),
    )


def _result_row(result: figures.Result) -> tuple[str, ...]:
    return (
        *_scenario(result),
        number(result.p50_ms, 2),
        number(result.p99_ms, 2),
        number(result.sent_per_second, 0),
        number(result.arrived_per_second, 0),
    )


def _ratio_row(to: str, ratio: dict[str, float | None]) -> tuple[str, ...]:
    return ("", "", "", "", "", f"edge/{to}", *(number(value, 2) for value in ratio.values()))


def by_scenario(
    results: collections.abc.Iterable[figures.Result],
) -> list[dict[str, figures.Result]]:
    """The results of each scenario by bus, in the order in which they were run."""
    found: dict[tuple[object, ...], dict[str, figures.Result]] = {}
    for one in results:
        key = (one.concurrency, one.kind, one.size, one.callers, one.rate)
        found.setdefault(key, {})[one.bus] = one
    return list(found.values())


def table(results: list[figures.Result]) -> str:
    """The comparison, one line a bus and, where both ran, one of ratios."""
    rows: list[tuple[str, ...]] = [_HEADINGS]
    for by_bus in by_scenario(results):
        rows.extend(_result_row(one) for one in by_bus.values())
        for to in _TO:
            if {"edge", to} <= by_bus.keys():
                rows.append(_ratio_row(to, figures.ratios(by_bus["edge"], by_bus[to])))
    return "\n".join([*align(rows, len(_SCENARIO)), "", *_counts(results)])


def costs(results: list[figures.Result]) -> str:
    """What each process computed for a message, and how much memory it had at the end."""
    rows: list[tuple[str, ...]] = [
        (*_SCENARIO, *(f"{name} us" for name in _PARTS), *(f"{name} MiB" for name in _PARTS))
    ]
    for one in results:
        rows.append(
            (
                *_scenario(one),
                *(number(one.cpu_us.get(name), 0) for name in _PARTS),
                *(_mebibytes(one.memory_bytes.get(name)) for name in _PARTS),
            )
        )
    return "\n".join(align(rows, len(_SCENARIO)))


def _mebibytes(size: int | None) -> str:
    return "-" if size is None else number(size / _MIB, 0)


def _counts(results: list[figures.Result]) -> list[str]:
    inexact = [one for one in results if not one.exact or one.lost]
    lines = [
        f"{'-' if one.exact else '!'} {_TITLES[one.kind]}, {_size(one.size)}, "
        f"{one.callers} callers on {one.bus}: "
        f"of {one.sent} sent {one.counted_once} counted once, {one.lost} lost, "
        f"{one.repeated} repeated, {one.failed} raised {'; '.join(one.failures)}".rstrip()
        for one in inexact
    ]
    exact = len(results) - len(inexact)
    if exact:
        sent = sum(one.sent for one in results if one.exact and not one.lost)
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


def _same(result: figures.Result) -> dict[str, object]:
    names = ("concurrency", "kind", "size", "callers", "rate")
    return {name: getattr(result, name) for name in names}


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
            {"to": to, **_same(by_bus["edge"]), **figures.ratios(by_bus["edge"], by_bus[to])}
            for by_bus in by_scenario(results)
            for to in _TO
            if {"edge", to} <= by_bus.keys()
        ],
    }
