# SPDX-License-Identifier: Apache-2.0
"""Every sort of fault many times over, and one table of what became of the entries.

Run as ``python -m tests.faults.soak --seed 1``; it needs root, for small disks and a line between
network namespaces. The status is 1 when anything was lost, doubled or out of order.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import pathlib
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

from tests.faults import filesystems
from tests.faults import flips
from tests.faults import history
from tests.faults import journals
from tests.faults import packets
from tests.faults.stage import Stage

BOTH: dict[str, Any] = {
    "kinds": ("topic cast", "server cast", "save"),
    "threads": 4,
    "pause": 0.01,
}
COMMANDS: dict[str, Any] = {**BOTH, "kinds": ("topic cast", "server cast"), "pause": 0.08}
"""Fewer than two receivers work off between their kills, or the backlog is all there is to see."""
LINK_TIMEOUT = 1.0
DISK_MEBIBYTES = 12
QUOTA = 4 << 20
"""Bytes that a journal may take, so that only what fills the disk does so."""
LIFE_SECONDS = 0.4
DRAIN_SECONDS = 300.0


@dataclasses.dataclass
class Row:
    """What became of the entries of one sort of fault."""

    fault: str
    rounds: int
    seconds: float = 0.0
    sent: int = 0
    refused: int = 0
    applied: int = 0
    merged: int = 0
    dead: int = 0
    cut_short: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0

    @property
    def broken(self) -> int:
        """How often something was not as promised."""
        return self.lost + self.doubled + self.disordered


def kills_of_senders(directory: pathlib.Path, seed: int, rounds: int) -> Row:
    """The sender is killed in each round, and in every fourth an endpoint before it."""
    with _stage(directory, seed) as stage:
        for life in range(1, rounds + 1):
            sender = stage.start_sender("sender", stage.url("senders"), life, **BOTH)
            time.sleep(stage.chance.uniform(0, LIFE_SECONDS))
            if life % 4 == 0:
                endpoint = stage.chance.randrange(2)
                stage.endpoints[endpoint].kill()
                time.sleep(stage.chance.uniform(0, LIFE_SECONDS))
                stage.restart_endpoint(endpoint)
            sender.kill()
        _drain(stage, rounds + 1, BOTH)
        return _row(stage, "kill -9 of senders and endpoints", rounds)


def kills_of_receivers(directory: pathlib.Path, seed: int, rounds: int) -> Row:
    """A receiver is killed in each round while commands are dispatched."""
    with _stage(directory, seed) as stage:
        sender = stage.start_sender("sender", stage.url("senders", linger=60), **COMMANDS)
        for _ in range(rounds):
            name = stage.chance.choice(sorted(stage.receivers))
            time.sleep(stage.chance.uniform(0, LIFE_SECONDS))
            stage.receivers[name].kill()
            stage.start_receiver(name, stage.url("receivers"))
            stage.await_operations(5)
        assert sender.stop(DRAIN_SECONDS) == 0, stage.report()
        _drain(stage, 2, COMMANDS)
        return _row(stage, "kill -9 of receivers", rounds)


def partitions(directory: pathlib.Path, seed: int, rounds: int) -> Row:
    """The line swallows what one side sends, or both do, or loses and delays it, for a while."""
    with contextlib.ExitStack() as undo:
        line = undo.enter_context(packets.line(seed))
        edge, centre = line.names
        places = {"edge": edge, "centre": centre, "host": packets.CENTRE}
        options = {"link_timeout": LINK_TIMEOUT, "allow_insecure": True}
        stage = undo.enter_context(_stage(directory, seed, options, **places))
        url = stage.url("senders", linger=60, **options)
        sender = stage.start_sender("sender", url, **BOTH)
        for _ in range(rounds):
            stage.await_operations(20)
            swallowed = frozenset(stage.chance.choice([(0,), (1,), (0, 1)]))
            bad = packets.Faults(loss=0.05, delay=0.15, jitter=0.05)
            line.faults = stage.chance.choice([packets.Faults(swallows=swallowed), bad])
            time.sleep(stage.chance.uniform(0, 3 * LINK_TIMEOUT))
            if stage.chance.random() < 0.3:
                line.reset()
            line.faults = packets.Faults()
        assert sender.stop(DRAIN_SECONDS) == 0, stage.report()
        return _row(stage, "partitions and bad lines", rounds)


def full_disks(directory: pathlib.Path, seed: int, rounds: int) -> Row:
    """The sender's disk, or the receivers', is full for a while."""
    with contextlib.ExitStack() as undo:
        disks = [
            undo.enter_context(filesystems.small(kind, directory / side, DISK_MEBIBYTES))
            for kind, side in (("tmpfs", "senders"), ("ext4", "receivers"))
        ]
        options = {"journal_max_bytes": QUOTA}
        stage = undo.enter_context(_stage(directory, seed, options))
        sender = stage.start_sender("sender", stage.url("senders", linger=60, **options), **BOTH)
        for number in range(rounds):
            stage.await_operations(50)
            filesystems.fill(disks[number % 2])
            time.sleep(stage.chance.uniform(0.5, 3))
            filesystems.make_room(disks[number % 2])
        stage.await_operations(50)
        assert sender.stop(DRAIN_SECONDS) == 0, stage.report()
        return _row(stage, "full disks", rounds)


def flipped_bits(directory: pathlib.Path, seed: int, rounds: int) -> Row:
    """One bit of a journal flips; what nobody is told of is lost, what nobody sent is doubled."""
    outcomes, silent = flips.flip(directory, random.Random(seed), rounds)
    row = Row("flipped bits", rounds, sent=rounds)
    row.refused = sum(told.startswith("refused") for told in outcomes)
    row.dead = sum(told.startswith("damaged") for told in outcomes)
    row.doubled = sum(": wrong " in each for each in silent)
    row.lost = len(silent) - row.doubled
    _show(silent)
    return row


@contextlib.contextmanager
def _stage(
    directory: pathlib.Path, seed: int, options: dict[str, Any] | None = None, **places: Any
) -> Iterator[Stage]:
    """Two endpoints and two receivers."""
    stage = Stage(directory, seed, **places)
    with contextlib.closing(stage):
        stage.start_endpoints(2)
        for name in ("one", "two"):
            stage.start_receiver(name, stage.url("receivers", **(options or {})))
        yield stage


def _drain(stage: Stage, life: int, load: dict[str, Any]) -> None:
    url = stage.url("senders", linger=DRAIN_SECONDS)
    sender = stage.start_sender("sender", url, life, operations=10, **load)
    assert sender.wait(DRAIN_SECONDS) == 0, stage.report()


def _row(stage: Stage, fault: str, rounds: int) -> Row:
    """Wait until all is worked off, end the receivers, and compare what was sent with what was."""
    with contextlib.suppress(AssertionError):
        # What is not drained by then is told below.
        idle = lambda: not any(map(journals.has_work, stage.journals()))  # noqa: E731
        stage.wait_until(idle, "the journals to be worked off", DRAIN_SECONDS)
    stage.stop_receivers()
    returned = history.read(stage.sent, "returned")
    commands = history.read(stage.done, "handed out")
    records = history.read(stage.done, "ended")
    spans = history.read(stage.done, "begun", "ended")
    cut_short = set[history.Mark]().union(*map(journals.interrupted, stage.journals()))
    owed = [event for event in returned if event.mark not in cut_short]
    cut_short &= {event.mark for event in returned} - {event.mark for event in commands}
    lost = [*history.missing(owed, commands + records)]
    lost += [f"not drained: {path}" for path in stage.journals() if journals.has_work(path)]
    doubled = [*history.doubled(commands + records)]
    disordered = [*history.disordered(records, returned), *history.overlapping(spans)]
    disordered += history.overtaken(commands, records)
    for name in stage.receivers:
        mine = [event for event in commands if event.who == name]
        disordered += history.disordered(mine, returned)
    _show([*lost, *doubled, *disordered])
    counted = [journals.counters(path) for path in stage.journals()]
    return Row(
        fault,
        rounds,
        sent=len(returned),
        refused=len(history.read(stage.sent, "failed")),
        applied=len({event.mark for event in commands + records}),
        merged=sum(each["merged"] for each in counted),
        dead=sum(each["dead"] for each in counted),
        cut_short=len(cut_short),
        lost=len(lost),
        doubled=len(doubled),
        disordered=len(disordered),
    )


def _show(violations: Iterable[str]) -> None:
    for each in list(violations)[:5]:
        print(each, file=sys.stderr)


PHASES: dict[str, tuple[Callable[[pathlib.Path, int, int], Row], int]] = {
    "sender-kills": (kills_of_senders, 700),
    "receiver-kills": (kills_of_receivers, 300),
    "partitions": (partitions, 100),
    "disks": (full_disks, 20),
    "flips": (flipped_bits, 500),
}


_HEAD = (
    f"{'fault':34}{'rounds':>7}{'s':>6}{'sent':>8}{'refused':>8}{'applied':>8}{'merged':>7}"
    f"{'dead':>6}{'cut short':>10}{'lost':>6}{'doubled':>8}{'out of order':>13}"
)


def line(row: Row) -> str:
    """The row as a line of the table."""
    return (
        f"{row.fault:34}{row.rounds:7}{row.seconds:6.0f}{row.sent:8}{row.refused:8}"
        f"{row.applied:8}{row.merged:7}{row.dead:6}{row.cut_short:10}{row.lost:6}{row.doubled:8}"
        f"{row.disordered:13}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the phases; the status that the process ends with."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    for name, (_, rounds) in PHASES.items():
        parser.add_argument(f"--{name}", type=int, default=rounds, metavar="ROUNDS")
    args = vars(parser.parse_args(arguments))
    seed = args.pop("seed")
    print(f"seed {seed}", flush=True)
    print(_HEAD, flush=True)
    broken = 0
    for name, (phase, _) in PHASES.items():
        rounds = args[name.replace("-", "_")]
        if not rounds:
            continue
        with tempfile.TemporaryDirectory(prefix="edge-bus-soak-") as directory:
            begun = time.monotonic()
            row = phase(pathlib.Path(directory), seed, rounds)
            row.seconds = time.monotonic() - begun
        print(line(row), flush=True)
        broken += row.broken
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
