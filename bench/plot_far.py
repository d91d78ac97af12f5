# SPDX-License-Identifier: Apache-2.0
"""The pictures of far computes and of fleets."""

import typing

from matplotlib import figure

from bench import sheets

_LARGEST = 14
_MIB = 2**20

_Line = dict[str, typing.Any]


def distances(document: sheets.Document) -> figure.Figure:
    """How long a server's life takes over the links, and what it puts on them."""
    lives = [one for one in document["wan"] if one["what"] != "idle"]
    idle = [one for one in document["wan"] if one["what"] == "idle"]
    titles = ("a server's whole life, seconds", "bytes on the links, both ways")
    drawn, (times, carried) = sheets.sheet(titles, 4.2)
    links = sorted({_link(one) for one in lives})
    series = []
    for bus, (name, colour) in sheets.BUSES.items():
        own = {_link(one): one["seconds"] for one in lives if one["bus"] == bus}
        if own:
            series.append((name, colour, [own.get(link, 0.0) for link in links]))
    sheets.bars(times, [_said(link) for link in links], series, sheets.milliseconds)
    times.tick_params(axis="x", labelsize=7)
    times.margins(y=0.3)
    times.legend(fontsize=7.5, loc="upper left")
    series = []
    for bus, (name, colour) in sheets.BUSES.items():
        own_lives = [_bytes(one) for one in lives if one["bus"] == bus]
        hours = [_bytes(one) * 3600 / one["seconds"] for one in idle if one["bus"] == bus]
        if own_lives and hours:
            values = [sum(own_lives) / len(own_lives), sum(hours) / len(hours)]
            series.append((name, colour, values))
    sheets.bars(carried, ["one life", "an idle hour"], series, sheets.short_bytes)
    carried.set_yscale("log")
    carried.yaxis.set_major_formatter(lambda value, _: sheets.short_bytes(value))
    carried.margins(y=0.12)
    return drawn


_Link = tuple[float, float, float]


def _link(one: _Line) -> _Link:
    return one["round_trip_ms"], one.get("loss_percent", 0.0), one["bits_per_second"] or 0.0


def _said(link: _Link) -> str:
    round_trip, loss, bits = link
    text = f"{round_trip:g} ms"
    text += f"\n{loss:g} % lost" if loss else ""
    return text + (f"\n{bits / 1e6:g} Mbit/s" if bits else "")


def _bytes(one: _Line) -> float:
    return float(one["up_bytes"] + one["down_bytes"])


def parts(document: sheets.Document) -> figure.Figure:
    """What the bytes of a life were on both buses, the largest kinds of the edge bus."""
    sums: dict[str, dict[str, float]] = {"rabbit": {}, "edge": {}}
    for bus, by_kind in sums.items():
        lives = [one for one in document["wan"] if one["bus"] == bus and one["what"] != "idle"]
        for one in lives:
            for kind, part in one["parts"].items():
                name = _plain(kind)
                size = (part["up_bytes"] + part["down_bytes"]) / len(lives)
                by_kind[name] = by_kind.get(name, 0.0) + size
    kinds = sorted(sums["edge"], key=lambda kind: -sums["edge"][kind])[:_LARGEST]
    titles = [
        f"{sheets.BUSES[bus][0]}: bytes of a life, {sheets.short_bytes(sum(by_kind.values()))}"
        for bus, by_kind in sums.items()
    ]
    drawn, both = sheets.sheet(titles, 1.4 + 0.24 * (len(kinds) + 1), sharey=True)
    for axis, (bus, by_kind) in zip(both, sums.items(), strict=True):
        rest = sum(by_kind.values()) - sum(by_kind.get(kind, 0.0) for kind in kinds)
        values = [*(by_kind.get(kind, 0.0) for kind in kinds), rest]
        labels = [*kinds, "everything else"]
        sheets.stacks(axis, labels, [(bus, sheets.BUSES[bus][1], values)])
    return drawn


_SAME = {"call": "", "cast": "", "Deliver": "", "Fanout": "", "reply": "Reply"}


def _plain(kind: str) -> str:
    """One name for what both buses carry under different ones."""
    first, _, method = kind.partition(" ")
    return f"{_SAME.get(first, first)} {method}".strip()


def fleets(document: sheets.Document) -> figure.Figure:
    """An endpoint's memory, what its heartbeats cost it, and the return of all sessions."""
    runs = document["fleet"]
    labels = [_fleet(one["plan"]) for one in runs]
    titles = ("an endpoint's memory, MiB", "computing, s per 1,000", "back after a kill, s")
    drawn, (memory, cost, storm) = sheets.sheet(titles, 3.9)
    sheets.bars(
        memory,
        labels,
        [
            ("without a session", sheets.LIMIT, [_mib(one, "empty") for one in runs]),
            ("with all, after traffic", sheets.EDGE, [_mib(one, "steady") for one in runs]),
        ],
    )
    sheets.bars(
        cost,
        labels,
        [
            (name, colour, [one[name]["cpu_per_thousand"] or 0.0 for one in runs])
            for name, colour in (("pings", sheets.LIMIT), ("reports", sheets.EDGE))
        ],
        "{:.2f}",
    )
    sheets.bars(
        storm,
        labels,
        [
            (name, colour, [one["storm"][key] or 0.0 for one in runs])
            for name, key, colour in (
                ("endpoint listens", "down_seconds", sheets.LIMIT),
                ("all linked", "all_linked_seconds", sheets.EDGE),
                ("all routed", "all_routed_seconds", sheets.BEHIND),
            )
        ],
        "{:.1f}",
    )
    for axis in (memory, cost, storm):
        axis.margins(y=0.35)
        axis.tick_params(axis="x", labelsize=6.5)
        axis.legend(fontsize=7, loc="upper left")
    return drawn


def _mib(run: _Line, when: str) -> float:
    return float(run["memory_bytes"][when]) / _MIB


def _fleet(plan: dict[str, typing.Any]) -> str:
    text = f"{plan['sessions']:,}"
    text += f"\n{plan['endpoints']} endpoints" if plan["endpoints"] > 1 else ""
    return text + ("\nCURVE" if plan["encrypted"] else "")
