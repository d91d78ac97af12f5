# SPDX-License-Identifier: Apache-2.0
"""Dead letters: discarded with a trace, or asked for beside the owner, who alone appends."""

from __future__ import annotations

import pathlib
import sqlite3

import pytest

from nova_edge_bus import errors
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import reasons
from nova_edge_bus.journal import work
from tests.unit.journal import make


def stored(it: journal.Journal, seq: int) -> entries.StoredEntry:
    with it.transaction():
        found = it.outbox.settled.get(seq)
    assert found is not None
    return found


def ask(it: journal.Journal, *seqs: int) -> list[int]:
    with it.transaction():
        return it.outbox.dead.ask_many(seqs)


def take_up(it: journal.Journal, **limit: int) -> list[tuple[int, int]]:
    with it.transaction():
        return [(was, entry.seq) for was, entry in it.outbox.dead.take_up(**limit)]


def beside(it: journal.Journal) -> journal.Journal:
    """The same journal in the hands of an operator's tool."""
    return journal.Journal.attach(it.path, max_bytes=make.QUOTA, retention=0, read_only=False)


def test_a_discarded_one_leaves_a_trace_until_its_retention(
    it: journal.Journal, clock: make.Clock
) -> None:
    make.append(it, *[make.entry()] * 3)
    make.settle(it, (1, "dead", "refused"), (2, "applied", None))
    clock.now += 100
    with it.transaction():
        assert it.outbox.dead.discard_many([1, 2, 3, 4], "by hand") == [1]
    trace = stored(it, 1)
    assert (trace.outcome, trace.changed_at) == ("discarded", int(clock.now))
    assert trace.reason == "discarded: by hand; it was dead because: refused"
    assert (trace.body, trace.size) == (b"", 9)
    assert make.pending(it) == [3]
    assert make.counters(it) == {"appended": 3, "dead": 1, "applied": 1, "discarded": 1}
    clock.now += make.RETENTION + 2
    make.reclaim_all(it)
    with it.transaction():
        assert it.outbox.settled.get(1) is None
    assert make.counters(it)["appended"] == 3


def test_what_is_asked_for_is_taken_up_by_the_owner(it: journal.Journal) -> None:
    make.append(it, make.entry(body=b"first", consumer=b"inbox-01"), make.entry(), make.entry())
    make.settle(it, (1, "dead", "why"), (2, "applied", None))
    assert take_up(it) == []
    tool = beside(it)
    assert ask(tool, 1, 2, 3, 4) == [1]
    assert make.pending(it) == [3]
    tool.close()
    assert take_up(it) == [(1, 4)]
    with it.transaction():
        found = it.outbox.pending("conductor", 0, 10, 1 << 30)
    assert [(each.seq, each.body, each.consumer) for each in found] == [
        (3, b"some body", None),
        (4, b"first", None),
    ]
    old = stored(it, 1)
    assert (old.outcome, old.body) == ("merged", b"")
    assert old.reason == "requeued; entry 4 stands for it; it was dead because: why"
    assert make.counters(it) == {"appended": 4, "applied": 1, "dead": 1, "requeued": 1}
    assert take_up(it) == []


def test_the_owner_keeps_its_numbers_apart_from_what_is_asked(it: journal.Journal) -> None:
    make.append(it, make.entry(), make.entry())
    make.settle(it, (1, "dead", None))
    tool = beside(it)
    assert ask(tool, 1) == [1]
    assert make.append(it, make.entry()) == [3]
    assert take_up(it) == [(1, 4)]
    tool.close()


def test_what_is_asked_for_is_not_lost_by_a_restart(path: pathlib.Path) -> None:
    with make.opened(path) as it:
        make.append(it, make.entry())
        make.settle(it, (1, "dead", None))
        assert not work.has_work(path)
        ask(it, 1)
    assert work.has_work(path)
    with make.opened(path) as it:
        ((was, _),) = take_up(it)
        assert was == 1


def test_what_is_asked_for_outlives_the_retention(it: journal.Journal, clock: make.Clock) -> None:
    make.append(it, make.entry())
    make.settle(it, (1, "dead", None))
    ask(it, 1)
    clock.now += make.RETENTION + 100
    make.reclaim_all(it)
    assert stored(it, 1).outcome == "dead"
    assert take_up(it) == [(1, 2)]


def test_a_page_at_a_time_is_taken_up(it: journal.Journal) -> None:
    make.append(it, *[make.entry()] * 5)
    make.settle(it, *((seq, "dead", None) for seq in range(1, 6)))
    ask(it, *range(1, 6))
    assert take_up(it, limit=2) == [(1, 6), (2, 7)]
    assert take_up(it, limit=2) == [(3, 8), (4, 9)]
    assert take_up(it, limit=2) == [(5, 10)]


def test_a_damaged_one_stays_dead(it: journal.Journal) -> None:
    make.append(it, make.entry(), make.entry())
    make.settle(it, (1, "dead", None), (2, "dead", None))
    ask(it, 2)
    with sqlite3.connect(it.path) as tampering:
        tampering.execute("UPDATE outbox SET body = x'00'")
    assert ask(it, 1) == []
    assert take_up(it) == []
    assert stored(it, 2).outcome == "dead"


def test_it_can_be_discarded_before_the_owner_takes_it_up(it: journal.Journal) -> None:
    make.append(it, make.entry())
    make.settle(it, (1, "dead", None))
    ask(it, 1)
    with it.transaction():
        assert it.outbox.dead.discard_many([1]) == [1]
    assert take_up(it) == []
    assert stored(it, 1).reason == "discarded"


def test_a_full_journal_takes_its_dead_letters_up(path: pathlib.Path) -> None:
    """The new entry has the room of the old one's body."""
    with make.opened(path, max_bytes=4 * make.MEBIBYTE) as it:
        make.append(it, make.entry(body=bytes(1_300_000)))
        make.settle(it, (1, "dead", None))
        make.reclaim_all(it)
        make.append(it, make.entry(body=bytes(1_000_000)))
        with pytest.raises(errors.JournalFull):
            make.append(it, make.entry(body=bytes(1_300_000)))
        ask(it, 1)
        assert take_up(it) == [(1, 3)]


def test_without_room_everything_stays_as_it_is(path: pathlib.Path) -> None:
    with make.opened(path, max_bytes=8 * make.MEBIBYTE) as it:
        make.append(it, *(make.entry(body=bytes(1_000_000)) for _ in range(2)))
        make.settle(it, (1, "dead", "why"))
        ask(it, 1)
    with make.opened(path, max_bytes=make.MEBIBYTE) as it:
        for _ in range(2):
            with pytest.raises(errors.JournalFull):
                take_up(it)
        assert (stored(it, 1).outcome, stored(it, 1).reason) == ("dead", "why")
        assert len(stored(it, 1).body) == 1_000_000


def test_a_pending_entry_is_not_discarded(it: journal.Journal) -> None:
    make.append(it, make.entry())
    with pytest.raises(ValueError, match="only a dead letter"):
        make.settle(it, (1, "discarded", None))


# Reasons


def test_a_refusal_keeps_what_was_found() -> None:
    found = {"expected": {"task_state": [None]}, "actual": {"task_state": "deleting"}}
    reason = reasons.refusal("Conflict: in the way", found)
    assert reasons.read(reason) == ("Conflict: in the way", found)


def test_a_long_text_makes_way_for_what_was_found() -> None:
    reason = reasons.refusal("x" * 5000, {"actual": 1})
    assert len(reason) == reasons.MAX_REASON
    text, found = reasons.read(reason)
    assert (set(text), found) == ({"x"}, {"actual": 1})


def test_what_takes_too_much_room_is_left_out() -> None:
    assert reasons.refusal("text", {"actual": "y" * 900}) == "text"
    assert reasons.refusal("text", {}) == "text"


@pytest.mark.parametrize("reason", ["plain", "two\nlines", "two\n{broken", "two\n{1}", "{}"])
def test_a_reason_without_findings_is_its_text(reason: str) -> None:
    assert reasons.read(reason) == (reason, None)
