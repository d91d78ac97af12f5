# SPDX-License-Identifier: Apache-2.0
"""The outbox against a model of it: any order of operations, undone ones and restarts included."""

import dataclasses
import pathlib
import shutil
import tempfile

import hypothesis
from hypothesis import stateful
from hypothesis import strategies

from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal
from tests.unit.journal import make

ADDRESSES = ("conductor", "scheduler")
OUTCOMES = ("accepted", "applied", "expired", "merged", "dead")


@dataclasses.dataclass
class Model:
    """What the outbox should hold: pending entries, and how settled ones ended."""

    pending: dict[int, entries.NewEntry] = dataclasses.field(default_factory=dict)
    settled: dict[int, tuple[str, float]] = dataclasses.field(default_factory=dict)
    appended: int = 0

    def copy(self) -> "Model":
        return Model(dict(self.pending), dict(self.settled), self.appended)


class OutboxMachine(stateful.RuleBasedStateMachine):
    """Every rule does one thing to the journal and to the model; some are rolled back."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.clock = make.Clock()
        self.model = Model()
        self.committed = Model()
        self.epoch = 0
        self.it = self.open()

    def open(self) -> journal.Journal:
        it = journal.Journal.open(
            pathlib.Path(self.folder, "a.db"),
            max_bytes=make.QUOTA,
            retention=make.RETENTION,
            clock=self.clock,
        )
        self.epoch += 1
        assert it.epoch == self.epoch
        it.begin()
        return it

    @stateful.rule(
        sizes=strategies.lists(strategies.integers(0, 9000), max_size=5),
        address=strategies.sampled_from(ADDRESSES),
        kind=strategies.sampled_from([make.RECORD, make.COMMAND]),
        lives=strategies.none() | strategies.integers(1, 5000),
    )
    def append(self, sizes: list[int], address: str, kind: int, lives: int | None) -> None:
        expires_at = None if lives is None else self.clock.now + lives
        new = [
            make.entry(
                body=bytes([number]) * size,
                address=address,
                kind=kind,
                expires_at=expires_at,
                created_at=self.clock.now,
            )
            for number, size in enumerate(sizes)
        ]
        seqs = self.it.outbox.append_many(new)
        expected = list(range(self.model.appended + 1, self.model.appended + 1 + len(new)))
        assert seqs == expected
        self.model.appended += len(new)
        self.model.pending |= dict(zip(seqs, new, strict=True))

    @stateful.rule(data=strategies.data(), outcome=strategies.sampled_from(OUTCOMES))
    def settle(self, data: strategies.DataObject, outcome: str) -> None:
        known = range(1, self.model.appended + 3)
        seqs = data.draw(strategies.lists(strategies.sampled_from(known), max_size=5))
        if outcome == "accepted":
            seqs = [s for s in seqs if self.kind(s) == make.COMMAND]
        expected = {seq for seq in seqs if seq in self.model.pending}
        found = self.it.outbox.settle_many((seq, outcome, None) for seq in seqs)
        assert sorted(found) == sorted(expected)
        for seq in expected:
            self.model_settle(seq, outcome)

    def kind(self, seq: int) -> int | None:
        new = self.model.pending.get(seq)
        return None if new is None else new.kind

    def model_settle(self, seq: int, outcome: str) -> None:
        del self.model.pending[seq]
        if outcome != "accepted":
            self.model.settled[seq] = (outcome, self.clock.now)

    @stateful.rule(seconds=strategies.integers(1, 3000))
    def pass_time_and_expire(self, seconds: int) -> None:
        self.clock.now += seconds
        due = {
            seq
            for seq, new in self.model.pending.items()
            if new.expires_at is not None and new.expires_at <= self.clock.now
        }
        expired = self.it.outbox.expire(self.clock.now)
        assert {seq for seq, _ in expired} == due
        for seq in due:
            self.model_settle(seq, "expired")

    @stateful.rule(data=strategies.data())
    def requeue(self, data: strategies.DataObject) -> None:
        dead = sorted(seq for seq, (how, _) in self.model.settled.items() if how == "dead")
        seqs = data.draw(strategies.lists(strategies.sampled_from(dead or [99]), unique=True))
        expected = sorted(set(seqs) & set(dead))
        assert self.it.outbox.dead.ask_many(seqs) == expected
        taken = self.it.outbox.dead.take_up()
        assert [each.was for each in taken] == expected
        for old, entry in taken:
            number = entry.seq
            self.model.appended += 1
            assert number == self.model.appended
            self.model.settled[old] = ("merged", self.clock.now)
            stored = self.it.outbox.settled.get(number)
            assert stored is not None
            fields = [field.name for field in dataclasses.fields(entries.NewEntry)]
            self.model.pending[number] = entries.NewEntry(
                *(getattr(stored, name) for name in fields)
            )

    @stateful.rule(data=strategies.data())
    def discard(self, data: strategies.DataObject) -> None:
        dead = sorted(seq for seq, (how, _) in self.model.settled.items() if how == "dead")
        seqs = data.draw(strategies.lists(strategies.sampled_from(dead or [99]), unique=True))
        expected = sorted(set(seqs) & set(dead))
        assert self.it.outbox.dead.discard_many(seqs) == expected
        for seq in expected:
            self.model.settled[seq] = ("discarded", self.clock.now)

    @stateful.rule()
    def commit(self) -> None:
        self.it.commit()
        self.committed = self.model.copy()
        self.it.begin()

    @stateful.rule()
    def roll_back(self) -> None:
        self.it.rollback()
        self.model = self.committed.copy()
        self.it.begin()

    @stateful.rule()
    def restart(self) -> None:
        self.it.close()
        self.model = self.committed.copy()
        self.it = self.open()

    @stateful.rule()
    def commit_and_reclaim(self) -> None:
        self.it.commit()
        make.reclaim_all(self.it)
        old = self.clock.now - make.RETENTION - 1
        self.model.settled = {
            seq: (how, at)
            for seq, (how, at) in self.model.settled.items()
            if how == "dead" or int(at) > old
        }
        self.committed = self.model.copy()
        self.it.begin()

    @stateful.invariant()
    def pending_is_as_it_should_be(self) -> None:
        for address in ADDRESSES:
            found = self.it.outbox.pending(address, 0, 1000, 1 << 30)
            expected = {s: new for s, new in self.model.pending.items() if new.address == address}
            assert [each.seq for each in found] == sorted(expected)
            assert [each.body for each in found] == [expected[each.seq].body for each in found]
        floor = min(self.model.pending, default=self.model.appended + 1)
        assert self.it.outbox.floor() == floor

    @stateful.invariant()
    def what_is_settled_is_as_it_should_be(self) -> None:
        for outcome in OUTCOMES[1:]:
            found = self.it.outbox.settled.listing(entries.Outcome(outcome), 0, 1000)
            expected = sorted(s for s, (how, _) in self.model.settled.items() if how == outcome)
            assert [each.seq for each in found] == expected

    @stateful.invariant()
    def the_notifications_are_counted(self) -> None:
        expected = sum(
            len(new.body)
            for new in self.model.pending.values()
            if new.kind == make.COMMAND and new.expires_at is not None
        )
        assert self.it.outbox._notification_bytes == expected

    def teardown(self) -> None:
        self.it.close()
        shutil.rmtree(self.folder)


OutboxMachine.TestCase.settings = hypothesis.settings(
    max_examples=40, stateful_step_count=30, deadline=None
)
TestOutboxMachine = OutboxMachine.TestCase
