# SPDX-License-Identifier: Apache-2.0
"""How a writer opens its journal, keeps it tidy, and stops."""

import os
import pathlib
import threading

import pytest

from nova_edge_bus import errors
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import quarantine
from nova_edge_bus.journal import writer as writer_module
from tests.unit.journal import make

# Opening


def test_a_journal_that_cannot_be_opened(path: pathlib.Path) -> None:
    path.write_bytes(b"hello, world! " * 1000)
    with make.writing(path) as writer:
        assert isinstance(writer.errors.get(timeout=make.WAIT), errors.JournalCorrupt)
        for _ in range(2):
            with pytest.raises(errors.JournalCorrupt):
                writer.append(make.entry())
            with pytest.raises(errors.JournalCorrupt):
                writer.run(make.append_op)
    assert writer.errors.empty(), "a final error is not tried again"


def test_whoever_opens_may_set_a_corrupt_journal_aside(path: pathlib.Path) -> None:
    path.write_bytes(b"hello, world! " * 1000)

    def open_journal() -> journal.Journal:
        try:
            return journal.Journal.open(path, max_bytes=make.QUOTA, retention=1)
        except errors.JournalCorrupt:
            quarantine.quarantine(path)
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
        outcomes = make.Outcomes(100)
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
            writer.writer.submit(make.append_op, lambda *_: None)


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
