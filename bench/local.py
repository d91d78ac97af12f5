# SPDX-License-Identifier: Apache-2.0
"""How long a save takes that is answered from the journal, because the link is cut off."""

import collections.abc
import contextlib
import dataclasses
import pathlib
import typing

from bench import backends
from bench import figures
from bench import floor
from bench import outage
from bench import processes
from tests.nova import relay

_KIND = "call-save"
_JOURNAL_BYTES = 4 << 30
"""Room for what no host writes in a day: nothing leaves the journal while it is measured."""
_WARM_UP = 0.5
"""Seconds of reads while linked, so that the instances are known."""


@dataclasses.dataclass(frozen=True)
class Line:
    """Saves of one number of callers, and bare syncs of as many bytes between them; in ms."""

    size: int
    callers: int
    samples: int
    p50_ms: float | None
    p99_ms: float | None
    per_second: float
    sync_p50_ms: float | None
    sync_p99_ms: float | None

    @property
    def p50_in_syncs(self) -> float | None:
        """The median in multiples of a sync's."""
        return self.p50_ms / self.sync_p50_ms if self.p50_ms and self.sync_p50_ms else None


def measure(
    directory: pathlib.Path,
    options: dict[str, str],
    size: int,
    callers: collections.abc.Sequence[int],
    rounds: int,
    seconds: float,
) -> list[Line]:
    """Measure in so many rounds, in each of which syncs and every number of callers have a turn.

    :param directory: existing, on the disk to measure with
    :param options: further [edge_bus] options
    :param size: bytes of an instance
    :param seconds: for each number of callers
    :raises bench.processes.ChildFailed: when a process fails, or a save does
    """
    share = seconds / rounds
    syncs: dict[int, list[int]] = {each: [] for each in callers}
    times: dict[int, list[int]] = {each: [] for each in callers}
    spent = dict.fromkeys(callers, 0.0)
    with contextlib.ExitStack() as stack:
        sender = _cut_off(stack, directory, options, size)
        for number in range(rounds):
            for each in callers:
                syncs[each] += floor.fdatasync(directory, size, share / 4)
                done = _ask(sender, _KIND, size, each, share, number + 1)
                times[each] += done["times"]
                spent[each] += done["ended_at"] - done["began_at"]
    return [
        Line(
            size=size,
            callers=each,
            samples=len(times[each]),
            p50_ms=figures.milliseconds(figures.percentile(times[each], 50)),
            p99_ms=figures.milliseconds(figures.percentile(times[each], 99)),
            per_second=len(times[each]) / spent[each],
            sync_p50_ms=figures.milliseconds(figures.percentile(syncs[each], 50)),
            sync_p99_ms=figures.milliseconds(figures.percentile(syncs[each], 99)),
        )
        for each in callers
    ]


def _cut_off(
    stack: contextlib.ExitStack, directory: pathlib.Path, options: dict[str, str], size: int
) -> processes.Worker:
    """A sender that knows its instances, and that it is cut off."""
    room = {"journal_max_bytes": str(_JOURNAL_BYTES)}
    bus = backends.EdgeBus(directory, {**room, **options, "autonomy": "on"})
    bus.open()
    stack.callback(bus.close)
    receiver = processes.Worker("receiver", bus.name, directory / "local-receiver.log")
    stack.callback(receiver.stop)
    receiver.ask("open", place=vars(bus.place("receiver")))
    receiver.ask("expect", size=size)
    far = bus.place("sender")
    link = relay.Relay([outage.address(far)])
    stack.callback(link.stop)
    link.start()
    sender = processes.Worker("sender", bus.name, directory / "local-sender.log")
    # Asked to close, it would wait for its outbox to drain.
    stack.callback(sender.kill)
    sender.ask("open", place=vars(outage.through(far, link.addresses[0])))
    _ask(sender, "call-read", size, 1, _WARM_UP, 0)
    link.silence()
    # The first notices the cut, which takes the link's time limit.
    _ask(sender, _KIND, size, 1, _WARM_UP, 0)
    return sender


def _ask(
    sender: processes.Worker, kind: str, size: int, callers: int, seconds: float, number: int
) -> dict[str, typing.Any]:
    done = sender.ask(
        "run",
        timeout=seconds + 120,
        kind=kind,
        size=size,
        callers=callers,
        seconds=seconds,
        round=number,
    )
    if done["failures"]:
        raise processes.ChildFailed(f"a {kind} failed: {done['failures'][0]}")
    return done
