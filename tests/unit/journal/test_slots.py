# SPDX-License-Identifier: Apache-2.0
"""A slot has one holder, ends with its process, and its file name can be read back."""

import os
import pathlib
import signal
import stat
import subprocess
import sys

import hypothesis
import pytest
from hypothesis import strategies

from nova_edge_bus import errors
from nova_edge_bus.journal import slots
from tests.unit.journal import make

HOLDER = """
import sys
from nova_edge_bus.journal import slots
slot = slots.take(sys.argv[1], "host-1", "nova-compute")
open(slot.path, "x").close()
print(slot.number, flush=True)
sys.stdin.read()
"""


def names(journal_dir: pathlib.Path) -> list[str]:
    return sorted(path.name for path in journal_dir.iterdir())


def mode(path: os.PathLike[str]) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_the_lowest_free_slot_is_taken(tmp_path: pathlib.Path) -> None:
    first = slots.take(tmp_path, "host-1", "nova-compute")
    second = slots.take(tmp_path, "host-1", "nova-compute")
    third = slots.take(tmp_path, "host-1", "nova-compute")
    assert [first.number, second.number, third.number] == [0, 1, 2]
    second.release()
    first.release()
    with slots.take(tmp_path, "host-1", "nova-compute") as again:
        assert again.path == str(tmp_path / "host-1.nova-compute-0.db")
    third.release()


def test_hosts_and_services_have_slots_of_their_own(tmp_path: pathlib.Path) -> None:
    with (
        slots.take(tmp_path, "host-1", "nova-compute") as a,
        slots.take(tmp_path, "host-2", "nova-compute") as b,
        slots.take(tmp_path, "host-1", "nova-conductor") as c,
    ):
        assert [a.number, b.number, c.number] == [0, 0, 0]


def test_directory_and_files_are_private(tmp_path: pathlib.Path) -> None:
    old = os.umask(0)
    try:
        journal_dir = tmp_path / "state" / "edge-bus"
        with slots.take(journal_dir, "host-1", "nova-compute"):
            assert mode(journal_dir) == 0o700
            assert mode(journal_dir / "host-1.nova-compute-0.lock") == 0o600
    finally:
        os.umask(old)


def test_a_directory_that_exists_keeps_its_mode(tmp_path: pathlib.Path) -> None:
    journal_dir = tmp_path / "mine"
    journal_dir.mkdir(mode=0o750)
    with slots.take(journal_dir, "host-1", "nova-compute"):
        assert mode(journal_dir) == 0o750


def test_a_killed_process_holds_nothing(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=make.ROOT
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"0\n"
        with slots.take(tmp_path, "host-1", "nova-compute") as beside:
            assert beside.number == 1
            assert list(slots.orphans(tmp_path, "host-1")) == []
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    (orphan,) = slots.orphans(tmp_path, "host-1")
    assert (orphan.host, orphan.service, orphan.number) == ("host-1", "nova-compute", 0)
    orphan.release()


def test_orphans_are_this_hosts_journals_that_nobody_holds(tmp_path: pathlib.Path) -> None:
    for host, service, number in [
        ("host-1", "nova-compute", 0),
        ("host-1", "nova-compute", 1),
        ("host-1", "nova-conductor", 0),
        ("host-10", "nova-compute", 0),
    ]:
        (tmp_path / f"{slots.stem(host, service, number)}.db").touch()
    (tmp_path / "host-1.nova-compute-2.lock").touch()
    (tmp_path / "host-1.nova-compute-3.db.corrupt-20260101T000000Z").touch()
    (tmp_path / "host-1.nova-compute-0.db-wal").touch()
    mine = slots.take(tmp_path, "host-1", "nova-compute")
    found = list(slots.orphans(tmp_path, "host-1"))
    assert [(slot.service, slot.number) for slot in found] == [
        ("nova-compute", 1),
        ("nova-conductor", 0),
    ]
    assert list(slots.orphans(tmp_path, "host-1")) == [], "a found orphan is held"
    for slot in [mine, *found]:
        slot.release()


def test_a_slot_that_is_not_wanted_is_not_tried(tmp_path: pathlib.Path) -> None:
    (tmp_path / "host-1.nova-compute-0.db").touch()
    asked: list[str] = []

    def refuse(path: str) -> bool:
        asked.append(path)
        return False

    assert list(slots.orphans(tmp_path, "host-1", refuse)) == []
    assert asked == [str(tmp_path / "host-1.nova-compute-0.db")]
    assert not (tmp_path / "host-1.nova-compute-0.lock").exists()


def test_no_directory_has_no_orphans(tmp_path: pathlib.Path) -> None:
    assert list(slots.orphans(tmp_path / "absent", "host-1")) == []


def test_release_may_be_repeated_and_leaves_the_lock_file(tmp_path: pathlib.Path) -> None:
    slot = slots.take(tmp_path, "host-1", "nova-compute")
    slot.release()
    slot.release()
    assert names(tmp_path) == ["host-1.nova-compute-0.lock"]


def test_a_second_release_does_not_touch_the_next_holder(tmp_path: pathlib.Path) -> None:
    slot = slots.take(tmp_path, "host-1", "nova-compute")
    slot.release()
    with slots.take(tmp_path, "host-1", "nova-compute"):
        slot.release()
        with slots.take(tmp_path, "host-1", "nova-compute") as other:
            assert other.number == 1


def test_too_many_slots(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "MAX_SLOTS", 1)
    with (
        slots.take(tmp_path, "host-1", "nova-compute"),
        pytest.raises(errors.JournalLocked, match="all 1 journals of nova-compute on host-1"),
    ):
        slots.take(tmp_path, "host-1", "nova-compute")


def test_an_unusable_directory(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.JournalError, match="cannot take a journal in /"):
        slots.take(tmp_path / "file", "host-1", "nova-compute")
    with pytest.raises(errors.JournalError, match="cannot look for journals in /"):
        list(slots.orphans(tmp_path / "file", "host-1"))


@pytest.mark.parametrize(("host", "service"), [("", "nova-compute"), ("host-1", "")])
def test_a_slot_needs_host_and_service(tmp_path: pathlib.Path, host: str, service: str) -> None:
    with pytest.raises(ValueError, match="needs a host and a service"):
        slots.take(tmp_path, host, service)


text = strategies.text(min_size=1, max_size=20).filter(lambda it: it.isprintable())


@hypothesis.given(text, text, strategies.integers(0, 999))
def test_names_are_safe_and_can_be_read_back(host: str, service: str, number: int) -> None:
    stem = slots.stem(host, service, number)
    assert not set(stem) & set("/\0 ")
    assert slots.parse(f"{stem}.db") == (host, service, number)
