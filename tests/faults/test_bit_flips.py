# SPDX-License-Identifier: Apache-2.0
"""One bit of a journal's files flips: nothing wrong is shipped, nothing goes in silence.

The journal opens, and then all is there or somebody is told; or one clear error refuses it.
"""

from __future__ import annotations

import collections
import pathlib
import random

import pytest

from nova_edge_bus.journal import checking
from nova_edge_bus.journal import reading
from nova_edge_bus.journal import wal
from tests.faults import flips
from tests.unit.journal import make


@pytest.mark.parametrize("count", [30, pytest.param(500, marks=pytest.mark.soak)])
def test_nothing_wrong_is_shipped_and_nothing_goes_in_silence(
    tmp_path: pathlib.Path, seed: int, count: int
) -> None:
    outcomes, silent = flips.flip(tmp_path, random.Random(seed), count)
    print(collections.Counter(outcome.partition(":")[0] for outcome in outcomes))
    assert silent == []


@pytest.mark.parametrize("place", [8, 20, 40, 5000], ids=["header", "salt", "frame", "page"])
def test_what_a_damaged_wal_has_lost_is_said(
    tmp_path: pathlib.Path, seed: int, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    original = flips.Original(tmp_path, random.Random(seed))
    copy = original.flipped("copy", original.files[1], place * 8)
    before = original.files[1].read_bytes()
    with reading.opened(copy) as reader:
        (found,) = [each for each in checking.findings(reader) if each.check == "wal"]
    assert "lost" in found.text
    with make.opened(copy):
        pass
    (logged,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert found.text in logged.getMessage()
    (kept,) = tmp_path.glob("copy.db.damaged-wal-*")
    assert len(kept.read_bytes()) == len(before)
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_wal_that_a_kill_has_cut_short_is_sound(tmp_path: pathlib.Path, seed: int) -> None:
    original = flips.Original(tmp_path, random.Random(seed))
    size = original.files[1].stat().st_size
    for missing in (1, 30, 5000):
        copy = original.flipped(f"copy-{missing}", original.files[1], 0)
        wal_file = pathlib.Path(f"{copy}-wal")
        wal_file.write_bytes(original.files[1].read_bytes()[: size - missing])
        assert wal.damage(str(copy)) is None
