# SPDX-License-Identifier: Apache-2.0
"""A little reference model of the bus: what it does is correct, by its being simple.

Hosts with a journal and a view of their own, a centre that applies one entry after the other. It
tells the history of steps that anybody chooses; whatever they are, no rule is broken.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import NamedTuple

from tests.consistency import history
from tests.consistency.history import Effect
from tests.consistency.history import Ending
from tests.consistency.history import Final
from tests.consistency.history import Handed
from tests.consistency.history import History
from tests.consistency.history import Kind
from tests.consistency.history import Life
from tests.consistency.history import Operation
from tests.consistency.history import Restored

FIELDS = ("name", "description")
HOSTS = 2
GROUPS = 2
"""Of each host."""
STEPS = (
    *Kind,
    *("cut", "heal", "kill", "kill after the write", "copy", "restore"),
    *("evacuate", "delete", "centre writes"),
)


class Step(NamedTuple):
    """One step; ``host``, ``group`` and ``field`` are numbers, ``late`` the time that it takes."""

    what: str
    host: int
    group: int
    field: int
    late: int


@dataclasses.dataclass
class _Entry:
    seq: int
    operation: Operation
    replayed: bool


@dataclasses.dataclass
class _Host:
    name: str
    linked: bool = True
    life: int = 0
    session: int = 1
    seq: int = 0
    pending: list[_Entry] = dataclasses.field(default_factory=list)
    base: dict[tuple[str, str], str] = dataclasses.field(default_factory=dict)
    copied: tuple[float, list[_Entry]] | None = None


class Model:
    """Takes steps and writes their history."""

    def __init__(self) -> None:
        self.history = History()
        self._time = 0.0
        self._centre: dict[tuple[str, str], str] = {}
        self._gone: dict[str, str] = {}
        self._hosts = [_Host(f"edge-{number}") for number in range(HOSTS)]
        for host in self._hosts:
            self._begin_life(host)

    def run(self, steps: Iterable[Step]) -> History:
        """Take steps, heal, drain, and compare both sides."""
        for step in steps:
            self._time += 1
            self._take(step, self._hosts[step.host])
        for host in self._hosts:
            self._heal(host)
            for group in self._groups(host):
                for field in FIELDS:
                    value = self._centre.get((group, field), "")
                    self.history.finals.append(Final("centre", group, field, value))
                    if group not in self._gone:
                        seen = self._view(host, group)[field]
                        self.history.finals.append(Final(self._life(host), group, field, seen))
        return self.history

    def _take(self, step: Step, host: _Host) -> None:
        group = self._groups(host)[step.group]
        if step.what in (*Kind, "kill after the write"):
            if not (host.linked and group in self._gone):
                self._operate(step, host, group)
        elif step.what == "cut":
            host.linked = False
        elif step.what == "heal":
            self._heal(host)
        elif step.what == "kill":
            self._begin_life(host)
        elif step.what == "copy":
            host.copied = (self._time, list(host.pending))
        elif step.what == "restore":
            self._restore(host)
        elif step.what == "centre writes":
            self._effect(group, "description", f"centre {self._time:g}")
        elif not host.linked and group not in self._gone:
            self._gone[group] = step.what
            if step.what == "evacuate":
                self._effect(group, history.HOST, "elsewhere")
            else:
                self._effect(group, history.DELETED, "yes")

    # The edge.

    def _groups(self, host: _Host) -> list[str]:
        return [f"{host.name}-group-{number}" for number in range(GROUPS)]

    def _life(self, host: _Host) -> str:
        return f"{host.name}.{host.life}"

    def _begin_life(self, host: _Host) -> None:
        host.life += 1
        session = f"{host.name}/{host.session}"
        life = Life(self._life(host), host.name, session, f"outbox-{host.name}", host.life)
        self.history.lives.append(life)
        host.base = dict(self._centre) if host.linked else host.base
        if host.linked:
            self._heal(host)

    def _restore(self, host: _Host) -> None:
        if host.copied is None:
            return
        at, pending = host.copied
        self.history.restored.append(Restored(host.name, at, self._time))
        # The centre and the receivers know what they have had of it.
        over = {each.name for each in self.history.endings}
        over |= {each.name for each in self.history.handed}
        host.pending = [each for each in pending if each.operation.name not in over]
        host.session += 1
        self._begin_life(host)

    def _operate(self, step: Step, host: _Host, group: str) -> None:
        name = f"{self._life(host)}.{self._time:g}"
        kind = Kind.SAVE if step.what == "kill after the write" else Kind(step.what)
        if kind is Kind.READ:
            values = self._view(host, group)
        elif kind is Kind.FAULT:
            values = {history.FAULT: name}
        elif kind is Kind.BEAT:
            group, values = host.name, {"beat": name}
        else:
            values = {FIELDS[step.field]: name} if kind is Kind.SAVE else {}
        is_killed = step.what == "kill after the write"
        returned = math.inf if is_killed else self._time + 0.5 + step.late
        life = self._life(host)
        operation = Operation(kind, name, life, group, self._time, returned, values)
        self.history.operations.append(operation)
        if kind is not Kind.READ:
            self._write(host, operation)
        if is_killed:
            self._begin_life(host)

    def _write(self, host: _Host, operation: Operation) -> None:
        host.seq += 1
        entry = _Entry(host.seq, operation, replayed=not host.linked)
        if operation.kind is Kind.BEAT:
            for earlier in [each for each in host.pending if each.operation.kind is Kind.BEAT]:
                host.pending.remove(earlier)
                self._end(host, earlier, "merged", f"taken up by {entry.seq}")
        host.pending.append(entry)
        if host.linked:
            self._heal(host)

    def _view(self, host: _Host, group: str) -> dict[str, str]:
        if host.linked:
            for field in FIELDS:
                host.base[group, field] = self._centre.get((group, field), "")
        view = {field: host.base.get((group, field), "") for field in FIELDS}
        for entry in host.pending:
            if entry.operation.group == group and entry.operation.kind is Kind.SAVE:
                view |= entry.operation.values
        return view

    # The centre.

    def _heal(self, host: _Host) -> None:
        host.linked = True
        pending, host.pending = host.pending, []
        for entry in sorted(pending, key=lambda each: each.operation.kind is Kind.BEAT):
            self._apply(host, entry)

    def _apply(self, host: _Host, entry: _Entry) -> None:
        operation = entry.operation
        if operation.kind is Kind.CAST:
            seen = {field: self._centre.get((operation.group, field), "") for field in FIELDS}
            number = len(self.history.handed)
            self.history.handed.append(Handed(number, operation.name, "receiver", seen))
            return
        if operation.group in self._gone and entry.replayed:
            self._end(host, entry, "dead", f"{operation.group}: {self._gone[operation.group]}")
            return
        for field, value in operation.values.items():
            self._effect(operation.group, field, value, f"outbox-{host.name}", entry.seq)
            host.base[operation.group, field] = value
        self._end(host, entry, "applied", "")

    def _effect(self, group: str, field: str, value: str, outbox: str = "", seq: int = 0) -> None:
        number = len(self.history.effects)
        self.history.effects.append(Effect(number, group, field, value, outbox, seq))
        self._centre[group, field] = value

    def _end(self, host: _Host, entry: _Entry, outcome: str, reason: str) -> None:
        ending = Ending(
            f"outbox-{host.name}",
            entry.seq,
            outcome,
            reason,
            entry.operation.name,
            entry.replayed,
        )
        self.history.endings.append(ending)
