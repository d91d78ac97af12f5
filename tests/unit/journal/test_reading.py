# SPDX-License-Identifier: Apache-2.0
"""Reading beside the owner: what is found, in which order, and what it costs the owner."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator

import pytest

from nova_edge_bus import errors
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import reading
from nova_edge_bus.journal import selecting
from tests.unit.journal import make

UUID = "0b4f3c1e-6a0e-4a43-9a53-0d9f2f7f5a10"


def found(path: pathlib.Path, **wanted: object) -> list[int]:
    with reading.opened(path) as reader:
        return [head.seq for head in reader.heads(selecting.Filter(**wanted))]  # type: ignore[arg-type]


@pytest.fixture
def filled(it: journal.Journal, path: pathlib.Path) -> pathlib.Path:
    """A journal with one entry of each status, and one of each kind of group and address."""
    make.append(
        it,
        make.entry(group=f"instance:{UUID}", method="Instance.save", created_at=100.0),
        make.entry(group=f"instance:{UUID}", method="Instance.destroy", created_at=200.0),
        make.entry(group="host:edge-7", method="Service.save", created_at=300.0),
        make.command(group="", address="//compute/edge%2D7", method="stop", created_at=400.0),
        make.notification(address="/nova/notifications.info#pool", group="", created_at=500.0),
    )
    make.settle(
        it,
        (1, "applied", None),
        (2, "dead", "InstanceNotFound: gone"),
        (3, "merged", "by 9"),
        (5, "expired", None),
    )
    return path


def test_heads_tell_all_but_the_body(filled: pathlib.Path, clock: make.Clock) -> None:
    with reading.opened(filled) as reader:
        heads = list(reader.heads())
        assert [head.status for head in heads] == [
            "applied",
            "dead",
            "merged",
            "pending",
            "expired",
        ]
        second = heads[1]
        assert (second.method, second.reason) == ("Instance.destroy", "InstanceNotFound: gone")
        assert (second.size, second.changed_at) == (9, int(clock.now))
        assert (second.link, second.address) == (make.LINK, "conductor")
        assert reader.body(2) == b"some body"
        assert reader.body(3) == b""
        assert reader.body(6) is None
        assert second.checksum_fits(b"some body")
        assert not second.checksum_fits(b"some bodY")


@pytest.mark.parametrize(
    ("wanted", "seqs"),
    [
        ({"statuses": ("dead", "pending")}, [2, 4]),
        ({"seqs": ((2, 3), (5, None))}, [2, 3, 5]),
        ({"seqs": ((None, 1),)}, [1]),
        ({"groups": (UUID,)}, [1, 2]),
        ({"groups": (f"instance:{UUID}",)}, [1, 2]),
        ({"groups": ("edge-7",)}, [3]),
        ({"groups": ("instance",)}, []),
        ({"methods": ("Instance.*", "stop")}, [1, 2, 4]),
        ({"methods": ("Instance.sav",)}, []),
        ({"destinations": ("conductor",)}, [1, 2, 3]),
        ({"destinations": ("compute",)}, [4]),
        ({"destinations": ("notifications.info",)}, [5]),
        ({"destinations": ("notifications",)}, []),
        ({"since": 200.0, "until": 400.0}, [2, 3]),
        ({"since": 200.0, "groups": (UUID,)}, [2]),
    ],
)
def test_a_filter_means_what_meets_all_its_conditions(
    filled: pathlib.Path, wanted: dict[str, object], seqs: list[int]
) -> None:
    assert found(filled, **wanted) == seqs


def test_a_wildcard_of_sql_is_no_wildcard_here(filled: pathlib.Path) -> None:
    assert found(filled, methods=("%",), groups=()) == []
    assert found(filled, groups=("%",)) == []
    assert found(filled, destinations=("_onductor",)) == []


def test_what_ends_at_a_page_s_end_is_read_once(it: journal.Journal, path: pathlib.Path) -> None:
    make.append(it, *(make.entry() for _ in range(7)))
    with reading.opened(path) as reader:
        for page in (1, 3, 7, 8):
            assert [head.seq for head in reader.heads(page=page)] == list(range(1, 8))


def test_between_pages_the_owner_is_in_nobody_s_way(
    it: journal.Journal, path: pathlib.Path
) -> None:
    make.append(it, *(make.entry() for _ in range(4)))
    with reading.opened(path) as reader:
        heads = reader.heads(page=2)
        next(heads)
        make.append(it, make.entry())
        # A reader in a transaction would keep the WAL from being written back to its end.
        with sqlite3.connect(path, isolation_level=None) as other:
            busy, in_wal, done = other.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        assert (busy, in_wal) == (0, done)
        assert [head.seq for head in heads] == [2, 3, 4, 5]


def test_a_reader_can_write_nothing(it: journal.Journal, path: pathlib.Path) -> None:
    with reading.opened(path) as reader, pytest.raises(errors.JournalError, match="readonly"):
        reader.pragma_rows("user_version = 7")


def test_what_a_killed_process_has_committed_is_read(path: pathlib.Path) -> None:
    script = f"""
        import os, signal
        from tests.unit.journal import make
        with make.opened({str(path)!r}) as it:
            make.append(it, make.entry())
            os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=make.ROOT, check=False, timeout=60
    )
    assert ended.returncode == -signal.SIGKILL
    assert os.path.getsize(f"{path}-wal") > 0
    assert found(path) == [1]


@contextlib.contextmanager
def somebody() -> Iterator[None]:
    """As a user without rights; what root may do says nothing."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def archive() -> Iterator[pathlib.Path]:
    """A folder that anybody may read and nobody may write, for a journal to be put into."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield pathlib.Path(folder) / "a.b-0.db"
        os.chmod(folder, 0o755)


def put_away(archive: pathlib.Path) -> None:
    for file in archive.parent.iterdir():
        os.chmod(file, 0o444)
    os.chmod(archive.parent, 0o555)


def test_a_journal_in_a_folder_that_cannot_be_written_to_is_read(archive: pathlib.Path) -> None:
    with make.opened(archive) as it:
        make.append(it, make.entry())
    put_away(archive)
    with somebody():
        assert found(archive) == [1]
    assert [file.name for file in archive.parent.iterdir()] == [archive.name]


def test_its_wal_cannot_be_read_there_and_that_is_said(
    it: journal.Journal, path: pathlib.Path, archive: pathlib.Path
) -> None:
    make.append(it, make.entry())
    for ending in ("", "-wal"):
        shutil.copy(f"{path}{ending}", f"{archive}{ending}")
    put_away(archive)
    with somebody(), pytest.raises(errors.JournalError, match="copy both to one that can"):
        found(archive)


def test_a_file_that_may_not_be_read_is_said_to_be(path: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        copy = pathlib.Path(folder) / "a.db"
        with make.opened(copy):
            pass
        with somebody(), pytest.raises(errors.JournalError, match="Permission denied"):
            found(copy)


def test_a_copy_is_read_like_the_original(it: journal.Journal, path: pathlib.Path) -> None:
    make.append(it, make.entry())
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    shutil.copy(f"{path}-wal", f"{copy}-wal")
    with reading.opened(path) as original, reading.opened(copy) as copied:
        assert copied.identity() == original.identity()
        assert list(copied.heads()) == list(original.heads())
