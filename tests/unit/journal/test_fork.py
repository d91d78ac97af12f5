# SPDX-License-Identifier: Apache-2.0
"""What a process holds stays its own when it forks: the child has no part in it."""

import contextlib
import gc
import os
import pathlib
import subprocess
import sys
import traceback
from collections.abc import Callable
from collections.abc import Iterator

import pytest

from nova_edge_bus import errors
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import slots
from tests.unit.journal import make


@contextlib.contextmanager
def forked(work: Callable[[], None]) -> Iterator[None]:
    """A child that has done *work* successfully and lives until the block is left."""
    ready, release = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            os.write(ready[1], b"x")
            os.close(release[1])
            os.read(release[0], 1)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(ready[1])
    try:
        assert os.read(ready[0], 1) == b"x", "the child failed"
        yield
    finally:
        for end in (ready[0], *release):
            os.close(end)
        assert os.waitpid(child, 0)[1] == 0


def nothing() -> None:
    pass


def test_a_child_does_not_hold_the_slot(tmp_path: pathlib.Path) -> None:
    slot = slots.take(tmp_path, "host-1", "nova-compute")
    with forked(nothing):
        with slots.take(tmp_path, "host-1", "nova-compute") as beside:
            assert beside.number == 1, "the parent still holds it"
        slot.release()
        with slots.take(tmp_path, "host-1", "nova-compute") as again:
            assert again.number == 0, "the child does not"


def test_a_child_that_releases_does_not_take_the_parents_slot(tmp_path: pathlib.Path) -> None:
    slot = slots.take(tmp_path, "host-1", "nova-compute")
    with (
        forked(slot.release),
        slots.take(tmp_path, "host-1", "nova-compute") as beside,
    ):
        assert beside.number == 1
    slot.release()


def test_a_slot_is_free_when_its_holder_dies_and_a_child_lives(tmp_path: pathlib.Path) -> None:
    script = """
import os, sys
from nova_edge_bus.journal import slots
slot = slots.take(sys.argv[1], "host-1", "nova-compute")
if os.fork() == 0:
    os.write(1, b"forked\\n")
    sys.stdin.read()
os._exit(0)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=make.ROOT,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"forked\n"
        parent.wait()
        with slots.take(tmp_path, "host-1", "nova-compute") as slot:
            assert slot.number == 0


def test_a_journal_is_inert_in_the_child(path: pathlib.Path, it: journal.Journal) -> None:
    make.append(it, make.entry())

    def use() -> None:
        for work in (
            it.begin,
            it.usage,
            it.reclaim,
            it.checkpoint,
            lambda: make.append(it, make.entry()),
        ):
            with pytest.raises(errors.JournalError, match="was opened before a fork"):
                work()
        it.close()

    with forked(use):
        assert make.append(it, make.entry()) == [2]
    assert make.append(it, make.entry()) == [3]
    assert make.pending(it) == [1, 2, 3]


def test_the_child_does_not_close_the_parents_connection(tmp_path: pathlib.Path) -> None:
    """SQLite forbids it, at the child's end too; the child would be seen to touch the file."""
    script = """
import gc, os, sys
from tests.unit.journal import make
with make.opened(sys.argv[1]) as it:
    make.append(it, make.entry())
    child = os.fork()
    if child == 0:
        os.write(2, b"mark")
        it.close()
        gc.collect()
        sys.exit()
    os.waitpid(child, 0)
    os.write(2, b"mark")
"""
    trace = tmp_path / "trace"
    path = tmp_path / "a.db"
    command = ["strace", "-f", "-y", "-o", str(trace)]
    try:
        subprocess.run(
            [*command, sys.executable, "-c", script, str(path)],
            check=True,
            capture_output=True,
            cwd=make.ROOT,
        )
    except FileNotFoundError:
        pytest.skip("strace is not installed")
    within = trace.read_text().split('"mark"')[1]
    assert str(path) not in within


def test_an_open_transaction_of_the_parent_is_not_ended_by_a_child(it: journal.Journal) -> None:
    it.begin()
    it.outbox.append_many([make.entry()])

    def drop() -> None:
        it.close()
        gc.collect()

    with forked(drop):
        it.commit()
    assert make.pending(it) == [1]


def test_a_child_opens_a_journal_of_its_own(tmp_path: pathlib.Path, it: journal.Journal) -> None:
    def work() -> None:
        with make.opened(tmp_path / "child.db") as own:
            assert make.append(own, make.entry()) == [1]

    with forked(work):
        assert make.append(it, make.entry()) == [1]


def test_a_writer_is_inert_in_the_child(path: pathlib.Path) -> None:
    with make.writing(path) as writer:

        def use() -> None:
            with pytest.raises(errors.JournalError, match="was made before a fork"):
                writer.writer.append(make.entry(), lambda *_: None)
            with pytest.raises(errors.JournalError, match="was made before a fork"):
                writer.writer.submit(lambda _: None, lambda *_: None)
            assert writer.writer.stop(make.WAIT)

        with forked(use):
            assert writer.append(make.entry()) == 1
