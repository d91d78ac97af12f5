# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus replay`` of many entries: stopped, gone on with, repeated; each effect once."""

from __future__ import annotations

import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from nova_edge_bus.journal import journal as journal_module
from tests.driver import endpoints
from tests.driver import journals
from tests.driver import ledgers
from tests.driver.conftest import MakePeer
from tests.driver.peers import WAIT_SECONDS
from tests.nova import relay as relays
from tests.nova.processes import wait_until

ENTRIES = 800
MANY = 100_000
SOAK_SECONDS = 1800.0
GROWTH = 64 << 10
"""KiB of memory that a hundred thousand entries may add: their numbers and groups, no bodies."""


@pytest.fixture
def ledger(tmp_path: pathlib.Path) -> Iterator[ledgers.Ledger]:
    made = ledgers.Ledger(tmp_path / "cell.sqlite")
    yield made
    made.close()


class Replay:
    """The command while it runs, on a terminal of its own."""

    def __init__(self, journal: pathlib.Path, endpoint: endpoints.Endpoint) -> None:
        terminal, end = pty.openpty()
        termios.tcsetwinsize(end, (24, 120))
        self._terminal = terminal
        arguments = ["--journal", str(journal), "--endpoint", endpoint.address]
        self.scratch = journal.parent / "scratch"
        self.scratch.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            ["nova-edge-bus", "replay", *arguments],
            stdout=subprocess.PIPE,
            stderr=end,
            env={**os.environ, "TMPDIR": str(self.scratch)},
        )
        os.close(end)
        self.peak = 0
        self._text = b""
        self.began = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait(self) -> tuple[int, str, str]:
        """Its exit status, what it printed, and what was seen on the terminal."""
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            printed = stdout.read().decode()
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.peak = usage.ru_maxrss
        self._reader.join(WAIT_SECONDS)
        return self.process.returncode, printed, self._text.decode()

    def _read(self) -> None:
        try:
            while more := os.read(self._terminal, 65536):
                self._text += more
                if b" entries" in self._text:
                    self.began.set()
        except OSError:
            pass  # how a terminal says that nobody writes to it any more
        os.close(self._terminal)


def interrupted(
    ledger: ledgers.Ledger,
    journal: pathlib.Path,
    endpoint: endpoints.Endpoint,
    after: int,
    number: signal.Signals,
) -> tuple[str, str]:
    """Replay until so many entries were booked; what was printed, and seen."""
    ledger.hold_at(ledger.booked + after)
    run = Replay(journal, endpoint)
    assert ledger.reached.wait(SOAK_SECONDS)
    assert run.began.wait(WAIT_SECONDS)
    run.process.send_signal(number)
    run.process.send_signal(number)
    ledger.go_on()
    status, printed, seen = run.wait()
    assert status == 1, (status, seen)
    assert "interrupted; run it again to go on" in seen
    assert "Traceback" not in seen
    assert not list(run.scratch.iterdir()), "it leaves nothing behind"
    return printed, seen


def shown(seen: str) -> list[int]:
    """How many entries the bar said to be done, in its order."""
    return [int(count) for count in re.findall(r"(\d+)/\d+ \[", seen)]


def check_replay(
    ledger: ledgers.Ledger,
    make_peer: MakePeer,
    endpoint: endpoints.Endpoint,
    folder: pathlib.Path,
    topic: str,
    count: int,
) -> int:
    """Replay so many entries in two goes, then a copy; the peak of memory in KiB."""
    centre = make_peer(host="centre")
    centre.serve(topic, "centre", ledger, threads=4)
    journal = folder / "edge-7.nova-compute-0.db"
    outbox = ledgers.journal(journal, count, topic, f"tcp://{endpoint.address}")
    ledger.audit(outbox, topic)
    copy = folder / "copy.db"
    shutil.copy(journal, copy)
    before = epoch(journal)
    printed, _ = interrupted(ledger, journal, endpoint, count // 2, signal.SIGINT)
    left = journals.pending(journal)
    assert count // 4 < left < count * 3 // 4, "what was settled is known"
    assert f"{left} left" in printed
    run = Replay(journal, endpoint)
    status, printed, seen = run.wait()
    assert (status, printed) == (0, f"{journal}: shipped {left}\n"), seen
    assert shown(seen) == sorted(shown(seen)), "it goes forward"
    assert shown(seen)[-1] == left
    assert ledger.effects() == ledgers.in_order(count)
    assert epoch(journal) == before, "its process is not fenced when it comes back"
    # A conductor that has seen nothing of it yet: the database alone can tell.
    centre.close()
    make_peer(host="centre").serve(topic, "centre", ledger, threads=4)
    status, printed, seen = Replay(copy, endpoint).wait()
    assert (status, printed) == (0, f"{copy}: shipped {count}\n"), seen
    assert ledger.effects() == ledgers.in_order(count)
    return run.peak


def test_it_is_stopped_and_goes_on_and_is_repeated(
    ledger: ledgers.Ledger,
    make_peer: MakePeer,
    shared_endpoint: endpoints.Endpoint,
    tmp_path: pathlib.Path,
    topic: str,
) -> None:
    check_replay(ledger, make_peer, shared_endpoint, tmp_path, topic, ENTRIES)


@pytest.mark.soak
@pytest.mark.timeout(2 * SOAK_SECONDS)
def test_a_hundred_thousand_entries(
    make_peer: MakePeer, shared_endpoint: endpoints.Endpoint, tmp_path: pathlib.Path, topic: str
) -> None:
    peaks = []
    for count in (ENTRIES, MANY):
        folder = tmp_path / str(count)
        folder.mkdir()
        ledger = ledgers.Ledger(folder / "cell.sqlite")
        begun = time.monotonic()
        where = f"{topic}-{count}"
        peaks.append(check_replay(ledger, make_peer, shared_endpoint, folder, where, count))
        took = time.monotonic() - begun
        print(f"{2 * count} deliveries in {took:.0f} s; peak {peaks[-1] >> 10} MiB")
        ledger.close()
    assert peaks[1] - peaks[0] < GROWTH


@pytest.fixture
def relay(shared_endpoint: endpoints.Endpoint) -> Iterator[relays.Relay]:
    made = relays.Relay([(shared_endpoint.host, shared_endpoint.port)])
    made.start()
    yield made
    made.stop()


@pytest.fixture
def cut_off(
    ledger: ledgers.Ledger, make_peer: MakePeer, relay: relays.Relay, topic: str
) -> tuple[Any, pathlib.Path]:
    """A process that has begun to ship what it found in its journal, and is cut off."""
    ((host, port),) = relay.addresses
    make_peer(host="centre").serve(topic, "centre", ledger, threads=4)
    # By this name its process finds it.
    edge = make_peer(
        f"edgebus://{host}:{port}/", "edge", prog="nova-compute", host="edge-7", link_timeout=1.0
    )
    edge.journal_dir.mkdir()
    journal = edge.journal_dir / "edge-7.nova-compute-0.db"
    outbox = ledgers.journal(journal, ENTRIES, topic, f"tcp://{host}:{port}")
    ledger.audit(outbox, topic)
    ledger.hold_at(ENTRIES // 4)
    edge.client(topic).cast({}, "nothing")
    assert ledger.reached.wait(WAIT_SECONDS)
    relay.silence()
    ledger.go_on()
    return edge, journal


def copied(journal: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """A copy as the page "Operating" says: with what stands beside."""
    folder.mkdir()
    for ending in ("", "-wal"):
        shutil.copy(f"{journal}{ending}", f"{folder / journal.name}{ending}")
    return folder / journal.name


def test_beside_its_process_a_copy_changes_nothing(
    ledger: ledgers.Ledger,
    cut_off: tuple[Any, pathlib.Path],
    relay: relays.Relay,
    shared_endpoint: endpoints.Endpoint,
    tmp_path: pathlib.Path,
) -> None:
    _, journal = cut_off
    copy = copied(journal, tmp_path / "elsewhere")
    printed, _ = interrupted(ledger, copy, shared_endpoint, ENTRIES // 4, signal.SIGTERM)
    assert " left" in printed
    relay.resume()
    status, _, seen = Replay(copy, shared_endpoint).wait()
    assert status == 0, seen
    wait_until(lambda: journals.pending(journal) == 0, WAIT_SECONDS, "the process to catch up")
    assert ledger.effects() == ledgers.in_order(ENTRIES)


def test_a_copy_that_its_process_has_outlived_says_so(
    ledger: ledgers.Ledger,
    cut_off: tuple[Any, pathlib.Path],
    relay: relays.Relay,
    shared_endpoint: endpoints.Endpoint,
    tmp_path: pathlib.Path,
    topic: str,
) -> None:
    edge, journal = cut_off
    copy = copied(journal, tmp_path / "elsewhere")
    edge.close()
    relay.resume()
    edge.client(topic).cast({}, "nothing")
    wait_until(lambda: journals.pending(journal) == 0, WAIT_SECONDS, "the process to catch up")
    status, printed, _ = Replay(copy, shared_endpoint).wait()
    assert status == 1
    assert printed.startswith(
        f"{copy}: journal {copy} is an old copy: its process has opened the journal again since, "
        "and ships what is left here by itself; "
    )
    assert ledger.effects() == ledgers.in_order(ENTRIES)


def epoch(path: pathlib.Path) -> int:
    it = journal_module.Journal.attach(path, max_bytes=1 << 30, retention=3600)
    try:
        return it.epoch
    finally:
        it.close()
