# SPDX-License-Identifier: Apache-2.0
"""A command is accepted once, dispatched once, and remembered for as long as it may come again."""

import dataclasses
import pathlib
import sqlite3

import pytest

from nova_edge_bus import errors
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import schema
from tests.unit.journal import make

ORIGIN = b"origin-1"
OTHER = b"origin-2"
ADDRESS = "compute.host-1"
State = entries.InboxState


def accept(it: journal.Journal, *received: entries.Received) -> list[bool]:
    with it.transaction():
        return it.inbox.accept_many(received)


def dispatch(it: journal.Journal, seq: int, origin: bytes = ORIGIN) -> None:
    with it.transaction():
        it.inbox.mark_dispatched_many([(origin, seq)])


def finish(it: journal.Journal, *seqs: int, origin: bytes = ORIGIN) -> None:
    with it.transaction():
        it.inbox.mark_done_many([(origin, seq) for seq in seqs])


def forget(it: journal.Journal, floor: int, address: str = ADDRESS) -> None:
    with it.transaction():
        it.inbox.forget_below(ORIGIN, address, floor)


def undone(it: journal.Journal) -> list[int]:
    with it.transaction():
        return [one.seq for one in it.inbox.undone()]


def known(it: journal.Journal, origin: bytes = ORIGIN) -> dict[int, State]:
    with it.transaction():
        return it.inbox.known(origin)


def test_a_command_comes_back_as_it_went_in(path: pathlib.Path) -> None:
    one = make.received(7, body=b"x" * 12_288, group="Größe")
    with make.opened(path) as it:
        assert accept(it, one) == [True]
    with make.opened(path) as it, it.transaction():
        (found,) = it.inbox.undone()
    assert dataclasses.asdict(found) == dataclasses.asdict(one)


def test_a_copy_is_recognised(it: journal.Journal) -> None:
    assert accept(it, make.received(1), make.received(2), make.received(1)) == [True, True, False]
    assert accept(it, make.received(2, epoch=9, body=b"y")) == [False]
    assert accept(it, make.received(2, origin=OTHER)) == [True]
    assert make.counters(it) == {"received": 3}


@pytest.mark.parametrize("state", [State.ACCEPTED, State.DISPATCHED, State.DONE])
def test_a_copy_is_recognised_after_a_restart(path: pathlib.Path, state: State) -> None:
    with make.opened(path) as it:
        accept(it, make.received(1))
        if state >= State.DISPATCHED:
            dispatch(it, 1)
        if state == State.DONE:
            finish(it, 1)
    with make.opened(path) as it:
        assert known(it) == {1: state}
        assert accept(it, make.received(1)) == [False]


def test_what_was_dispatched_is_not_undone(it: journal.Journal) -> None:
    accept(it, make.received(5), make.received(3), make.received(4, origin=OTHER))
    assert undone(it) == [5, 3, 4], "in the order of acceptance"
    dispatch(it, 3)
    assert undone(it) == [5, 4]
    with it.transaction():
        assert [one.seq for one in it.inbox.interrupted()] == [3]
        assert [one.seq for one in it.inbox.undone(limit=1)] == [5]
    finish(it, 3)
    with it.transaction():
        assert it.inbox.interrupted() == []
    assert known(it) == {5: State.ACCEPTED, 3: State.DONE}


def test_what_was_cut_short_is_told_and_kept_for_the_retention(
    path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = make.Clock()
    body = b"needle" * 100
    with make.opened(path, clock=clock) as it:
        accept(it, *(make.received(seq, body=body, received_at=clock()) for seq in (1, 2, 3)))
        dispatch(it, 1)
        dispatch(it, 2)
        finish(it, 2)
    with make.opened(path, clock=clock) as it:
        assert f"commands-cut-short journal={path} count=1" in caplog.text
        clock.now += make.RETENTION
        it.reclaim()
        assert known(it)[1] is State.DISPATCHED
        clock.now += 2
        it.reclaim()
        assert known(it) == {1: State.DONE, 2: State.DONE, 3: State.ACCEPTED}
        assert accept(it, make.received(1)) == [False], "its number is still known"
        forget(it, 3)
        assert known(it) == {3: State.ACCEPTED}
    caplog.clear()
    with make.opened(path, clock=clock):
        assert "commands-cut-short" not in caplog.text


def test_only_an_accepted_command_is_marked_dispatched(it: journal.Journal) -> None:
    accept(it, make.received(1))
    finish(it, 1)
    dispatch(it, 1)
    dispatch(it, 2)
    assert known(it) == {1: State.DONE}


def test_a_done_commands_body_is_dropped(path: pathlib.Path) -> None:
    with make.opened(path) as it:
        accept(it, make.received(1, body=b"needle" * 100))
        finish(it, 1)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT body FROM inbox").fetchall() == [(b"",)]


def test_numbers_below_the_floor_are_forgotten_and_known(path: pathlib.Path) -> None:
    with make.opened(path) as it:
        accept(it, *[make.received(seq) for seq in (1, 2, 3)])
        finish(it, 1, 3)
        forget(it, 3)
        assert known(it) == {2: State.ACCEPTED, 3: State.DONE}, "2 is still to be dispatched"
        forget(it, 2)
    with make.opened(path) as it:
        assert accept(it, make.received(1), make.received(2), make.received(4)) == [
            False,
            False,
            True,
        ]
        finish(it, 2)
        assert known(it) == {3: State.DONE, 4: State.ACCEPTED}
        with it.transaction():
            assert it.inbox.floor(ORIGIN, ADDRESS) == 3


def test_each_stream_has_a_floor_of_its_own(it: journal.Journal) -> None:
    accept(it, make.received(1, address="a"), make.received(5, address="b"))
    finish(it, 1, 5)
    forget(it, 100, address="a")
    assert known(it) == {5: State.DONE}
    assert accept(it, make.received(3, address="b"), make.received(2, address="a")) == [
        True,
        False,
    ]
    assert accept(it, make.received(3, address="a", origin=OTHER)) == [True]


def test_a_withdrawn_command_may_come_again(it: journal.Journal) -> None:
    accept(it, make.received(1), make.received(2))
    dispatch(it, 2)
    with it.transaction():
        assert it.inbox.withdraw(ORIGIN, 1)
        assert not it.inbox.withdraw(ORIGIN, 1)
        assert not it.inbox.withdraw(ORIGIN, 2), "it has been dispatched"
    assert accept(it, make.received(1), make.received(2)) == [True, False]
    assert make.counters(it) == {"received": 3, "withdrawn": 1}


def test_the_newest_epoch_of_each_sender_is_remembered(path: pathlib.Path) -> None:
    def newest(it: journal.Journal, epoch: int, origin: bytes = ORIGIN) -> int:
        with it.transaction():
            return it.inbox.newest_epoch(origin, epoch)

    with make.opened(path) as it:
        assert [newest(it, epoch) for epoch in (2, 2, 4, 3)] == [2, 2, 4, 4]
        assert newest(it, 1, OTHER) == 1
    with make.opened(path) as it:
        assert newest(it, 3) == 4
        assert newest(it, schema.MAX_SEQ) == schema.MAX_SEQ


def test_acceptance_can_be_undone(it: journal.Journal) -> None:
    it.begin()
    assert it.inbox.accept_many([make.received(1)]) == [True]
    it.rollback()
    assert accept(it, make.received(1)) == [True]
    assert make.counters(it) == {"received": 1}


def test_a_damaged_command_is_not_dispatched(path: pathlib.Path) -> None:
    with make.opened(path) as it:
        accept(it, *[make.received(seq, body=b"x" * 100) for seq in (1, 2, 3)])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE inbox SET body = zeroblob(100) WHERE seq = 2")
    with make.opened(path) as it:
        assert undone(it) == [1, 3]
        assert known(it) == {1: State.ACCEPTED, 2: State.DAMAGED, 3: State.ACCEPTED}
        assert make.counters(it) == {"received": 3, "damaged": 1}


def test_a_full_journal_takes_no_command(path: pathlib.Path) -> None:
    with make.opened(path, max_bytes=make.MEBIBYTE) as it:
        with pytest.raises(errors.JournalFull, match="cannot accept 1048576 bytes to journal"):
            accept(it, make.received(1), make.received(2, body=bytes(make.MEBIBYTE - 9)))
        assert known(it) == {}
        assert accept(it, make.received(1)) == [True]
