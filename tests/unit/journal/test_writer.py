# SPDX-License-Identifier: Apache-2.0
"""Many callers share commits; each gets its own outcome, in order, and only after the commit."""

import pathlib
import sqlite3
import threading
from typing import Any

import pytest

from nova_edge_bus import errors
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import writer as writer_module
from tests.unit.journal import make


def fail_op(it: journal.Journal) -> None:
    it.outbox.append_many([make.entry(address="of the failure")])
    raise KeyError("on purpose")


class Commits:
    """Counts the commits of a journal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        commit = journal.Journal.commit

        def counted(it: journal.Journal) -> None:
            commit(it)
            self.count += 1

        monkeypatch.setattr(journal.Journal, "commit", counted)


def test_an_append_is_committed_before_its_caller_hears(path: pathlib.Path) -> None:
    with make.writing(path) as writer:
        found: list[int] = []

        def done(seq: int | None, error: Exception | None) -> None:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as other:
                found.extend(row[0] for row in other.execute("SELECT seq FROM outbox"))

        writer.writer.append(make.entry(), done)
        assert make.pending_in(writer) == [1]
        assert found == [1]


def test_what_waits_together_is_committed_together(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make.writing(path) as writer:
        outcomes = make.Outcomes(100)
        with writer.held():
            commits = Commits(monkeypatch)
            for number in range(100):
                writer.writer.append(make.entry(), outcomes.of(str(number)))
        seen = outcomes.wait()
    assert [seq for _, seq, _ in seen] == list(range(1, 101))
    assert commits.count <= 2, "the operation that held the thread up, and the group"


def test_threads_share_commits(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = Commits(monkeypatch)
    seqs: list[int] = []
    with make.writing(path) as writer:

        def caller() -> None:
            seqs.extend(writer.append(make.entry(body=bytes(12_288))) for _ in range(50))

        threads = [threading.Thread(target=caller) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(make.WAIT)
    assert sorted(seqs) == list(range(1, 801))
    assert commits.count < 800


def test_a_group_is_bounded(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with make.writing(path, max_bytes=8 * make.MEBIBYTE) as writer:
        outcomes = make.Outcomes(40)
        most = writer.run(lambda it: it.group_bytes)
        with writer.held():
            commits = Commits(monkeypatch)
            for _ in range(40):
                writer.writer.append(make.entry(body=bytes(most // 10)), outcomes.of("a"))
        outcomes.wait()
    assert 4 <= commits.count <= 6


def test_done_comes_in_the_order_of_submission(path: pathlib.Path) -> None:
    with make.writing(path) as writer:
        outcomes = make.Outcomes(7)
        with writer.held():
            writer.writer.append(make.entry(), outcomes.of("a"))
            writer.writer.submit(make.append_op, outcomes.of("b"))
            writer.writer.submit(fail_op, outcomes.of("c"))
            writer.writer.append(make.entry(), outcomes.of("d"))
            writer.writer.append(make.entry(body=bytes(make.QUOTA)), outcomes.of("e"))
            writer.writer.append(make.entry(), outcomes.of("f"))
            writer.writer.submit(lambda it: it.outbox.floor(), outcomes.of("g"))
        assert outcomes.wait() == [
            ("a", 1, None),
            ("b", 2, None),
            ("c", None, KeyError),
            ("d", 3, None),
            ("e", None, errors.JournalFull),
            ("f", 4, None),
            ("g", 1, None),
        ]
        streams = writer.run(lambda it: [stream.address for stream in it.outbox.streams()])
        assert streams == ["conductor"]


def test_one_operation_sees_what_those_before_it_did(path: pathlib.Path) -> None:
    with make.writing(path) as writer:
        outcomes = make.Outcomes(3)
        with writer.held():
            writer.writer.append(make.entry(), outcomes.of("append"))
            writer.writer.submit(
                lambda it: it.outbox.settle_many([(1, "applied", None)]), outcomes.of("settle")
            )
            writer.writer.submit(lambda it: it.outbox.floor(), outcomes.of("floor"))
        assert outcomes.wait() == [
            ("append", 1, None),
            ("settle", [1], None),
            ("floor", 2, None),
        ]


def test_a_commit_that_fails_costs_only_who_made_it_fail(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = journal.Journal.commit

    def failing(it: journal.Journal) -> None:
        if any(stream.address == "poison" for stream in it.outbox.streams()):
            it.rollback()
            raise errors.JournalFull("no room at the commit")
        commit(it)

    with make.writing(path) as writer:
        outcomes = make.Outcomes(4)
        with writer.held():
            writer.writer.append(make.entry(), outcomes.of("a"))
            writer.writer.append(make.entry(address="poison"), outcomes.of("b"))
            writer.writer.submit(make.append_op, outcomes.of("c"))
            writer.writer.append(make.entry(), outcomes.of("d"))
            monkeypatch.setattr(journal.Journal, "commit", failing)
        assert outcomes.wait() == [
            ("a", 1, None),
            ("b", None, errors.JournalFull),
            ("c", 2, None),
            ("d", 3, None),
        ]
        assert make.pending_in(writer) == [1, 2, 3]


def test_a_locked_journal_fails_a_group_at_once(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []

    def locked(it: journal.Journal) -> None:
        waits.append(it)
        raise errors.JournalLocked("another process writes it")

    with make.writing(path) as writer:
        outcomes = make.Outcomes(100)
        with writer.held(), monkeypatch.context() as patched:
            for _ in range(100):
                writer.writer.append(make.entry(), outcomes.of("a"))
            patched.setattr(journal.Journal, "begin", locked)
            # Only the thread itself can tell when it has passed the place that is patched.
            writer.release()
            assert set(outcomes.wait()) == {("a", None, errors.JournalLocked)}
        assert len(waits) == 1
        assert writer.append(make.entry()) == 1


def test_a_lost_transaction_is_made_up_for(path: pathlib.Path) -> None:
    """Some errors of the disk have SQLite undo the whole transaction by itself."""

    def lose(it: journal.Journal) -> None:
        it._db._driver.rollback()
        raise errors.JournalError("the disk failed")

    with make.writing(path) as writer:
        outcomes = make.Outcomes(3)
        with writer.held():
            writer.writer.append(make.entry(), outcomes.of("a"))
            writer.writer.submit(lose, outcomes.of("b"))
            writer.writer.append(make.entry(), outcomes.of("c"))
        assert outcomes.wait() == [
            ("a", 1, None),
            ("b", None, errors.JournalError),
            ("c", 2, None),
        ]
        assert make.pending_in(writer) == [1, 2]


def test_an_operation_that_hides_a_lost_transaction_does_not_pass(path: pathlib.Path) -> None:
    with make.writing(path) as writer:
        with pytest.raises(errors.JournalError, match="ended by an error"):
            writer.run(lambda it: it._db._driver.rollback())
        assert writer.append(make.entry()) == 1


def test_sqlites_own_limit_costs_only_who_met_it(path: pathlib.Path) -> None:
    def limit(it: journal.Journal) -> None:
        pages = int(it._db.pragma("page_count"))
        it._db.pragma(f"max_page_count = {pages + 8}")

    with make.writing(path) as writer:
        writer.append(make.entry())
        writer.run(limit)
        outcomes = make.Outcomes(4)
        with writer.held():
            writer.writer.append(make.entry(), outcomes.of("a"))
            writer.writer.append(make.entry(body=bytes(100_000)), outcomes.of("b"))
            writer.writer.append(make.entry(), outcomes.of("c"))
            writer.writer.submit(make.append_op, outcomes.of("d"))
        assert outcomes.wait() == [
            ("a", 2, None),
            ("b", None, errors.JournalFull),
            ("c", 3, None),
            ("d", 4, None),
        ]


def test_a_done_that_raises_stops_nobody(path: pathlib.Path) -> None:
    def bad_done(result: Any, error: Exception | None) -> None:
        raise LookupError("in done")

    with make.writing(path) as writer:
        writer.writer.append(make.entry(), bad_done)
        assert writer.append(make.entry()) == 2
        assert isinstance(writer.errors.get(timeout=make.WAIT), LookupError)


def test_an_on_error_that_raises_stops_nobody(path: pathlib.Path) -> None:
    def bad(*_: Any) -> None:
        raise LookupError

    it = writer_module.JournalWriter(
        lambda: journal.Journal.open(path, max_bytes=make.QUOTA, retention=1), bad
    )
    outcomes = make.Outcomes(1)
    it.append(make.entry(), bad)
    it.append(make.entry(), outcomes.of("a"))
    assert outcomes.wait() == [("a", 2, None)]
    assert it.stop(make.WAIT)
