# SPDX-License-Identifier: Apache-2.0
"""A file system that is smaller than the quota: the journal lives on what it has."""

import os
import pathlib
from collections.abc import Iterator

import pytest

from nova_edge_bus import errors
from nova_edge_bus.journal import database
from nova_edge_bus.journal import journal
from tests.faults import filesystems
from tests.unit.journal import make

QUOTA = 512 * make.MEBIBYTE
DISK = 5
"""Mebibytes."""
ROUNDS = 2


@pytest.fixture(params=filesystems.KINDS)
def disk(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file system of its own."""
    with filesystems.small(request.param, tmp_path / "disk", DISK) as mount:
        yield mount


def fill(it: journal.Journal, size: int) -> list[int]:
    """Append entries until there is no room; the seqs."""
    new = make.command(body=os.urandom(size))
    seqs: list[int] = []
    while True:
        try:
            seqs += make.append(it, new)
        except errors.JournalFull as error:
            told = str(error)
            break
    assert "make room there" in told
    return seqs


def settle(it: journal.Journal, seqs: list[int]) -> None:
    """Settle entries one by one, as their acknowledgements come."""
    for seq in seqs:
        assert make.settle(it, (seq, "accepted", None)) == [seq]


@pytest.mark.parametrize("size", [3_000, 12_288, 100_000])
def test_what_fills_a_disk_can_be_settled_and_then_goes_on(disk: pathlib.Path, size: int) -> None:
    with make.opened(disk / "a.db", max_bytes=QUOTA) as it:
        counts = []
        for _ in range(ROUNDS):
            seqs = fill(it, size)
            settle(it, seqs)
            make.reclaim_all(it)
            counts.append(len(seqs) * size)
    assert min(counts) > DISK * make.MEBIBYTE // 3, "most of the disk is for entries"


def test_what_others_give_back_is_used(disk: pathlib.Path) -> None:
    with make.opened(disk / "a.db", max_bytes=QUOTA) as it:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(2 * make.MEBIBYTE))
        few = fill(it, 12_288)
        ballast.unlink()
        more = fill(it, 12_288)
        assert len(more) > len(few) / 2
        settle(it, few + more)


def test_a_disk_with_room_leaves_the_quota_as_it_is(path: pathlib.Path) -> None:
    new = [make.entry(body=bytes(12_288))] * 200
    with (
        make.opened(path, max_bytes=2 * make.MEBIBYTE) as it,
        pytest.raises(errors.JournalFull, match="quota 2 MiB is full"),
    ):
        make.append(it, *new)


def test_what_fits_into_the_pages_that_there_are_needs_no_more_room(
    disk: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else fills the disk between two commits; the WAL begins anew where it stands."""
    monkeypatch.setattr(database, "MAKE_ROOM_SECONDS", 0.0)
    with make.opened(disk / "a.db", max_bytes=QUOTA) as it:
        seqs = make.append(it, *[make.entry(body=bytes(12_288))] * 100)
        it._db.empty_wal()
        make.settle(it, (seqs.pop(), "applied", None))
        filesystems.fill(disk)
        failures = 0
        while seqs:
            try:
                make.settle(it, (seqs[-1], "applied", None))
                seqs.pop()
            except errors.JournalFull:
                failures += 1
                assert failures < 100, f"{len(seqs)} of 100 are left"
