# SPDX-License-Identifier: Apache-2.0
"""Many callers share commits; each gets its own outcome, in order, and only after the commit."""

import functools
import os
import pathlib
import sqlite3
import threading
from typing import Any

import pytest

from nova_edge_bus import errors
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import writer as writer_module
from tests.unit.journal import make


class Outcomes:
    """Collects what ``done`` callbacks are given, under a name each."""

    def __init__(self, expected: int) -> None:
        self.seen: list[tuple[str, Any, Exception | None]] = []
        self._expected = expected
        self._complete = threading.Event()

    def of(self, name: str) -> Any:
        return functools.partial(self._add, name)

    def _add(self, name: str, result: Any, error: Exception | None) -> None:
        self.seen.append((name, result, error))
        if len(self.seen) == self._expected:
            self._complete.set()

    def wait(self) -> list[tuple[str, Any, type[Exception] | None]]:
        assert self._complete.wait(make.WAIT)
        return [
            (name, result, type(error) if error else None) for name, result, error in self.seen
        ]


def append_op(it: journal.Journal) -> int:
    return it.outbox.append_many([make.entry()])[0]


def fail_op(it: journal.Journal) -> None:
    it.outbox.append_many([make.entry(address="of the failure")])
    raise KeyError("on purpose")


def pending(writer: make.Writer) -> list[int]:
    return writer.run(
        lambda it: [each.seq for each in it.outbox.pending("conductor", 0, 10_000, 1 << 30)]
    )


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
        assert pending(writer) == [1]
        assert found == [1]


def test_what_waits_together_is_committed_together(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make.writing(path) as writer:
        outcomes = Outcomes(100)
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
    assert commits.count < 600


def test_a_group_is_bounded(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with make.writing(path, max_bytes=8 * make.MEBIBYTE) as writer:
        outcomes = Outcomes(40)
        most = writer.run(lambda it: it.group_bytes)
        with writer.held():
            commits = Commits(monkeypatch)
            for _ in range(40):
                writer.writer.append(make.entry(body=bytes(most // 10)), outcomes.of("a"))
        outcomes.wait()
    assert 4 <= commits.count <= 6


def test_done_comes_in_the_order_of_submission(path: pathlib.Path) -> None:
    with make.writing(path) as writer:
        outcomes = Outcomes(7)
        with writer.held():
            writer.writer.append(make.entry(), outcomes.of("a"))
            writer.writer.submit(append_op, outcomes.of("b"))
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
        outcomes = Outcomes(3)
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
        outcomes = Outcomes(4)
        with writer.held():
            writer.writer.append(make.entry(), outcomes.of("a"))
            writer.writer.append(make.entry(address="poison"), outcomes.of("b"))
            writer.writer.submit(append_op, outcomes.of("c"))
            writer.writer.append(make.entry(), outcomes.of("d"))
            monkeypatch.setattr(journal.Journal, "commit", failing)
        assert outcomes.wait() == [
            ("a", 1, None),
            ("b", None, errors.JournalFull),
            ("c", 2, None),
            ("d", 3, None),
        ]
        assert pending(writer) == [1, 2, 3]


def test_a_locked_journal_fails_a_group_at_once(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []

    def locked(it: journal.Journal) -> None:
        waits.append(it)
        raise errors.JournalLocked("another process writes it")

    with make.writing(path) as writer:
        outcomes = Outcomes(100)
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
        outcomes = Outcomes(3)
        with writer.held():
            writer.writer.append(make.entry(), outcomes.of("a"))
            writer.writer.submit(lose, outcomes.of("b"))
            writer.writer.append(make.entry(), outcomes.of("c"))
        assert outcomes.wait() == [
            ("a", 1, None),
            ("b", None, errors.JournalError),
            ("c", 2, None),
        ]
        assert pending(writer) == [1, 2]


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
        outcomes = Outcomes(4)
        with writer.held():
            writer.writer.append(make.entry(), outcomes.of("a"))
            writer.writer.append(make.entry(body=bytes(100_000)), outcomes.of("b"))
            writer.writer.append(make.entry(), outcomes.of("c"))
            writer.writer.submit(append_op, outcomes.of("d"))
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
    outcomes = Outcomes(1)
    it.append(make.entry(), bad)
    it.append(make.entry(), outcomes.of("a"))
    assert outcomes.wait() == [("a", 2, None)]
    assert it.stop(make.WAIT)


# Opening


def test_a_journal_that_cannot_be_opened(path: pathlib.Path) -> None:
    path.write_bytes(b"hello, world! " * 1000)
    with make.writing(path) as writer:
        assert isinstance(writer.errors.get(timeout=make.WAIT), errors.JournalCorrupt)
        for _ in range(2):
            with pytest.raises(errors.JournalCorrupt):
                writer.append(make.entry())
            with pytest.raises(errors.JournalCorrupt):
                writer.run(append_op)
    assert writer.errors.empty(), "a final error is not tried again"


def test_whoever_opens_may_set_a_corrupt_journal_aside(path: pathlib.Path) -> None:
    path.write_bytes(b"hello, world! " * 1000)

    def open_journal() -> journal.Journal:
        try:
            return journal.Journal.open(path, max_bytes=make.QUOTA, retention=1)
        except errors.JournalCorrupt:
            journal.quarantine(path)
            return journal.Journal.open(path, max_bytes=make.QUOTA, retention=1)

    writer = make.Writer(open_journal)
    assert writer.append(make.entry()) == 1
    assert writer.writer.stop(make.WAIT)


def test_a_locked_journal_is_opened_when_it_is_free(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "REOPEN_SECONDS", 0.0)
    locked = threading.Event()
    locked.set()

    def open_journal() -> journal.Journal:
        if locked.is_set():
            raise errors.JournalLocked("another process has it")
        return journal.Journal.open(path, max_bytes=make.QUOTA, retention=1)

    writer = make.Writer(open_journal)
    with pytest.raises(errors.JournalLocked):
        writer.append(make.entry())
    locked.clear()
    assert writer.append(make.entry()) == 1
    assert writer.writer.stop(make.WAIT)


# Stopping


def test_stop_commits_what_was_submitted(path: pathlib.Path) -> None:
    with make.writing(path) as writer:
        outcomes = Outcomes(100)
        with writer.held():
            for _ in range(100):
                writer.writer.append(make.entry(), outcomes.of("a"))
            assert not writer.writer.stop(0.0), "it still has work"
        assert writer.writer.stop(make.WAIT)
        assert len(outcomes.seen) == 100
        assert writer.writer.stop(make.WAIT)
    with make.opened(path) as it:
        assert make.pending(it) == list(range(1, 101))
    assert not path.with_name(path.name + "-wal").exists(), "closed, not just abandoned"


def test_nothing_is_taken_after_stop(path: pathlib.Path) -> None:
    with make.writing(path) as writer:
        assert writer.writer.stop(make.WAIT)
        with pytest.raises(errors.JournalError, match="is closed: this process is stopping"):
            writer.writer.append(make.entry(), lambda *_: None)
        with pytest.raises(errors.JournalError, match="is closed"):
            writer.writer.submit(append_op, lambda *_: None)


def test_every_submission_is_answered_when_stop_comes_between(path: pathlib.Path) -> None:
    with make.writing(path) as writer:
        answered: list[int | None] = []
        taken = [0] * 8

        def caller(number: int) -> None:
            try:
                while True:
                    writer.writer.append(make.entry(), lambda seq, _: answered.append(seq))
                    taken[number] += 1
            except errors.JournalError:
                pass

        threads = [threading.Thread(target=caller, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        while len(answered) < 500:
            make.pause()
        assert writer.writer.stop(make.WAIT)
        for thread in threads:
            thread.join(make.WAIT)
    assert sorted(seq for seq in answered if seq) == list(range(1, sum(taken) + 1))


# Housekeeping


def file_size(path: pathlib.Path) -> int:
    return path.stat().st_size


def shrinks(path: pathlib.Path, below: int) -> bool:
    for _ in range(int(make.WAIT / 0.05)):
        if file_size(path) < below:
            return True
        make.pause()
    return False


@pytest.fixture
def settled(path: pathlib.Path) -> pathlib.Path:
    """A journal whose file is mostly free pages."""
    with make.opened(path) as it:
        make.append(it, *[make.command(body=bytes(12_288))] * 500)
        make.settle(it, *[(seq, "accepted", None) for seq in range(1, 501)])
    assert file_size(path) > 6_000_000
    return path


def test_idle_time_gives_space_back(settled: pathlib.Path) -> None:
    with make.writing(settled):
        assert shrinks(settled, 1_000_000)


def test_steady_traffic_does_not_keep_housekeeping_away(
    settled: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "RETENTION_SECONDS", 0.2)
    monkeypatch.setattr(writer_module, "IDLE_SECONDS", 3600.0)
    with make.writing(settled) as writer:
        for _ in range(10_000):
            writer.append(make.entry())
            if file_size(settled) < 1_000_000:
                break
        else:
            pytest.fail("no housekeeping came between")


def test_housekeeping_that_fails_is_reported_and_not_repeated_at_once(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "IDLE_SECONDS", 0.05)

    def fail(it: journal.Journal) -> int:
        raise errors.JournalError("the disk failed")

    monkeypatch.setattr(journal.Journal, "reclaim", fail)
    with make.writing(path) as writer:
        assert str(writer.errors.get(timeout=make.WAIT)) == "the disk failed"
        for _ in range(5):
            make.pause()
        assert writer.errors.empty()
        assert writer.append(make.entry()) == 1


def test_the_wal_is_checkpointed_between_groups(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "IDLE_SECONDS", 3600.0)
    with make.writing(path) as writer:
        writer.run(lambda it: it._db.pragma("wal_autocheckpoint = 0"))
        for _ in range(2000):
            writer.append(make.entry(body=os.urandom(12_288)))
        limit = writer.run(lambda it: it._quota.wal_bytes)
        wal = path.with_name(path.name + "-wal")
        assert file_size(wal) < limit


def test_an_entry_is_taken_as_it_was_when_it_was_handed_over(path: pathlib.Path) -> None:
    with make.writing(path) as writer:
        entry = make.entry(body=b"now")
        assert writer.append(entry) == 1
        (found,) = writer.run(lambda it: it.outbox.pending("conductor", 0, 1, 100))
        assert isinstance(found, entries.Entry)
        assert found.body == b"now"
