# SPDX-License-Identifier: Apache-2.0
"""Many callers share commits; each gets its own outcome, in order, and only after the commit."""

import pathlib
import queue
import sqlite3
import threading
from collections.abc import Callable
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


def lent(path: pathlib.Path, work: Callable[[make.Writer], None]) -> None:
    """Run *work* with a writer in a thread that is not the main one."""
    failures: list[BaseException] = []
    with make.writing(path) as writer:

        def run() -> None:
            try:
                work(writer)
            except BaseException as error:
                failures.append(error)

        # The thread has to be through with the open; nobody could lend himself before.
        writer.append(make.entry())
        thread = threading.Thread(target=run)
        thread.start()
        thread.join(make.WAIT)
        assert not thread.is_alive()
    assert not failures, failures


def appended(writer: make.Writer, *, size: int = 100) -> tuple[int, threading.Thread]:
    """Append as one who waits; the seq, and the thread that has done it."""
    found: queue.Queue[tuple[int, threading.Thread]] = queue.Queue()

    def done(seq: int | None, error: Exception | None) -> None:
        found.put((seq or 0, threading.current_thread()))

    writer.writer.append(make.entry(body=bytes(size)), done, waits=True)
    return found.get(timeout=make.WAIT)


def until_lent(writer: make.Writer) -> None:
    """Append until the caller's own thread has done it: the writer's lets go a little late."""
    while appended(writer)[1] is not threading.current_thread():
        pass


def test_who_waits_anyway_commits_in_its_own_thread(path: pathlib.Path) -> None:
    lent(path, until_lent)


def test_the_main_thread_does_not_lend_itself(path: pathlib.Path) -> None:
    with make.writing(path) as writer:
        ran = {appended(writer)[1] for _ in range(20)}
    assert threading.main_thread() not in ran


def test_the_journal_is_used_by_one_thread_at_a_time(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = threading.Lock()
    overlaps: list[str] = []
    begin, commit = journal.Journal.begin, journal.Journal.commit

    def begun(it: journal.Journal) -> None:
        if not inside.acquire(blocking=False):
            overlaps.append(threading.current_thread().name)
        begin(it)

    def committed(it: journal.Journal) -> None:
        commit(it)
        inside.release()

    seqs: list[int] = []
    with make.writing(path) as writer:
        writer.append(make.entry())
        monkeypatch.setattr(journal.Journal, "begin", begun)
        monkeypatch.setattr(journal.Journal, "commit", committed)
        has_lent = threading.Event()

        def first() -> None:
            until_lent(writer)
            has_lent.set()
            others()

        def others() -> None:
            seqs.extend(appended(writer)[0] for _ in range(40))

        threads = [threading.Thread(target=each) for each in (first, *[others] * 5)]
        for thread in threads:
            thread.start()
            # Those that come while others are at it do not get to lend themselves.
            assert has_lent.wait(make.WAIT)
        for thread in threads:
            thread.join(make.WAIT)
    assert len(set(seqs)) == 240
    assert overlaps == []


def test_one_that_is_torn_out_of_it_leaves_the_journal_to_others(path: pathlib.Path) -> None:
    def work(writer: make.Writer) -> None:
        until_lent(writer)

        def torn(seq: Any, error: Any) -> None:
            raise SystemExit

        with pytest.raises(SystemExit):
            writer.writer.append(make.entry(), torn, waits=True)
        until_lent(writer)

    lent(path, work)


def test_what_only_the_thread_does_is_not_put_off_by_callers(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints: list[threading.Thread] = []
    checkpoint = journal.Journal.checkpoint

    def noted(it: journal.Journal) -> None:
        checkpoints.append(threading.current_thread())
        checkpoint(it)

    monkeypatch.setattr(journal.Journal, "checkpoint", noted)
    monkeypatch.setattr(writer_module, "IDLE_SECONDS", 3600.0)

    def work(writer: make.Writer) -> None:
        until_lent(writer)
        while not checkpoints:
            appended(writer, size=100_000)
        assert checkpoints[0] is not threading.current_thread()

    lent(path, work)
