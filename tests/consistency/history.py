# SPDX-License-Identifier: Apache-2.0
"""The history of a run: what the hosts did, what the centre did, and how each entry ended.

It is plain data that can be written to a file and read back. As with Jepsen, an operation has a
begin and an end, and one whose end nobody saw may have happened or not. As with Elle, each write
writes a value that no other one writes, so that whoever reads or stores a value names its writer
(K. Kingsbury, P. Alvaro: Elle: Inferring Isolation Anomalies from Experimental Observations, VLDB
2020). The order of the writes is not guessed: the centre's database tells it.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import pathlib
from typing import Any
from typing import NamedTuple

HOST, DELETED, FAULT = "host", "deleted", "fault"
"""Fields of an effect that are no register: where the instance is, its end, a row appended."""
ENDED_WELL = ("applied", "accepted")
WITHOUT_EFFECT = ("merged", "expired", "dead", "discarded")


class Kind(enum.StrEnum):
    """What an operation is."""

    SAVE = "save"
    FAULT = "fault"
    """Appends a row; the same write twice is two rows."""
    BEAT = "beat"
    """A save that may be merged into a later one of its group."""
    CAST = "cast"
    READ = "read"


class Life(NamedTuple):
    """One process of a host, from its begin to its end.

    ``session`` is the same for the lives that follow each other on one journal; a journal that was
    put back from a copy begins another one. ``outbox`` and ``epoch`` are those of its journal.
    """

    name: str
    host: str
    session: str
    outbox: str
    epoch: int


class Operation(NamedTuple):
    """What one thread of a host did; times are of one clock, in seconds.

    ``name`` is its own, and is what it writes. ``returned`` is infinite when its end is not known.
    ``values`` are the fields that were written (each to ``name``), or what was read in each.
    """

    kind: Kind
    name: str
    life: str
    group: str
    begun: float
    returned: float
    values: dict[str, str]

    @property
    def has_returned(self) -> bool:
        """Whether its caller was told that it is done."""
        return self.returned < math.inf

    @property
    def is_write(self) -> bool:
        """Whether it is something that the centre applies."""
        return self.kind in (Kind.SAVE, Kind.FAULT, Kind.BEAT)


class Effect(NamedTuple):
    """One field that the centre's database got, in the order of its commits.

    ``outbox`` and ``seq`` are of the entry whose row is in the same transaction; "" and 0 for what
    the centre did by itself, such as a change of the host.
    """

    number: int
    group: str
    field: str
    value: str
    outbox: str = ""
    seq: int = 0


class Handed(NamedTuple):
    """A command was handed out, in this order; ``seen`` is what its receiver then read."""

    number: int
    name: str
    by: str
    seen: dict[str, str]


class Ending(NamedTuple):
    """How an entry stands in its journal; ``outcome`` is "pending" while it has not ended.

    ``name`` is that of its operation, "" where the body is gone. ``replayed`` tells that it was
    answered at the edge.
    """

    outbox: str
    seq: int
    outcome: str
    reason: str
    name: str
    replayed: bool


class Restored(NamedTuple):
    """A host's journal was put back at *at*, as it was at *copied*.

    What returned in between is in no journal any more.
    """

    host: str
    copied: float
    at: float


class Final(NamedTuple):
    """What a side has in a field at the end: "centre", or a life."""

    side: str
    group: str
    field: str
    value: str


@dataclasses.dataclass
class History:
    """Everything that a checker looks at.

    ``interrupted`` are commands that were begun by a process that did not live to see their end.
    ``superseded`` are lives whose journal was opened elsewhere meanwhile: what they still hold
    counts for nothing. ``refused`` are outbox and seq of the entries that the centre's database
    has on record as refused.
    """

    lives: list[Life] = dataclasses.field(default_factory=list)
    operations: list[Operation] = dataclasses.field(default_factory=list)
    effects: list[Effect] = dataclasses.field(default_factory=list)
    handed: list[Handed] = dataclasses.field(default_factory=list)
    endings: list[Ending] = dataclasses.field(default_factory=list)
    restored: list[Restored] = dataclasses.field(default_factory=list)
    finals: list[Final] = dataclasses.field(default_factory=list)
    interrupted: list[str] = dataclasses.field(default_factory=list)
    superseded: list[str] = dataclasses.field(default_factory=list)
    refused: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    nemesis: list[tuple[float, str]] = dataclasses.field(default_factory=list)

    def dump(self, path: pathlib.Path) -> None:
        """Write it to a file, one event a line."""
        with path.open("w") as output:
            for name, rows in vars(self).items():
                for row in rows:
                    output.write(json.dumps([name, row]) + "\n")

    @classmethod
    def load(cls, path: pathlib.Path) -> History:
        """Read what :meth:`dump` has written."""
        made = cls()
        for line in path.read_text().splitlines():
            name, row = json.loads(line)
            getattr(made, name).append(_ROWS.get(name, _as_it_is)(row))
        return made

    def line(self, name: str) -> str:
        """One operation, for people."""
        for each in self.operations:
            if each.name == name:
                end = f"{each.returned:.3f}" if each.has_returned else "?"
                seen = f" saw {each.values}" if each.kind is Kind.READ else ""
                return (
                    f"{each.kind} {name} of {each.life} on {each.group} "
                    f"[{each.begun:.3f}, {end}]{seen}"
                )
        return name


def _as_it_is(row: Any) -> Any:
    return tuple(row) if isinstance(row, list) else row


def _operation(row: Any) -> Operation:
    kind, *rest = row
    return Operation(Kind(kind), *rest)


_ROWS = {
    "lives": lambda row: Life(*row),
    "operations": _operation,
    "effects": lambda row: Effect(*row),
    "handed": lambda row: Handed(*row),
    "endings": lambda row: Ending(*row),
    "restored": lambda row: Restored(*row),
    "finals": lambda row: Final(*row),
}
