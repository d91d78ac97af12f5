# SPDX-License-Identifier: Apache-2.0
"""Copies of one journal: which of them counts, and which numbers each uses."""

import pathlib

import pytest

from tests.unit.journal import make


def test_an_epoch_survives_the_loss_of_the_wal(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    copy = tmp_path / "copy.db"
    with make.opened(path) as it:
        copy.write_bytes(path.read_bytes())
        with make.opened(copy) as restored:
            assert (restored.outbox_id, restored.epoch) == (it.outbox_id, it.epoch + 1)
            assert restored.nonce != it.nonce


@pytest.mark.parametrize("lives", [1, 3])
def test_whoever_opened_a_journal_last_has_the_highest_epoch(
    path: pathlib.Path, tmp_path: pathlib.Path, lives: int
) -> None:
    """However often each of two copies was opened, and whichever of them comes last."""
    clock = make.Clock(1_800_000_000.0)
    copy = tmp_path / "copy.db"
    with make.opened(path, clock=clock):
        pass
    copy.write_bytes(path.read_bytes())
    newest = 0
    for opened in [path] * lives + [copy] + [path] * lives + [copy]:
        clock.now += 0.001
        with make.opened(opened, clock=clock) as it:
            assert it.epoch > newest
            newest = it.epoch


def test_an_epoch_grows_by_one_while_the_clock_stands_before_the_last_one(
    path: pathlib.Path,
) -> None:
    clock = make.Clock(1_800_000_000.0)
    for _ in range(2):
        with make.opened(path, clock=clock) as it:
            last = it.epoch
    clock.now = 0.0
    with make.opened(path, clock=clock) as it:
        assert it.epoch == last + 1


@pytest.mark.parametrize("before", [0, 1], ids=["unused", "used"])
def test_a_journal_put_back_from_a_copy_uses_no_seq_again(
    path: pathlib.Path, tmp_path: pathlib.Path, before: int
) -> None:
    clock = make.Clock(1_800_000_000.0)
    copy = tmp_path / "copy.db"
    with make.opened(path, clock=clock) as it:
        make.append(it, *[make.entry()] * before)
        it.checkpoint()
        copy.write_bytes(path.read_bytes())
        used = set(make.append(it, *[make.entry()] * 10))
    clock.now += 1
    with make.opened(path, clock=clock) as it:
        used |= set(make.append(it, *[make.entry()] * 10))
        appended = make.counters(it)["appended"]
    clock.now += 1
    with make.opened(copy, clock=clock) as restored:
        # A transaction of somebody else's makes it look the numbers up again.
        with make.opened(copy, clock=clock) as _:
            pass
        again = set(make.append(restored, *[make.entry()] * 10))
        assert make.pending(restored) == [*range(1, before + 1), *sorted(again)]
    assert not used & again
    assert appended == before + 20
