# SPDX-License-Identifier: Apache-2.0
"""A journal keeps within its quota, says clearly when it is full, and gives space back."""

import functools
import itertools
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator

import hypothesis
import pytest
from hypothesis import strategies

from nova_edge_bus import errors
from nova_edge_bus.journal import database
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import housekeeping
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import quota
from tests.unit.journal import make

SMALL = 4 * make.MEBIBYTE


@pytest.fixture
def small(path: pathlib.Path, clock: make.Clock) -> Iterator[journal.Journal]:
    """A journal with a quota that a test can fill."""
    with make.opened(path, max_bytes=SMALL, clock=clock) as opened:
        yield opened


def until_full(append: Callable[[], list[int]]) -> tuple[list[int], errors.JournalFull]:
    """Append until the journal is full; the seqs, and the error."""
    seqs: list[int] = []
    try:
        while True:
            seqs += append()
    except errors.JournalFull as error:
        return seqs, error


def fill(it: journal.Journal, size: int = 12_288, kind: int = make.RECORD) -> list[int]:
    """Append entries of one size until the journal is full; the seqs."""
    new = make.entry(body=os.urandom(size), kind=kind)
    seqs: list[int] = []
    for count in (200, 20, 1):
        batch = [new] * count
        seqs += until_full(functools.partial(make.append, it, *batch))[0]
    return seqs


def settle(it: journal.Journal, seqs: list[int], outcome: str, reason: str | None = None) -> None:
    """Settle entries in batches, as a sender does."""
    for first in range(0, len(seqs), 200):
        make.settle(it, *[(seq, outcome, reason) for seq in seqs[first : first + 200]])


@pytest.mark.parametrize("max_bytes", [make.MEBIBYTE, SMALL])
@pytest.mark.parametrize("size", [500, 4050, 12_288, 50_000])
def test_the_files_keep_within_the_quota(path: pathlib.Path, size: int, max_bytes: int) -> None:
    with make.opened(path, max_bytes=max_bytes) as it:
        seqs = fill(it, size)
        assert len(seqs) * (size + 500) > 0.5 * max_bytes
        assert database.files_size(it.path) <= max_bytes
        settle(it, seqs, "applied", "x" * 100)
        assert database.files_size(it.path) <= max_bytes
        assert make.pending(it) == []


def test_a_full_journal_says_so(small: journal.Journal) -> None:
    fill(small)
    with pytest.raises(errors.JournalFull) as caught:
        make.append(small, make.entry(body=bytes(23_110)))
    text = str(caught.value)
    assert text.startswith(f"cannot append 23110 bytes to journal {small.path}: quota 4 MiB is ")
    assert text.endswith("raise [edge_bus] journal_max_bytes or see 'nova-edge-bus status'")


def test_nothing_is_written_of_what_has_no_room(small: journal.Journal) -> None:
    seqs = fill(small)
    small.begin()
    before = small._db._driver.total_changes
    with pytest.raises(errors.JournalFull):
        small.outbox.append_many([make.entry(body=b""), make.entry(body=bytes(SMALL))])
    assert small._db._driver.total_changes == before
    small.commit()
    assert make.pending(small) == seqs


def test_room_for_says_what_an_append_will_do(small: journal.Journal) -> None:
    with small.transaction():
        assert small.outbox.room_for(1000)
        assert not small.outbox.room_for(SMALL)
    fill(small)
    with small.transaction():
        assert not small.outbox.room_for(12_288)


def test_settling_makes_room(small: journal.Journal) -> None:
    seqs = fill(small, kind=make.COMMAND)
    settle(small, seqs, "accepted")
    again = fill(small, kind=make.COMMAND)
    assert again[0] == seqs[-1] + 1
    assert len(again) >= 0.9 * len(seqs)


def test_retained_entries_make_way_for_new_ones(small: journal.Journal) -> None:
    seqs = fill(small)
    settle(small, seqs[:1], "dead")
    settle(small, seqs[1:-1], "applied")
    again = fill(small)
    assert len(again) >= 0.9 * len(seqs)
    assert make.pending(small) == [seqs[-1], *again]
    with small.transaction():
        assert small.outbox.settled.get(1) is not None
    assert database.files_size(small.path) <= SMALL


def test_a_full_journal_can_still_be_settled(path: pathlib.Path) -> None:
    with make.opened(path, max_bytes=make.MEBIBYTE) as it:
        seqs = fill(it, 0)
        settle(it, seqs, "dead", "x" * 200)
        assert make.pending(it) == []
        with it.transaction():
            dead = it.outbox.settled.listing(entries.Outcome.DEAD, 0, len(seqs))
        assert len(dead) == len(seqs)
        assert dead[0].reason == "x" * 200
        assert dead[-1].reason is None, "there was no room for it"
        with it.transaction():
            it.outbox.dead.discard_many(seqs)
        make.append(it, make.entry())


def test_notifications_have_a_quarter(small: journal.Journal) -> None:
    new = make.notification(body=bytes(12_288))
    seqs, error = until_full(lambda: make.append(small, new))
    assert "a quarter of the quota" in str(error)
    assert len(seqs) == SMALL // 4 // 12_288
    make.append(small, make.entry(body=bytes(12_288)), make.command(body=bytes(12_288)))
    make.settle(small, (1, "accepted", None), (2, "dead", None))
    make.append(small, new, new)
    with small.transaction():
        assert len(small.outbox.expire(3_000_000.0)) == len(seqs)
    assert len(until_full(lambda: make.append(small, new))[0]) == len(seqs)


def test_notifications_are_counted_after_a_restart(path: pathlib.Path) -> None:
    with make.opened(path, max_bytes=SMALL) as it:
        make.append(it, *[make.notification(body=bytes(12_288))] * (SMALL // 4 // 12_288))
    with make.opened(path, max_bytes=SMALL) as it, pytest.raises(errors.JournalFull):
        make.append(it, make.notification(body=bytes(12_288)))


def test_a_lower_quota_drains_what_is_there(path: pathlib.Path) -> None:
    with make.opened(path) as it:
        seqs = make.append(it, *[make.command(body=bytes(12_288))] * 500)
    with make.opened(path, max_bytes=SMALL) as it:
        with pytest.raises(errors.JournalFull):
            make.append(it, make.entry())
        settle(it, seqs, "accepted")
        make.append(it, make.entry())


def test_a_quota_has_a_floor(path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="at least 1048576 bytes, not 1000"):
        journal.Journal.open(path, max_bytes=1000, retention=1)


def test_usage(small: journal.Journal) -> None:
    before = small.usage()
    make.append(small, *[make.entry(body=bytes(12_288))] * 20)
    after = small.usage()
    assert after.max_bytes == SMALL
    assert 20 * 12_288 <= after.used - before.used <= 1.5 * 20 * 12_288
    assert before.free - after.free == after.used - before.used
    assert after.on_disk == database.files_size(small.path)
    fill(small)
    assert small.usage().free < 12_288 * 2


# Giving space back


def test_the_file_shrinks(it: journal.Journal, path: pathlib.Path, clock: make.Clock) -> None:
    make.append(it, *[make.entry(body=bytes(12_288))] * 2000)
    make.reclaim_all(it)
    full = path.stat().st_size
    make.settle(it, *[(seq, "applied", None) for seq in range(1, 2001)])
    clock.now += make.RETENTION + 1
    given = make.reclaim_all(it)
    assert full > 2000 * 12_288
    assert path.stat().st_size < 2 * housekeeping.SLACK_PAGES * database.PAGE_SIZE
    assert given > 0.9 * full


def test_housekeeping_comes_in_small_pieces(it: journal.Journal, path: pathlib.Path) -> None:
    make.append(it, *[make.command(body=bytes(12_288))] * 1000)
    make.settle(it, *[(seq, "accepted", None) for seq in range(1, 1001)])
    it.checkpoint()
    sizes = [path.stat().st_size]
    while it.reclaim_again:
        it.reclaim()
        sizes.append(path.stat().st_size)
    steps = [before - after for before, after in itertools.pairwise(sizes)]
    assert len(steps) > 5
    assert max(steps) <= (housekeeping.VACUUM_PAGES + 2) * database.PAGE_SIZE


def test_retained_entries_keep_to_their_share(small: journal.Journal) -> None:
    seqs = fill(small)
    settle(small, seqs, "applied")
    make.reclaim_all(small)
    with small.transaction():
        kept = small.outbox.settled.retained_bytes()
        assert small.outbox.settled.get(seqs[0]) is None
        assert small.outbox.settled.get(seqs[-1]) is not None
    assert 0 < kept <= SMALL // 2


def test_a_wal_that_a_reader_holds_up_is_counted_and_cut(
    small: journal.Journal, path: pathlib.Path
) -> None:
    wal = path.with_name(path.name + "-wal")
    reader = journal.Journal.attach(path, max_bytes=SMALL, retention=1)
    reader.begin()
    assert reader.outbox.streams() == []
    new = make.entry(body=bytes(2000))
    seqs, _ = until_full(lambda: make.append(small, new))
    assert database.files_size(small.path) <= SMALL
    held_up = wal.stat().st_size
    reader.rollback()
    reader.close()
    assert small.checkpoint_due
    small.checkpoint()
    assert wal.stat().st_size < held_up // 4
    assert len(until_full(lambda: make.append(small, new))[0]) > len(seqs)


# A disk that is full


def test_sqlite_has_a_limit_of_its_own(small: journal.Journal) -> None:
    pages = int(small._db.pragma("max_page_count"))
    assert 0.5 * SMALL < pages * database.PAGE_SIZE + small._quota.wal_bytes <= SMALL


def test_sqlites_own_limit_reaches_only_who_met_it(small: journal.Journal) -> None:
    make.append(small, make.entry())
    pages = int(small._db.pragma("page_count"))
    small._db.pragma(f"max_page_count = {pages + 2}")
    with pytest.raises(errors.JournalFull) as caught:
        make.append(small, make.entry(body=bytes(100_000)))
    assert f"cannot write to journal {small.path}: it has grown to" in str(caught.value)
    assert "left; make room there or raise [edge_bus] journal_max_bytes" in str(caught.value)
    assert make.append(small, make.entry()) == [2]
    small._db.pragma("max_page_count = 100000")
    assert make.append(small, make.entry(body=bytes(100_000))) == [3]


@pytest.fixture
def tiny_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file system of 2 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("not permitted to mount a file system")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


def test_a_full_disk_is_survived(tiny_disk: pathlib.Path) -> None:
    with make.writing(tiny_disk / "a.db") as writer:
        first = writer.append(make.entry(body=bytes(12_288)))
        ballast = tiny_disk / "ballast"
        ballast.write_bytes(bytes(1_500_000))
        new = make.entry(body=bytes(12_288))
        _, error = until_full(lambda: [writer.append(new)])
        assert "the file system has 0" in str(error)
        ballast.unlink()
        last = writer.append(make.entry(body=bytes(12_288)))
        seqs = writer.run(
            lambda it: [e.seq for e in it.outbox.pending("conductor", 0, 1000, 1 << 30)]
        )
    assert seqs == list(range(first, last + 1))
    with make.opened(tiny_disk / "a.db") as it:
        assert make.pending(it) == seqs


def test_a_disk_that_is_full_at_the_open(tiny_disk: pathlib.Path) -> None:
    ballast = tiny_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(4_000_000))
    with make.writing(tiny_disk / "a.db") as writer:
        assert isinstance(writer.errors.get(timeout=make.WAIT), errors.JournalFull)
        with pytest.raises(errors.JournalFull):
            writer.append(make.entry())
        ballast.unlink()
        for _ in range(100):
            try:
                assert writer.append(make.entry()) == 1
                break
            except errors.JournalFull:
                make.pause()
        else:
            pytest.fail("the journal was not opened again")


def test_a_write_error_is_survived(path: pathlib.Path) -> None:
    script = """
import resource, sys
from nova_edge_bus import errors
from tests.unit.journal import make
with make.opened(sys.argv[1]) as it:
    make.append(it, make.entry())
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    try:
        make.append(it, make.entry(body=bytes(500_000)))
    except errors.JournalFull:
        raise
    except errors.JournalError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert make.append(it, make.entry(body=bytes(500_000))) == [2]
    assert make.pending(it) == [1, 2]
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        check=True,
        capture_output=True,
        text=True,
        cwd=make.ROOT,
    )
    assert f"journal {path} failed: disk I/O error (SQLITE_IOERR_WRITE)" in done.stdout


# Estimates


@hypothesis.given(strategies.lists(strategies.integers(0, 30_000), min_size=1, max_size=30))
def test_the_cost_of_an_entry_is_an_upper_bound(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    path = tmp_path_factory.mktemp("cost") / "a.db"
    with make.opened(path) as it:
        make.append(it, make.notification())
        before = it.usage().used
        make.append(it, *[make.notification(body=bytes(size)) for size in sizes])
        grown = it.usage().used - before
    texts = len("instance-1") + len("object_action")
    assert grown <= sum(quota.cost(size, texts) for size in sizes) + database.PAGE_SIZE
