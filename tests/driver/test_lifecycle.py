# SPDX-License-Identifier: Apache-2.0
"""What a driver object holds, shares, gives back and leaves behind."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import oslo_messaging
import pytest

from nova_edge_bus import errors
from nova_edge_bus.journal import slots
from tests.driver import journals
from tests.driver.conftest import MakeEndpoint
from tests.driver.conftest import MakePeer
from tests.driver.conftest import RunProgram
from tests.driver.endpoints import Endpoint
from tests.driver.peers import WAIT_SECONDS
from tests.driver.peers import Peer
from tests.driver.peers import Recorder
from tests.driver.peers import configuration
from tests.driver.peers import instance
from tests.driver.resources import Resources
from tests.nova.processes import wait_until


class Gated(Recorder):
    """Works on nothing before the test says so."""

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self.gate = threading.Event()

    def put(self, ctxt: dict[str, Any], value: Any, **others: Any) -> None:
        self.gate.wait(WAIT_SECONDS)
        super().put(ctxt, value)

    def who(self, ctxt: dict[str, Any]) -> str:
        self.gate.wait(WAIT_SECONDS)
        return super().who(ctxt)


@pytest.fixture
def free_address() -> Iterator[str]:
    """An address that can be listened on, and that the kernel gives to nobody meanwhile."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def use(peer: Peer, topic: str) -> None:
    """Use everything that a peer has."""
    recorder = Recorder()
    peer.serve(topic, "here", recorder)
    client = peer.client(topic)
    assert client.call({}, "echo", value=1) == 1
    client.cast({}, "put", value=2)
    assert recorder.take(1) == [2]
    peer.notifier(topic).info({}, "event", 3)


def await_drained(peer: Peer) -> None:
    journal = journals.only(peer.journal_dir)
    wait_until(lambda: journals.pending(journal) == 0, WAIT_SECONDS, "the outbox to drain")


# Making and giving back.


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


# Listeners.


def test_a_listener_that_stops_finishes_what_it_took_and_gets_no_more(
    make_peer: MakePeer, topic: str
) -> None:
    taker, sender = make_peer(), make_peer()
    stopping, staying = Gated("stopping"), Gated("staying")
    stopped = taker.serve(topic, "stopping", stopping, threads=1)
    taker.serve(topic, "staying", staying, threads=1)
    client = sender.client(topic)
    with concurrent.futures.ThreadPoolExecutor(10) as callers:
        calls = [callers.submit(client.call, {}, "who") for _ in range(10)]
        for value in range(10):
            client.cast({}, "put", value=value)
        await_drained(sender)
        stopped.stop()
        for value in range(10, 15):
            client.cast({}, "put", value=value)
        stopping.gate.set()
        staying.gate.set()
        stopped.wait()
        answers = sorted(call.result(WAIT_SECONDS) for call in calls)
    assert answers == ["staying"] * 5 + ["stopping"] * 5
    first, second = stopping.take(5), staying.take(10)
    assert sorted(first + second) == list(range(15))
    assert max(first) < 10
    assert stopping.rest() == []
    assert client.call({}, "who") == "staying"


def test_a_server_that_stops_in_one_process_is_replaced_by_another_one(
    make_peer: MakePeer, topic: str
) -> None:
    first, second = Recorder("first"), Recorder("second")
    taker, other, sender = make_peer(), make_peer(), make_peer()
    server = taker.serve(topic, "same", first, threads=1)
    client = sender.client(topic, "same")
    client.cast({}, "put", value=1)
    assert first.take(1) == [1]
    server.stop()
    server.wait()
    client.cast({}, "put", value=2)
    other.serve(topic, "same", second, threads=1)
    assert second.take(1) == [2]
    assert client.call({}, "who") == "second"
    assert first.rest() == []


def test_a_server_that_restarts_in_the_same_process_goes_on(
    make_peer: MakePeer, topic: str
) -> None:
    recorder = Recorder()
    taker, sender = make_peer(), make_peer()
    server = taker.serve(topic, "same", recorder, threads=1)
    client = sender.client(topic)
    for value in range(6):
        client.cast({}, "put", value=value, instance=instance("one"))
        if value % 2 == 0:
            server.stop()
            server.wait()
        else:
            server.start(override_pool_size=1)
    assert recorder.take(6) == list(range(6))


# Several endpoints, several virtual hosts.


def test_entries_go_to_the_endpoints_of_their_url(
    make_peer: MakePeer, make_endpoint: MakeEndpoint, topic: str
) -> None:
    near, far = make_endpoint(), make_endpoint()
    recorders = {near: Recorder("near"), far: Recorder("far")}
    for endpoint, recorder in recorders.items():
        make_peer(endpoint.url).serve(topic, "same", recorder, threads=1)
    sender = make_peer(near.url)
    there = sender.rpc_transport(far.url)
    for value in range(20):
        sender.client(topic).cast({}, "put", value=["near", value])
        sender.client(topic, transport=there).cast({}, "put", value=["far", value])
    assert sender.client(topic).call({}, "who") == "near"
    assert sender.client(topic, transport=there).call({}, "who") == "far"
    for recorder in recorders.values():
        assert recorder.take(20) == [[recorder.name, value] for value in range(20)]
    assert len(journals.files(sender.journal_dir)) == 1
    await_drained(sender)
    assert all(recorder.rest() == [] for recorder in recorders.values())


def test_a_backlog_for_endpoints_that_are_not_used_any_more_drains_as_well(
    make_peer: MakePeer, run_program: RunProgram, make_endpoint: MakeEndpoint, topic: str
) -> None:
    near, far = make_endpoint(), make_endpoint()
    program = run_program("send", url=near.url, topic=topic, values=[near.url], other=far.url)
    program.expect("sent")
    program.kill()
    recorders = {endpoint.url: Recorder() for endpoint in (near, far)}
    for url, recorder in recorders.items():
        make_peer(url).serve(topic, "same", recorder)
    restarted = make_peer(near.url, journal="journal")
    assert restarted.client(topic).call({}, "echo", value=1) == 1
    assert recorders[near.url].take(1) == [near.url]
    assert recorders[far.url].take(1) == [near.url]
    await_drained(restarted)


def test_what_was_accepted_before_a_crash_finds_its_listener_on_any_url(
    make_peer: MakePeer, run_program: RunProgram, make_endpoint: MakeEndpoint, topic: str
) -> None:
    near, far = make_endpoint(), make_endpoint()
    program = run_program("accept_and_send", url=far.url, topic=topic, other=near.url)
    program.expect("listening")
    sender = make_peer(far.url)
    sender.client(topic).cast({}, "put", value="accepted")
    await_drained(sender)
    program.kill()
    recorder = Recorder()
    make_peer(far.url, journal="journal").serve(topic, "here", recorder)
    assert recorder.take(1) == ["accepted"]


def test_virtual_hosts_do_not_hear_of_each_other(
    make_peer: MakePeer, shared_endpoint: Endpoint, topic: str
) -> None:
    takers = {}
    for vhost in ("", "one", "two"):
        takers[vhost] = Recorder(vhost)
        make_peer(shared_endpoint.url + vhost).serve(topic, "same", takers[vhost])
    sender = make_peer()
    for vhost in takers:
        transport = sender.rpc_transport(shared_endpoint.url + vhost)
        for _ in range(3):
            assert sender.client(topic, transport=transport).call({}, "who") == vhost
        sender.client(topic, transport=transport).cast({}, "put", value=vhost)
        sender.client(topic, transport=transport, fanout=True).cast({}, "put", value=vhost)
    for vhost, recorder in takers.items():
        assert recorder.take(2) == [vhost, vhost]
    assert all(recorder.rest() == [] for recorder in takers.values())


# Forks.


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


# URLs and options.


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("edgebus://", "names no endpoint"),
        ("edgebus:///vhost", "names no endpoint"),
        ("edgebus://192.0.2.1/", "allow_insecure"),
        ("edgebus://127.0.0.1/?no_such_option=1", "no_such_option"),
        ("edgebus://127.0.0.1/?link_timeout=soon", "link_timeout"),
        ("edgebus://127.0.0.1/?link_timeout=0.01", "0.5"),
        ("edgebus://127.0.0.1/?compression=lzma", "lzma"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_a_reason(url: str, text: str) -> None:
    conf = configuration(prog="nova-test", host="edge-1")
    with pytest.raises(errors.ConfigurationError) as caught:
        oslo_messaging.get_rpc_transport(conf, url)
    assert text in str(caught.value)


def test_a_configured_value_that_cannot_be_used_is_refused_with_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OS_EDGE_BUS__LINK_TIMEOUT", "soon")
    conf = configuration(prog="nova-test", host="edge-1")
    with pytest.raises(errors.ConfigurationError) as caught:
        oslo_messaging.get_rpc_transport(conf, "edgebus://127.0.0.1/")
    assert "link_timeout" in str(caught.value)
    assert "soon" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "edgebus://127.0.0.1/",
        "edgebus://localhost:5571/nova?link_timeout=3.5&compression=none",
        "edgebus://[::1]:5570,127.0.0.1:5570/",
        "edgebus://user:secret@127.0.0.1/",
        "edgebus://edge.example.org/?allow_insecure=true",
    ],
)
def test_a_url_that_can_be_used_is_taken(url: str) -> None:
    oslo_messaging.get_rpc_transport(configuration(prog="nova-test", host="edge-1"), url)


def test_options_in_the_url_win(make_peer: MakePeer, make_endpoint: MakeEndpoint) -> None:
    endpoint = make_endpoint()
    peer = make_peer(f"{endpoint.url}?journal_dir={{}}", journal="from-conf")
    peer.url = peer.url.format(peer.journal_dir.with_name("from-url"))
    peer.client("topic").cast({}, "put", value=1)
    assert not peer.journal_dir.exists()
    assert journals.files(peer.journal_dir.with_name("from-url")) == ["edge-1.nova-test-0.db"]


def test_options_come_from_the_environment(
    run_program: RunProgram, tmp_path: pathlib.Path, topic: str
) -> None:
    environment = {"OS_EDGE_BUS__JOURNAL_DIR": str(tmp_path / "from-environment")}
    program = run_program("send_bare", environment=environment, topic=topic)
    program.expect("sent")
    assert len(journals.files(tmp_path / "from-environment")) == 1


# Endpoints inside processes that use the bus.


def test_another_process_takes_over_a_hosted_endpoint(
    make_peer: MakePeer, run_program: RunProgram, free_address: str, topic: str
) -> None:
    url = f"edgebus://{free_address}/?listen=tcp://{free_address}"
    programs = []
    for name in "ab":
        programs.append(run_program("serve_until_killed", url=url, topic=topic, server=name))
        programs[-1].expect("serving")
    client = make_peer(f"edgebus://{free_address}/").client(topic)
    assert {client.call({}, "who")[0] for _ in range(4)} == {"a", "b"}
    programs[0].kill()
    assert {client.call({}, "who")[0] for _ in range(4)} == {"b"}
    third = run_program("serve_until_killed", url=url, topic=topic, server="c")
    third.expect("serving")
    programs[1].kill()
    assert {client.call({}, "who")[0] for _ in range(4)} == {"c"}


def test_a_process_that_hosts_can_use_the_bus_alone_and_gives_the_address_back(
    tmp_path: pathlib.Path, free_address: str, topic: str
) -> None:
    url = f"edgebus://{free_address}/"
    first = Peer(url, tmp_path, listen=f"tcp://{free_address}")
    use(first, topic)
    first.close()
    before = Resources()
    for _ in range(2):
        peer = Peer(url, tmp_path, listen=f"tcp://{free_address}")
        use(peer, topic)
        peer.close()
    before.assert_no_more()


# Journals without a process.


def test_the_journal_of_a_killed_process_is_adopted_and_drained_once(
    make_peer: MakePeer, run_program: RunProgram, topic: str
) -> None:
    values = list(range(50))
    program = run_program("send", topic=topic, values=values, prog="nova-other")
    program.expect("sent")
    program.kill()
    recorder = Recorder()
    make_peer().serve(topic, "here", recorder, threads=1)
    adopter = make_peer(journal="journal", adoption_interval=1.0)
    assert adopter.client(topic).call({}, "echo", value=1) == 1
    assert recorder.take(50) == values
    orphan = adopter.journal_dir / "edge-1.nova-other-0.db"
    wait_until(lambda: journals.pending(orphan) == 0, WAIT_SECONDS, "the orphan to drain")

    def is_given_back() -> bool:
        with slots.take(adopter.journal_dir, "edge-1", "nova-other") as slot:
            return slot.number == 0

    wait_until(is_given_back, WAIT_SECONDS, "the orphan to be given back")
    assert recorder.rest() == []


def test_two_processes_do_not_adopt_the_same_journal(
    make_peer: MakePeer, run_program: RunProgram, topic: str
) -> None:
    program = run_program("send", topic=topic, values=[1, 2, 3], prog="nova-other")
    program.expect("sent")
    program.kill()
    recorder = Recorder()
    make_peer().serve(topic, "here", recorder, threads=1)
    adopters = [
        run_program("serve", topic=f"{topic}-{name}", server=name, adoption_interval=1.0)
        for name in "ab"
    ]
    for adopter in adopters:
        adopter.expect("serving")
    assert recorder.take(3) == [1, 2, 3]
    orphan = make_peer(journal="journal").journal_dir / "edge-1.nova-other-0.db"
    wait_until(lambda: journals.pending(orphan) == 0, WAIT_SECONDS, "the orphan to drain")
    assert recorder.rest() == []


def test_the_journal_of_another_host_is_left_alone(
    make_peer: MakePeer, run_program: RunProgram, topic: str
) -> None:
    programs = [
        run_program("send", topic=topic, values=["theirs"], host="edge-2"),
        run_program("send", topic=topic, values=["ours"], prog="nova-other"),
    ]
    for program in programs:
        program.expect("sent")
        program.kill()
    recorder = Recorder()
    make_peer().serve(topic, "here", recorder, threads=1)
    adopter = make_peer(journal="journal", adoption_interval=1.0)
    assert adopter.client(topic).call({}, "echo", value=1) == 1
    assert recorder.take(1) == ["ours"]
    assert journals.pending(adopter.journal_dir / "edge-2.nova-test-0.db") == 1
