# SPDX-License-Identifier: Apache-2.0
"""``python -m bench``: RabbitMQ and the edge bus side by side, in one run.

``python -m bench cut`` measures what a cut costs instead, ``python -m bench drain`` how fast a
journal drains, ``python -m bench fleet`` what thousands of sessions cost an endpoint, ``python -m
bench heal`` what the return of a whole fleet does to those that are linked, ``python -m bench
store`` what keeping messages and passing them on costs elsewhere, and ``python -m bench wan`` what
distance costs; ``python -m bench plot`` draws what they have written. See their ``--help``.
"""

import argparse
import contextlib
import json
import pathlib
import sys
import typing

from bench import backends
from bench import command
from bench import comparison
from bench import cut
from bench import drain
from bench import figures
from bench import fleets
from bench import floor
from bench import heal
from bench import machine
from bench import plot
from bench import processes
from bench import report
from bench import store
from bench import wan

_KINDS = {
    "call": ("call-read", "call-save"),
    "cast": ("cast",),
    "notification": ("notification",),
    "fanout": ("fanout",),
}
_BUSES = ("rabbit", "rabbit-quorum", "edge")
_MODES = ("threads", "eventlet")
_QUICK = {
    "sizes": [12.0],
    "callers": [1, 4],
    "rate": 20.0,
    "seconds": 0.2,
    "rounds": 1,
    "floor_seconds": 0.1,
}
_FULL = {
    "sizes": [0.5, 12.0, 60.0],
    "callers": [1, 16, 64],
    "rate": 100.0,
    "seconds": 5.0,
    "rounds": 5,
    "floor_seconds": 2.0,
}
_FLOOR_SIZE = 12 * 1024


def _listed(of: typing.Callable[[str], typing.Any]) -> typing.Callable[[str], list[typing.Any]]:
    def parse(text: str) -> list[typing.Any]:
        values = [of(part) for part in text.split(",")]
        if not all(value > 0 for value in values):
            raise argparse.ArgumentTypeError(f"{text!r} has a value that is not above 0")
        return values

    return parse


def _some(known: tuple[str, ...]) -> typing.Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if not set(names) <= set(known):
            raise argparse.ArgumentTypeError(f"{text!r} is not some of {','.join(known)}")
        return names

    return parse


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a smoke run of a few seconds; no figure to quote")
    add("--only", choices=sorted(_KINDS), action="append", help="this kind only; repeatable")
    add("--sizes", type=_listed(float), metavar="KIB,...", help="body sizes (0.5,12,60)")
    add("--callers", type=_listed(int), metavar="N,...", help="sending threads (1,16,64)")
    rate_help = "messages a second in the lines of fixed load, 0 for no such lines (100)"
    add("--rate", type=float, metavar="N", help=rate_help)
    add("--concurrency", type=_some(_MODES), default=list(_MODES), help="threads,eventlet")
    add("--seconds", type=float, help="for each line of the table (5)")
    add("--rounds", type=int, help="turns that the seconds are spread over (5)")
    add("--backends", type=_some(_BUSES), default=list(_BUSES), help=",".join(_BUSES))
    add("--rabbit-url", default="rabbit://guest:guest@127.0.0.1:5672/", help="transport URL")
    add("--edge-option", action="append", default=[], metavar="NAME=VALUE", help="[edge_bus]")
    add("--directory", type=pathlib.Path, default=pathlib.Path("/var/tmp"), help="on a disk")
    add("--patience", type=float, default=15.0, help="seconds without an arrival to give up at")
    add("--json", type=pathlib.Path, metavar="FILE", help="write the results there as well")
    parsed = parser.parse_args(arguments)
    for name, value in (_QUICK if parsed.quick else _FULL).items():
        if getattr(parsed, name, None) is None:
            setattr(parsed, name, value)
    return parsed


def _scenarios(parsed: argparse.Namespace) -> list[figures.Scenario]:
    fixed = [(max(parsed.callers), parsed.rate)] if parsed.rate else []
    loads = [*((callers, 0.0) for callers in parsed.callers), *fixed]
    return [
        figures.Scenario(kind, int(size * 1024), callers, rate)
        for only in parsed.only or _KINDS
        for kind in _KINDS[only]
        for size in parsed.sizes
        for callers, rate in loads
    ]


def _backends(parsed: argparse.Namespace, directory: pathlib.Path) -> list[backends.Backend]:
    options = dict(option.partition("=")[::2] for option in parsed.edge_option)
    known: dict[str, backends.Backend] = {
        "rabbit": backends.Rabbit(parsed.rabbit_url, quorum=False),
        "rabbit-quorum": backends.Rabbit(parsed.rabbit_url, quorum=True),
        "edge": backends.EdgeBus(directory, options),
    }
    return [known[name] for name in parsed.backends]


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _measure(
    parsed: argparse.Namespace, directory: pathlib.Path, mode: str
) -> tuple[list[figures.Result], dict[str, str], bool]:
    """Every scenario in one concurrency mode; the versions of the buses; whether one failed."""
    own = directory / mode
    own.mkdir()
    failed = False
    with contextlib.ExitStack() as stack:
        buses = [
            stack.enter_context(comparison.Bus(backend, directory, mode))
            for backend in _backends(parsed, own)
        ]
        found = {bus.name: bus.version() for bus in buses}
        try:
            comparison.compare(
                buses,
                _scenarios(parsed),
                parsed.rounds,
                parsed.seconds,
                parsed.patience,
                lambda text: _progress(f"{mode} {text}"),
            )
        except processes.ChildFailed as error:
            failed = True
            _progress(f"stopped early: {error}")
        return [result for bus in buses for result in bus.results()], found, failed


def _run(parsed: argparse.Namespace, directory: pathlib.Path) -> int:
    about = machine.describe(directory)
    versions = machine.versions()
    failed = False
    measured = floor.measure(directory, directory, _FLOOR_SIZE, parsed.floor_seconds)
    results: list[figures.Result] = []
    for mode in parsed.concurrency:
        more, found, broke = _measure(parsed, directory, mode)
        results += more
        versions.update(found)
        failed = failed or broke
    print(", ".join(f"{name} {value}" for name, value in (about | versions).items()))
    print(f"\n{report.floors(measured)}\n\n{report.table(results)}\n\n{report.costs(results)}")
    if parsed.json:
        settings = {name: getattr(parsed, name) for name in ("seconds", "rounds", "edge_option")}
        document = report.as_json(about, versions, settings, measured, results)
        parsed.json.write_text(json.dumps(document, indent=2) + "\n")
    return 1 if failed or not all(one.exact for one in results) else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark.

    :returns: 0; 1 when a bus failed or miscounted a message; 2 when one cannot be measured here.
    """
    given = sys.argv[1:] if arguments is None else arguments
    others = {
        "cut": cut.main,
        "drain": drain.main,
        "fleet": fleets.main,
        "heal": heal.main,
        "plot": plot.main,
        "store": store.main,
        "wan": wan.main,
    }
    if given and given[0] in others:
        return others[given[0]](given[1:])
    parsed = _arguments(given)
    return command.run(
        "bench",
        parsed.directory,
        lambda directory: _run(parsed, directory),
        absences=(processes.ChildFailed,),
    )


if __name__ == "__main__":
    sys.exit(main())
