# SPDX-License-Identifier: Apache-2.0
"""What an operator requeues is shipped once, by the live process or by the next one."""

from __future__ import annotations

import pathlib
import time

import pytest

from nova_edge_bus.cli import main
from nova_edge_bus.driver import body
from nova_edge_bus.journal import reading
from nova_edge_bus.journal import slots
from tests.driver.conftest import MakePeer
from tests.driver.endpoints import Endpoint
from tests.driver.peers import Recorder
from tests.driver.peers import await_drained
from tests.nova.processes import wait_until
from tests.unit.journal import make

Capture = pytest.CaptureFixture[str]
WAIT_SECONDS = 30.0


def dead_letters(
    folder: pathlib.Path,
    endpoint: Endpoint,
    topic: str,
    values: range,
    kind: int = make.COMMAND,
    number: int = 0,
) -> str:
    """A journal for the peer to come, with what an earlier life could not deliver."""
    folder.mkdir()
    path = folder / f"{slots.stem('edge-1', 'nova-test', number)}.db"
    casts = [
        make.entry(
            kind=kind,
            link=f"tcp://{endpoint.address}",
            address=f"/openstack/{topic}",
            group="",
            method="put",
            body=body.pack({}, {"method": "put", "args": {"value": value}}),
            created_at=time.time(),
        )
        for value in values
    ]
    with make.opened(path, clock=time.time) as it:
        seqs = make.append(it, *casts)
        make.settle(it, *((seq, "dead", "nobody took it") for seq in seqs))
    return str(path)


def requeue(folder: pathlib.Path, *arguments: str) -> None:
    command = ["dead-letters", "requeue", *arguments, "--journal-dir", str(folder)]
    assert main.main(command) == 0


def ends(path: str) -> dict[int, tuple[str, str]]:
    """How the entries of a journal have ended, and why."""
    with reading.opened(path) as reader:
        return {each.seq: (each.status, each.reason or "") for each in reader.heads()}


@pytest.mark.parametrize(("kind", "autonomy"), [(make.COMMAND, "off"), (make.RECORD, "on")])
def test_a_live_process_ships_what_is_requeued_among_its_own(
    kind: int,
    autonomy: str,
    make_peer: MakePeer,
    shared_endpoint: Endpoint,
    tmp_path: pathlib.Path,
    topic: str,
    capsys: Capture,
) -> None:
    folder = tmp_path / "edge"
    path = dead_letters(folder, shared_endpoint, topic, range(100, 103), kind)
    recorder = Recorder()
    make_peer().serve(topic, "there", recorder)
    peer = make_peer(journal="edge", autonomy=autonomy)
    client = peer.client(topic)
    client.cast({}, "put", value=0)
    assert recorder.take(1) == [0]
    for number in range(1, 40):
        client.cast({}, "put", value=number)
        if number == 10:
            requeue(folder, "1", "3")
            assert "2 dead letters, for process " in capsys.readouterr().out
    assert sorted(recorder.take(41)) == [*range(1, 40), 100, 102]
    await_drained(peer)
    wait_until(lambda: ends(path)[3][0] == "merged", WAIT_SECONDS, "the end of the old one")
    ended = ends(path)
    assert ended[1][1].startswith("requeued; entry ")
    assert ended[1][1].endswith("; it was dead because: nobody took it")
    assert ended[2] == ("dead", "nobody took it")
    assert recorder.rest() == []


def test_the_next_process_ships_what_was_requeued_without_one(
    make_peer: MakePeer,
    shared_endpoint: Endpoint,
    tmp_path: pathlib.Path,
    topic: str,
    capsys: Capture,
) -> None:
    folder = tmp_path / "edge"
    dead_letters(folder, shared_endpoint, topic, range(1))
    requeue(folder, "--all", "--method", "put")
    assert "1 dead letter, for the next process" in capsys.readouterr().out
    recorder = Recorder()
    make_peer().serve(topic, "there", recorder)
    peer = make_peer(journal="edge")
    assert peer.rpc
    # The driver opens its journal when it is used.
    peer.client(topic).cast({}, "put", value="own")
    assert sorted(map(str, recorder.take(2))) == ["0", "own"]
    await_drained(peer)
    assert recorder.rest() == []


def test_a_journal_without_a_process_is_adopted_for_what_was_requeued_in_it(
    make_peer: MakePeer, shared_endpoint: Endpoint, tmp_path: pathlib.Path, topic: str
) -> None:
    folder = tmp_path / "edge"
    path = dead_letters(folder, shared_endpoint, topic, range(2), number=1)
    requeue(folder, "2")
    recorder = Recorder()
    make_peer().serve(topic, "there", recorder)
    peer = make_peer(journal="edge", adoption_interval=1.0)
    assert peer.rpc
    # The driver opens its journal when it is used.
    peer.client(topic).cast({}, "put", value="own")
    assert sorted(map(str, recorder.take(2))) == ["1", "own"]
    assert ends(path)[1] == ("dead", "nobody took it")
    assert ends(path)[2][0] == "merged"
