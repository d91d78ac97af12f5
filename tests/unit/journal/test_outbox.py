# SPDX-License-Identifier: Apache-2.0
"""Entries are numbered once, pending until they are settled, and read in order."""

import dataclasses
import os
import pathlib
import sqlite3

import pytest

from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal
from tests.unit.journal import make


def test_an_entry_comes_back_as_it_went_in(it: journal.Journal) -> None:
    new = [
        make.entry(body=os.urandom(12_288), consumer=b"inbox-01"),
        make.notification(group="", method="", body=b""),
        make.command(group="Größe", method="größer", link="tcp://b.example.org:1"),
    ]
    make.append(it, *new)
    with it.transaction():
        found = it.outbox.pending("conductor", 0, 10, 1 << 30)
    assert [dataclasses.asdict(each) for each in found] == [
        dataclasses.asdict(each) | {"seq": seq} for seq, each in enumerate(new, 1)
    ]


# Numbers


def test_seqs_are_consecutive(it: journal.Journal) -> None:
    assert make.append(it, make.entry()) == [1]
    assert make.append(it, *[make.entry()] * 500) == list(range(2, 502))
    assert make.append(it) == []
    assert make.append(it, make.entry()) == [502]


def test_an_undone_append_leaves_no_gap(it: journal.Journal) -> None:
    make.append(it, make.entry())
    it.begin()
    it.outbox.append_many([make.entry()] * 3)
    it.rollback()
    assert make.append(it, make.entry()) == [2]


@pytest.mark.parametrize("outcome", ["accepted", "applied"])
def test_a_seq_is_not_used_again(path: pathlib.Path, clock: make.Clock, outcome: str) -> None:
    with make.opened(path, clock=clock) as it:
        make.append(it, *[make.command()] * 3)
        make.settle(it, *[(seq, outcome, None) for seq in (1, 2, 3)])
        clock.now += make.RETENTION + 1
        make.reclaim_all(it)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
    with make.opened(path) as it:
        assert make.append(it, make.entry()) == [4]


# Pending


def test_streams_are_read_apart_and_in_order(it: journal.Journal) -> None:
    make.append(
        it,
        make.entry(),
        make.entry(address="scheduler"),
        make.entry(link="tcp://b:1"),
        make.entry(),
    )
    assert make.pending(it) == [1, 3, 4]
    assert make.pending(it, "scheduler") == [2]
    assert make.pending(it, "nobody") == []
    with it.transaction():
        of_link = it.outbox.pending("conductor", 0, 10, 1 << 30, link=make.LINK)
        assert [each.seq for each in of_link] == [1, 4]
        assert sorted(it.outbox.streams()) == [
            (make.LINK, "conductor", 2, 1, 4, 18),
            (make.LINK, "scheduler", 1, 2, 2, 9),
            ("tcp://b:1", "conductor", 1, 3, 3, 9),
        ]


def test_a_page_is_bounded(it: journal.Journal) -> None:
    make.append(it, *[make.entry(body=b"x" * 1000)] * 5)

    def page(after: int, limit: int, max_bytes: int) -> list[int]:
        with it.transaction():
            return [e.seq for e in it.outbox.pending("conductor", after, limit, max_bytes)]

    assert page(0, 2, 1 << 30) == [1, 2]
    assert page(2, 2, 1 << 30) == [3, 4]
    assert page(4, 2, 1 << 30) == [5]
    assert page(5, 2, 1 << 30) == []
    assert page(0, 10, 2000) == [1, 2]
    assert page(0, 10, 2999) == [1, 2]
    assert page(0, 10, 1) == [1], "an entry that is larger than a page still comes"


def test_record_groups(it: journal.Journal) -> None:
    make.append(
        it,
        make.entry(group="a"),
        make.command(group="b"),
        make.entry(group="c", address="scheduler", link="tcp://b:1"),
        make.entry(group="d"),
    )
    make.settle(it, (4, "applied", None))
    with it.transaction():
        assert list(it.outbox.record_groups()) == [
            (make.LINK, "conductor", 1, "a"),
            ("tcp://b:1", "scheduler", 3, "c"),
        ]


def test_streams_are_known_after_a_restart(path: pathlib.Path) -> None:
    with make.opened(path) as it:
        make.append(it, make.entry(), make.entry(address="scheduler"))
    with make.opened(path) as it:
        assert make.pending(it, "scheduler") == [2]
        make.append(it, make.entry(address="scheduler"))
        with it.transaction():
            assert len(it.outbox.streams()) == 2


def test_an_undone_stream_is_made_again(path: pathlib.Path) -> None:
    with make.opened(path) as it:
        it.begin()
        it.outbox.append_many([make.entry(address="new")])
        it.rollback()
        make.append(it, make.entry(address="new"))
    with make.opened(path) as it:
        assert make.pending(it, "new") == [1]


def test_pins(it: journal.Journal) -> None:
    make.append(it, *[make.entry()] * 3)
    make.settle(it, (3, "applied", None))
    with it.transaction():
        it.outbox.pin_many([(1, b"inbox-01"), (2, b"inbox-02"), (3, b"inbox-03")])
    with it.transaction():
        found = it.outbox.pending("conductor", 0, 10, 1 << 30)
        assert [each.consumer for each in found] == [b"inbox-01", b"inbox-02"]
        it.outbox.pin_many([(1, None)])
    with it.transaction():
        assert it.outbox.pending("conductor", 0, 1, 1)[0].consumer is None
        settled = it.outbox.settled.get(3)
        assert settled is not None
        assert settled.consumer is None


def test_the_floor(it: journal.Journal) -> None:
    def floor() -> int:
        with it.transaction():
            return it.outbox.floor()

    assert floor() == 1
    make.append(it, *[make.command()] * 5)
    assert floor() == 1
    make.settle(it, (2, "accepted", None), (1, "applied", None))
    assert floor() == 3
    make.settle(it, (4, "dead", "no"), (5, "expired", None))
    assert floor() == 3
    make.settle(it, (3, "applied", None))
    assert floor() == 6
    make.append(it, make.entry())
    assert floor() == 6


def test_an_undone_settlement_brings_the_floor_back(it: journal.Journal) -> None:
    make.append(it, *[make.entry()] * 3)
    it.begin()
    it.outbox.settle_many([(1, "applied", None)])
    assert it.outbox.floor() == 2
    it.rollback()
    with it.transaction():
        assert it.outbox.floor() == 1


def test_the_floor_is_found_after_a_restart(path: pathlib.Path) -> None:
    with make.opened(path) as it:
        make.append(it, *[make.entry()] * 3)
        make.settle(it, (1, "applied", None))
    with make.opened(path) as it, it.transaction():
        assert it.outbox.floor() == 2


# Settling


def stored(it: journal.Journal, seq: int) -> entries.StoredEntry | None:
    with it.transaction():
        return it.outbox.settled.get(seq)


def test_an_accepted_command_is_gone(it: journal.Journal) -> None:
    make.append(it, make.command())
    assert make.settle(it, (1, "accepted", None)) == [1]
    assert stored(it, 1) is None
    assert make.counters(it) == {"appended": 1, "accepted": 1}


@pytest.mark.parametrize(
    ("outcome", "body"),
    [("applied", b"some body"), ("expired", b""), ("merged", b""), ("dead", b"some body")],
)
def test_what_is_kept_of_a_settled_entry(
    it: journal.Journal, clock: make.Clock, outcome: str, body: bytes
) -> None:
    make.append(it, make.entry())
    clock.now += 5
    make.settle(it, (1, outcome, "reason"))
    kept = stored(it, 1)
    assert kept is not None
    assert (kept.outcome, kept.reason, kept.changed_at) == (outcome, "reason", int(clock.now))
    assert (kept.body, kept.size) == (body, 9)
    assert make.pending(it) == []
    assert make.counters(it) == {"appended": 1, outcome: 1}


def test_the_first_outcome_stands(it: journal.Journal) -> None:
    make.append(it, make.entry(), make.entry())
    assert make.settle(it, (1, "applied", None), (1, "dead", "late"), (99, "dead", None)) == [1]
    assert make.settle(it, (1, "dead", "late"), (2, "applied", None)) == [2]
    assert make.counters(it) == {"appended": 2, "applied": 2}


def test_a_record_does_not_end_as_accepted(it: journal.Journal) -> None:
    make.append(it, make.command(), make.entry())
    with pytest.raises(ValueError, match="entry 2 is no command"):
        make.settle(it, (1, "accepted", None), (2, "accepted", None))
    with pytest.raises(ValueError, match="forgotten"):
        make.settle(it, (1, "forgotten", None))
    assert make.pending(it) == [1, 2]
    assert make.counters(it) == {"appended": 2}


def test_a_reason_is_cut(it: journal.Journal) -> None:
    make.append(it, make.entry())
    make.settle(it, (1, "dead", "x" * 5000))
    kept = stored(it, 1)
    assert kept is not None
    assert kept.reason == "x" * 1000


def test_expiry(it: journal.Journal) -> None:
    make.append(
        it,
        make.notification(expires_at=30.5),
        make.notification(expires_at=10.5, address="scheduler"),
        make.entry(expires_at=20.5),
        make.entry(),
    )

    def expire(now: float, limit: int = 100) -> list[tuple[int, str]]:
        with it.transaction():
            return it.outbox.expire(now, limit)

    assert expire(10.4) == []
    assert expire(40.0, limit=2) == [(2, "scheduler"), (3, "conductor")]
    assert expire(40.0) == [(1, "conductor")]
    assert expire(40.0) == []
    assert make.pending(it) == [4]
    assert make.counters(it) == {"appended": 4, "expired": 3}


def test_counters_last(path: pathlib.Path) -> None:
    with make.opened(path) as it:
        make.append(it, *[make.command()] * 3)
        make.settle(it, (1, "accepted", None), (2, "applied", None))
    with make.opened(path) as it:
        make.settle(it, (3, "accepted", None))
        assert make.counters(it) == {"appended": 3, "accepted": 2, "applied": 1}


# Damage


def damage(path: pathlib.Path, *seqs: int) -> None:
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "UPDATE outbox SET body = zeroblob(length(body)) WHERE seq = ?",
            [(seq,) for seq in seqs],
        )


def test_a_damaged_entry_dies_and_stops_no_other(path: pathlib.Path) -> None:
    with make.opened(path) as it:
        make.append(it, *[make.entry(body=b"x" * 9000)] * 3)
    damage(path, 2)
    with make.opened(path) as it:
        assert make.pending(it) == [1, 3]
        dead = stored(it, 2)
        assert dead is not None
        assert (dead.outcome, dead.reason) == (
            "dead",
            "its bytes in the journal no longer match their checksum",
        )


def test_a_page_of_damaged_entries_is_not_the_end(path: pathlib.Path) -> None:
    with make.opened(path) as it:
        make.append(it, *[make.entry(body=b"x" * 9000)] * 5)
    damage(path, 1, 2, 3)
    with make.opened(path) as it, it.transaction():
        assert [each.seq for each in it.outbox.pending("conductor", 0, 2, 1 << 30)] == [4]


def test_a_flipped_bit_on_the_disk_is_noticed(path: pathlib.Path) -> None:
    with make.opened(path) as it:
        make.append(it, make.entry(body=b"needle" * 3000))
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(b"needle")] ^= 1
    path.write_bytes(raw)
    with make.opened(path) as it:
        assert make.pending(it) == []
        assert make.counters(it) == {"appended": 1, "dead": 1}


# What is settled


def test_listing(it: journal.Journal) -> None:
    make.append(it, *[make.entry()] * 6)
    make.settle(it, *[(seq, "dead", f"reason {seq}") for seq in (2, 4, 5)])

    def listing(outcome: entries.Outcome | None, after: int, limit: int) -> list[int]:
        with it.transaction():
            return [each.seq for each in it.outbox.settled.listing(outcome, after, limit)]

    assert listing(None, 0, 10) == [1, 3, 6]
    assert listing(entries.Outcome.DEAD, 0, 2) == [2, 4]
    assert listing(entries.Outcome.DEAD, 4, 2) == [5]
    assert listing(entries.Outcome.APPLIED, 0, 2) == []


def test_entries_are_purged_after_their_retention(it: journal.Journal, clock: make.Clock) -> None:
    make.append(it, *[make.entry()] * 5)
    make.settle(it, (1, "applied", None), (2, "expired", None), (3, "dead", None))
    clock.now += 10
    make.settle(it, (4, "merged", "into 5"))
    clock.now += make.RETENTION - 11
    make.reclaim_all(it)
    assert [seq for seq in range(1, 6) if stored(it, seq)] == [1, 2, 3, 4, 5]
    clock.now += 2
    make.reclaim_all(it)
    assert [seq for seq in range(1, 6) if stored(it, seq)] == [3, 4, 5]
    clock.now += 10
    make.reclaim_all(it)
    assert [seq for seq in range(1, 6) if stored(it, seq)] == [3, 5]
    assert make.counters(it)["purged"] == 3
