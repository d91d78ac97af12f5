# SPDX-License-Identifier: Apache-2.0
"""The smallest histories that break each rule, beside those that nearly do.

Most are the textbook anomalies of Terry et al. (1994) with one host and one instance; the rest are
what a bus can do wrong. Each is told as a few lines, in the order of time::

    save x          x began, returned, and was written by the host's present life
    save x ?        nobody saw it return
    save x replayed the same, answered at the edge
    read name=x     a read that returned x; n0 was there before all
    land x          x had its effect, perhaps long before it began; "land x bare" without the inbox
                    row, "land x seq 9" by a number
    centre name=c   the centre wrote c itself
    refused x       the centre has on record that it has refused x
    end x OUTCOME   how its entry ended, with the rest of the line as reason
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from tests.consistency import checker
from tests.consistency.history import Effect
from tests.consistency.history import Ending
from tests.consistency.history import Final
from tests.consistency.history import Handed
from tests.consistency.history import History
from tests.consistency.history import Kind
from tests.consistency.history import Life
from tests.consistency.history import Operation
from tests.consistency.history import Restored
from tests.consistency.index import Rule

HOST, GROUP, OUTBOX = "edge", "vm", "box"


class _Telling:
    def __init__(self) -> None:
        self.history = History()
        self._time = 0.0
        self._seqs: dict[str, int] = {}
        self._life("1")

    def take(self, line: str) -> None:
        self._time += 10
        what, *words = line.split()
        ways: dict[str, Callable[..., None]] = {
            "life": self._life,
            "read": self._read,
            "land": self._land,
            "hand": self._hand,
            "centre": self._centre,
            "end": self._end,
            "final": self._final,
            "restored": self._restored,
            "refused": self._refused,
            "interrupted": self.history.interrupted.append,
            "superseded": self.history.superseded.append,
        }
        ways.get(what, lambda *rest: self._write(Kind(what), *rest))(*words)

    def _life(self, number: str, session: str = "s") -> None:
        self._now = Life(f"life-{number}", HOST, session, OUTBOX, int(number))
        self.history.lives.append(self._now)

    def _write(self, kind: Kind, name: str, *how: str) -> None:
        fields = {Kind.SAVE: "name", Kind.FAULT: "fault", Kind.BEAT: "beat"}
        values = {fields[kind]: name} if kind in fields else {}
        self._seq(name)
        life = how[how.index("of") + 1] if "of" in how else self._now.name
        returned = math.inf if "?" in how else self._time + 5
        self.history.operations.append(
            Operation(kind, name, life, GROUP, self._time, returned, values)
        )
        if "replayed" in how:
            self._end(name, "applied", replayed=True)

    def _seq(self, name: str) -> int:
        return self._seqs.setdefault(name, len(self._seqs) + 1)

    def _read(self, *seen: str) -> None:
        values = dict(each.split("=") for each in seen)
        name = f"read-{self._time:g}"
        operation = Operation(
            Kind.READ, name, self._now.name, GROUP, self._time, self._time + 5, values
        )
        self.history.operations.append(operation)

    def _land(self, name: str, *how: str) -> None:
        known = [each for each in self.history.operations if each.name == name]
        (field,) = known[0].values if known else ("name",)
        seq = int(how[how.index("seq") + 1]) if "seq" in how else self._seq(name)
        by = ("", 0) if "bare" in how else (OUTBOX, seq)
        self._effect(field, name, *by)

    def _centre(self, what: str) -> None:
        self._effect(*what.split("="))

    def _effect(self, field: str, value: str, outbox: str = "", seq: int = 0) -> None:
        number = len(self.history.effects)
        self.history.effects.append(Effect(number, GROUP, field, value, outbox, seq))

    def _hand(self, name: str, seen: str = "name=n0") -> None:
        field, value = seen.split("=")
        number = len(self.history.handed)
        self.history.handed.append(Handed(number, name, "receiver", {field: value}))

    def _end(self, name: str, outcome: str, *reason: str, replayed: bool = False) -> None:
        self.history.endings.append(
            Ending(OUTBOX, self._seqs[name], outcome, " ".join(reason), name, replayed)
        )

    def _final(self, side: str, what: str) -> None:
        self.history.finals.append(Final(side, GROUP, *what.split("=")))

    def _refused(self, name: str) -> None:
        self.history.refused.append((OUTBOX, self._seqs[name]))

    def _restored(self, copied: str) -> None:
        self.history.restored.append(Restored(HOST, float(copied), self._time))


def rules_broken(text: str) -> set[Rule]:
    telling = _Telling()
    for line in text.split(";"):
        telling.take(line)
    return {each.rule for each in checker.check(telling.history)}


BAD = {
    Rule.DURABILITY: [
        "save x",
        "save x; end x applied",
        "fault x; save y; land y",
        "cast x",
        # A heartbeat that nothing came after.
        "beat x; land x; beat y",
        # It was written before the copy was made.
        "save x; fault y; land y; restored 30",
        # Refused, and nothing was put back.
        "save x; refused x; end x applied",
    ],
    Rule.ONCE: [
        "fault x; land x; land x",
        "save x; land x; save y; land y; land x",
        "save x; land x bare",
        "cast x; hand x; hand x",
        "save x; land x; end x dead for some reason",
    ],
    Rule.ORDER: [
        "fault x ?; fault y ?; land y; land x",
        "cast x; cast y; hand y; hand x",
        # Whoever gets a command reads what was written before it.
        "save x; cast y; hand y name=n0; land x",
    ],
    Rule.READ_YOUR_WRITES: [
        "save x; read name=n0; land x",
        "save x; save y; read name=x; land x; land y",
        "save x; land x; centre name=c; save y; land y; read name=c",
    ],
    Rule.MONOTONIC_READS: [
        "centre name=c; read name=c; read name=n0",
        "centre name=c; centre name=d; read name=d; read name=c",
        "save x ?; read name=x; land x; read; life 2; read name=n0",
        "save x ?; read name=x; life 2; read name=n0",
    ],
    Rule.MONOTONIC_WRITES: [
        "save x; save y; land y seq 1; land x seq 2",
        "fault x; save y; land y seq 1; land x seq 2",
    ],
    Rule.WRITES_FOLLOW_READS: [
        "land y; centre name=c; read name=c; save y",
        "land y; save x ?; land x; read name=x; save y",
    ],
    Rule.FENCING: [
        "save x replayed; centre host=other; land x",
        "fault x replayed; centre deleted=yes; land x",
        "life 2; save x; land x; save y of life-1; land y",
    ],
    Rule.CONVERGENCE: [
        "save x; land x; final centre name=n0",
        "save x; land x; final centre name=x; final life-1 name=n0",
        "save x; land x; centre name=c; final centre name=c; final life-1 name=x",
    ],
    Rule.DRAIN: [
        "save x; end x pending",
        "save x; end x dead",
        "beat x; beat y; land y; end x merged",
        "beat x; beat y; land y; end x merged taken up by 9; end y applied",
    ],
}
GOOD = [
    "save x; land x; read name=x; final centre name=x; final life-1 name=x",
    # Nobody knows whether it happened: either is right.
    "save x ?; read name=n0",
    "save x ?; land x; read name=x",
    # Two that overlap may land either way; so may those of which one was not seen to return.
    "save x ?; save y; land x; land y",
    # The centre wrote after us, and we see that.
    "save x; land x; centre name=c; read name=c",
    # Cut off, we see our own, and it does land behind the centre's.
    "save x replayed; read name=x; centre name=c; land x; read name=x; final life-1 name=x",
    # Refused, and said so.
    "save x; read name=x; centre host=other; end x dead the instance has gone; read name=n0",
    "centre host=other; save x; land x",
    "save x replayed; centre host=other; centre host=edge; land x",
    # Merged into one that there is.
    "beat x; beat y; end x merged taken up by 2; land y; end y applied",
    # It was written after the copy was made, and is in no journal any more.
    "save x; restored 1; life 2 t; read name=n0",
    # Its refusal was told to a journal that was lost afterwards.
    "save x; refused x; restored 30; life 2; end x applied",
    # Read in the last moments of a process, and not in the journal yet.
    "centre name=c; read name=c; life 2; read name=n0",
    "cast x; interrupted x",
    "cast x; end x expired its time was up",
    "save x; cast y; land x; hand y name=x",
    # The older owner's last words came before the newer one's first.
    "save x; land x; life 2; save y; land y",
    "life 2; save x; land x; superseded life-1; save y of life-1",
    "save x; land x; save y; land y; read name=y; fault z; land z",
]


@pytest.mark.parametrize(
    ("rule", "text"), [(rule, text) for rule, texts in BAD.items() for text in texts]
)
def test_a_bad_history_is_found_by_its_rule(rule: Rule, text: str) -> None:
    assert rule in rules_broken(text)


@pytest.mark.parametrize("text", GOOD)
def test_a_good_history_is_taken(text: str) -> None:
    assert rules_broken(text) == set()


def test_each_rule_has_a_bad_history() -> None:
    assert set(BAD) == set(Rule)
