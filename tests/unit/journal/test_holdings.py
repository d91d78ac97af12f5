# SPDX-License-Identifier: Apache-2.0
"""What a journal holds that somebody may have to do something about."""

from __future__ import annotations

from nova_edge_bus.journal import holdings
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import reasons
from tests.unit.journal import make


def held(it: journal.Journal) -> holdings.Held:
    with it.transaction():
        return it.holdings.read()


def test_an_empty_journal_holds_nothing(it: journal.Journal) -> None:
    assert held(it) == holdings.Held(0, None, 0, 0, 0)


def test_pending_and_dead_entries_are_counted(it: journal.Journal) -> None:
    new = [
        make.entry(created_at=1000.0 + number, address=f"a-{number % 3}") for number in range(8)
    ]
    make.append(it, *new)
    assert held(it) == holdings.Held(8, 1000.0, 0, 0, 0)
    found = {"expected": {"task_state": [None]}, "actual": {"task_state": "deleting"}}
    make.settle(
        it,
        (1, "applied", None),
        (3, "dead", reasons.refusal("UnexpectedTaskStateError: it moved on", found)),
        (4, "dead", reasons.refusal("Fenced: instance is on host b at the centre", found)),
        (5, "dead", "Fenced: instance was deleted"),
        (6, "dead", "ValueError: something else"),
        (7, "expired", None),
    )
    assert held(it) == holdings.Held(2, 1001.0, 4, 1, 2)
    with it.transaction():
        it.outbox.dead.discard_many([3, 4])
    assert held(it) == holdings.Held(2, 1001.0, 2, 0, 1)
