# SPDX-License-Identifier: Apache-2.0
"""What live processes take over from dead ones: hosted endpoints, journals."""

from __future__ import annotations

import contextlib
import pathlib
import socket
from collections.abc import Iterator

import oslo_messaging
import pytest

from nova_edge_bus.journal import slots
from tests.driver import journals
from tests.driver.conftest import MakePeer
from tests.driver.conftest import RunProgram
from tests.driver.peers import WAIT_SECONDS
from tests.driver.peers import Peer
from tests.driver.peers import Recorder
from tests.driver.peers import use
from tests.driver.resources import Resources
from tests.nova.processes import wait_until


@pytest.fixture
def free_address() -> Iterator[str]:
    """An address that can be listened on, and that the kernel gives to nobody meanwhile."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def names(caller: Peer, topic: str) -> set[str]:
    """Who answers, in turns."""
    return {caller.client(topic).call({}, "who")[0] for _ in range(4)}


def await_answer(caller: Peer, topic: str) -> None:
    """Wait until calls are answered; one that was on its way to a dead server is not."""

    def is_answered() -> bool:
        with contextlib.suppress(oslo_messaging.MessagingTimeout):
            caller.client(topic, timeout=1).call({}, "who")
            return True
        return False

    wait_until(is_answered, WAIT_SECONDS, "an answer")


def test_another_process_takes_over_a_hosted_endpoint(
    make_peer: MakePeer, run_program: RunProgram, free_address: str, topic: str
) -> None:
    url = f"edgebus://{free_address}/?listen=tcp://{free_address}"
    programs = []
    for name in "ab":
        programs.append(run_program("serve_until_killed", url=url, topic=topic, server=name))
        programs[-1].expect("serving")
    caller = make_peer(f"edgebus://{free_address}/")
    assert names(caller, topic) == {"a", "b"}
    programs[0].kill()
    await_answer(caller, topic)
    assert names(caller, topic) == {"b"}
    third = run_program("serve_until_killed", url=url, topic=topic, server="c")
    third.expect("serving")
    programs[1].kill()
    await_answer(caller, topic)
    assert names(caller, topic) == {"c"}


def test_a_process_that_hosts_can_use_the_bus_alone_and_gives_the_address_back(
    tmp_path: pathlib.Path,
    make_peer: MakePeer,
    free_address: str,
    topic: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = f"edgebus://{free_address}/"
    first = Peer(url, tmp_path, listen=f"tcp://{free_address}")
    use(first, topic)
    guest = make_peer(url)
    assert guest.client(topic).call({}, "echo", value=1) == 1
    first.close()
    wait_until(lambda: "said goodbye: endpoint stops" in caplog.text, WAIT_SECONDS, "the goodbye")
    guest.close()
    before = Resources()
    for _ in range(2):
        peer = Peer(url, tmp_path, listen=f"tcp://{free_address}")
        use(peer, topic)
        peer.close()
    before.assert_no_more()


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
