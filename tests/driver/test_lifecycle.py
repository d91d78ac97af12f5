# SPDX-License-Identifier: Apache-2.0
"""What a driver object holds, shares, gives back and leaves behind; processes that fork."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import os
import pathlib
import signal
import threading
import time

import oslo_messaging
import pytest

from nova_edge_bus.journal import slots
from tests.driver import journals
from tests.driver.conftest import MakePeer
from tests.driver.conftest import RunProgram
from tests.driver.endpoints import Endpoint
from tests.driver.peers import WAIT_SECONDS
from tests.driver.peers import Peer
from tests.driver.peers import Recorder
from tests.driver.peers import await_drained
from tests.driver.peers import use
from tests.driver.resources import Resources
from tests.nova.processes import wait_until


def test_making_a_transport_does_nothing(
    shared_endpoint: Endpoint, tmp_path: pathlib.Path
) -> None:
    Peer(shared_endpoint.url, tmp_path / "first").rpc  # noqa: B018 (loads the plugins)
    before = Resources()
    peer = Peer(shared_endpoint.url, tmp_path / "second")
    assert peer.rpc
    assert peer.notifications
    assert before.more() == []
    assert not (tmp_path / "second").exists()
    peer.close()


def test_cleanup_gives_everything_back(
    shared_endpoint: Endpoint, tmp_path: pathlib.Path, topic: str
) -> None:
    first = Peer(shared_endpoint.url, tmp_path)
    use(first, topic)
    first.close()
    before = Resources()
    for _ in range(3):
        peer = Peer(shared_endpoint.url, tmp_path)
        use(peer, topic)
        assert before.more() != []
        peer.close()
    before.assert_no_more()
    with slots.take(tmp_path, peer.host, peer.prog) as slot:
        assert slot.number == 0


def test_cleanup_waits_until_the_outbox_is_drained(
    shared_endpoint: Endpoint, tmp_path: pathlib.Path, make_peer: MakePeer, topic: str
) -> None:
    recorder = Recorder()
    make_peer().serve(topic, "here", recorder, threads=1)
    sender = Peer(shared_endpoint.url, tmp_path / "sender", linger=WAIT_SECONDS)
    client = sender.client(topic)
    for value in range(500):
        client.cast({}, "put", value=value)
    sender.close()
    assert journals.pending(journals.only(sender.journal_dir)) == 0
    assert recorder.take(500) == list(range(500))


def test_a_transport_can_be_used_again_after_its_cleanup(make_peer: MakePeer, topic: str) -> None:
    make_peer().serve(topic, "here", Recorder("first"))
    peer = make_peer()
    client = peer.client(topic)
    assert client.call({}, "who") == "first"
    peer.rpc.cleanup()
    assert client.call({}, "who") == "first"


def test_cleanup_while_others_send_loses_nothing_that_was_taken(
    make_peer: MakePeer, topic: str
) -> None:
    recorder = Recorder()
    make_peer().serve(topic, "here", recorder)
    peer = make_peer()
    client = peer.client(topic, timeout=5)
    over = threading.Event()

    def send(number: int) -> list[int]:
        """Cast, and return what was taken; nothing but these errors may come out."""
        taken: list[int] = []
        for value in itertools.count(number, 4):
            if over.is_set():
                return taken
            with contextlib.suppress(oslo_messaging.MessageDeliveryFailure):
                client.cast({}, "put", value=value)
                taken.append(value)
        raise AssertionError

    with concurrent.futures.ThreadPoolExecutor(4) as senders:
        sending = [senders.submit(send, number) for number in range(4)]
        for _ in range(10):
            time.sleep(0.2)
            peer.rpc.cleanup()
        over.set()
        taken = list(itertools.chain(*(each.result(WAIT_SECONDS) for each in sending)))
    assert client.call({}, "echo", value=1) == 1
    await_drained(peer)
    assert len(journals.files(peer.journal_dir)) == 1
    wait_until(lambda: set(taken) <= set(recorder.queue.queue), WAIT_SECONDS, "all that was taken")
    found = recorder.rest()
    assert len(found) == len(set(found))


def test_what_cannot_be_started_leaves_nothing_behind(
    shared_endpoint: Endpoint, tmp_path: pathlib.Path, topic: str
) -> None:
    (tmp_path / "a-file").write_text("")
    peer = Peer(shared_endpoint.url, tmp_path / "a-file" / "below")
    unsafe = Peer(shared_endpoint.url, tmp_path / "unsafe", listen="tcp://192.0.2.1:5570")
    for one in (peer, unsafe):
        with pytest.raises(oslo_messaging.MessageDeliveryFailure):
            one.client(topic).cast({}, "put", value=1)
    before = Resources()
    for one in (peer, unsafe):
        for _ in range(3):
            with pytest.raises(oslo_messaging.MessageDeliveryFailure):
                one.client(topic).cast({}, "put", value=1)
    before.assert_no_more()
    with slots.take(tmp_path / "unsafe", unsafe.host, unsafe.prog) as slot:
        assert slot.number == 0


def test_driver_objects_of_a_process_share_one_journal(make_peer: MakePeer, topic: str) -> None:
    peer = make_peer()
    use(peer, topic)
    again = make_peer(journal=peer.journal_dir.name)
    more = again.rpc_transport()
    again.client(topic, transport=more).cast({}, "put", value=1)
    assert journals.files(peer.journal_dir) == ["edge-1.nova-test-0.db"]
    peer.rpc.cleanup()
    assert again.client(topic).call({}, "echo", value=1) == 1


def test_processes_have_a_journal_each(
    make_peer: MakePeer, run_program: RunProgram, topic: str
) -> None:
    for program in [run_program("serve", topic=topic, server=name) for name in "ab"]:
        program.expect("serving")
    peer = make_peer(journal="journal")
    use(peer, f"{topic}-own")
    names = [f"edge-1.nova-test-{number}.db" for number in range(3)]
    assert journals.files(peer.journal_dir) == names


@pytest.mark.parametrize(
    ("when", "end"),
    [("before", "abrupt"), ("after", "abrupt"), ("after", "cleanup"), ("after", "normal")],
)
def test_parent_and_child_both_use_what_was_made_before_the_fork(
    make_peer: MakePeer, run_program: RunProgram, topic: str, when: str, end: str
) -> None:
    recorder = Recorder()
    make_peer().serve(topic, "here", recorder, threads=1)
    # The child may end before its cast has left, and the parent then ships it in its stead.
    program = run_program("fork", topic=topic, when=when, end=end, adoption_interval=1.0)
    sent = ["child", "parent"]
    if when == "after":
        assert program.expect("parent before") == "before"
        sent.insert(0, "parent before")
    assert program.expect("child") == "of the child"
    assert program.expect("child ended") == 0
    assert program.expect("parent") == "of the parent"
    assert sorted(recorder.take(len(sent))) == sorted(sent)
    program.tell("close")
    assert program.expect("closed") == ["MainThread"]
    assert program.wait() == 0
    journal_dir = make_peer(journal="journal").journal_dir
    # The parent that begins when the child has ended takes over the child's.
    count = 1 if when == "before" else 2
    assert len(journals.files(journal_dir)) == count
    assert journals.pending(journal_dir / "edge-1.nova-test-0.db") == 0


def test_a_forked_child_does_not_keep_the_journal_of_its_parent(
    make_peer: MakePeer, run_program: RunProgram, topic: str
) -> None:
    program = run_program("fork_and_die", topic=topic)
    events = dict([program.next(), program.next()])
    program.kill()
    try:
        recorder = Recorder()
        make_peer().serve(topic, "here", recorder)
        heir = make_peer(journal="journal")
        assert heir.client(topic).call({}, "echo", value=1) == 1
        assert recorder.take(1) == ["orphaned"]
        assert len(journals.files(heir.journal_dir)) == 1
    finally:
        os.kill(events["child"], signal.SIGKILL)
