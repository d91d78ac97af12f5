# SPDX-License-Identifier: Apache-2.0
"""Casts: on disk when they return, delivered once whoever comes when, in order."""

from __future__ import annotations

import concurrent.futures
import itertools
import pathlib

import oslo_messaging
import pytest

from tests.driver import journals
from tests.driver.conftest import MakeEndpoint
from tests.driver.conftest import MakePeer
from tests.driver.conftest import RunProgram
from tests.driver.peers import WAIT_SECONDS
from tests.driver.peers import Recorder
from tests.driver.peers import await_drained
from tests.driver.peers import instance
from tests.nova.processes import wait_until


def test_a_cast_returns_when_its_row_is_committed_and_not_before(
    make_peer: MakePeer, topic: str
) -> None:
    peer = make_peer()
    client = peer.client(topic)
    client.cast({}, "put", value=0)
    journal = journals.only(peer.journal_dir)
    assert journals.pending(journal) == 1

    def cast() -> int:
        client.cast({}, "put", value=1)
        return journals.pending(journal)

    with concurrent.futures.ThreadPoolExecutor(1) as callers:
        with journals.stalled(journal):
            casting = callers.submit(cast)
            with pytest.raises(concurrent.futures.TimeoutError):
                casting.result(1)
            assert journals.pending(journal) == 1
        assert casting.result(WAIT_SECONDS) == 2


def test_a_cast_to_nobody_is_kept_for_the_server_that_comes(
    make_peer: MakePeer, topic: str
) -> None:
    sender = make_peer()
    for value in range(5):
        sender.client(topic).cast({}, "put", value=value)
    sender.client(topic, "first").cast({}, "put", value="directed")
    recorder = Recorder()
    make_peer().serve(topic, "first", recorder, threads=1)
    found = recorder.take(6)
    assert [value for value in found if value != "directed"] == list(range(5))
    assert "directed" in found
    await_drained(sender)
    assert recorder.rest() == []


def test_a_cast_to_one_server_is_not_given_to_another(make_peer: MakePeer, topic: str) -> None:
    sender, taker = make_peer(), make_peer()
    wrong, right = Recorder(), Recorder()
    taker.serve(topic, "wrong", wrong)
    sender.client(topic, "right").cast({}, "put", value=1)
    assert sender.client(topic, "wrong").call({}, "echo", value=0) == 0
    taker.serve(topic, "right", right)
    assert right.take(1) == [1]
    assert wrong.rest() == []


def test_casts_go_to_the_endpoint_that_starts_later(
    make_peer: MakePeer, make_endpoint: MakeEndpoint, topic: str
) -> None:
    endpoint = make_endpoint()
    endpoint.kill()
    sender, taker = make_peer(endpoint.url), make_peer(endpoint.url)
    for value in range(5):
        sender.client(topic).cast({}, "put", value=value)
    recorder = Recorder()
    with concurrent.futures.ThreadPoolExecutor(1) as starting:
        started = starting.submit(taker.serve, topic, "first", recorder, threads=1)
        endpoint.start()
        started.result(WAIT_SECONDS)
    assert recorder.take(5) == list(range(5))


@pytest.mark.parametrize("end", ["exit", "kill"])
def test_casts_outlive_the_process_that_made_them(
    make_peer: MakePeer, run_program: RunProgram, topic: str, end: str
) -> None:
    program = run_program("send", topic=topic, values=[1, 2, 3])
    program.expect("sent")
    if end == "exit":
        program.tell("go")
        assert program.wait() == 0
    else:
        program.kill()
    recorder = Recorder()
    make_peer().serve(topic, "first", recorder, threads=1)
    restarted = make_peer(journal="journal")
    restarted.client(topic).cast({}, "put", value=4)
    # What is cast now may pass what was left over: none of it has a group.
    assert sorted(recorder.take(4)) == [1, 2, 3, 4]
    assert len(journals.files(restarted.journal_dir)) == 1
    await_drained(restarted)
    assert recorder.rest() == []


def test_a_cast_whose_server_died_at_it_is_not_dispatched_again(
    make_peer: MakePeer, run_program: RunProgram, topic: str
) -> None:
    program = run_program("hold", topic=topic)
    program.expect("listening")
    client = make_peer().client(topic)
    client.cast({}, "put", value="begun")
    assert program.expect("holding") == "begun"
    program.kill()
    recorder = Recorder()
    make_peer(journal="journal").serve(topic, "here", recorder, threads=1)
    client.cast({}, "put", value="next")
    assert recorder.take(1) == ["next"]


def test_an_endpoint_that_dies_on_the_way_loses_and_doubles_nothing(
    make_peer: MakePeer, make_endpoint: MakeEndpoint, topic: str
) -> None:
    endpoint = make_endpoint()
    sender, taker = make_peer(endpoint.url), make_peer(endpoint.url)
    recorder = Recorder()
    taker.serve(topic, "first", recorder, threads=1)
    client = sender.client(topic)
    for value in range(300):
        if value == 100:
            endpoint.kill()
        if value == 200:
            endpoint.start()
        client.cast({}, "put", value=value, instance=instance("one"))
    assert recorder.take(300) == list(range(300))
    await_drained(sender)
    assert recorder.rest() == []


def test_one_of_two_endpoints_is_enough(
    make_peer: MakePeer, make_endpoint: MakeEndpoint, topic: str
) -> None:
    first, second = make_endpoint(), make_endpoint()
    url = f"edgebus://{first.address},{second.address}/"
    sender, taker = make_peer(url), make_peer(url)
    recorder = Recorder()
    taker.serve(topic, "first", recorder, threads=1)
    client = sender.client(topic)
    for value in range(200):
        if value == 50:
            first.kill()
        if value == 150:
            first.start()
            second.kill()
        client.cast({}, "put", value=value, instance=instance("one"))
    assert recorder.take(200) == list(range(200))
    assert client.call({}, "echo", value="still there") == "still there"


def test_casts_to_a_topic_take_strict_turns_and_keep_their_order(
    make_peer: MakePeer, topic: str
) -> None:
    recorders = [Recorder() for _ in range(3)]
    for number, recorder in enumerate(recorders):
        make_peer().serve(topic, f"server-{number}", recorder, threads=1)
    client = make_peer().client(topic)
    client.call({}, "echo", value=0)  # now the servers are known, and the turns begin
    for value in range(60):
        client.cast({}, "put", value=value)
    found = [recorder.take(20) for recorder in recorders]
    assert sorted(one[0] for one in found) == [0, 1, 2]
    for one in found:
        assert one == list(range(one[0], 60, 3))


def test_a_backlog_is_spread_over_the_servers(
    make_peer: MakePeer, run_program: RunProgram, topic: str
) -> None:
    program = run_program("send", topic=topic, values=list(range(60)))
    program.expect("sent")
    program.kill()
    recorders = [Recorder() for _ in range(3)]
    for number, recorder in enumerate(recorders):
        make_peer().serve(topic, f"server-{number}", recorder, threads=1)
    restarted = make_peer(journal="journal")
    restarted.client(f"{topic}-other").cast({}, "put", value="begins")
    # A grant is for sixteen at first, and what is left over goes to whoever is ready for more.
    found = [recorder.take(12) for recorder in recorders]
    wait_until(
        lambda: sum(map(len, found)) + sum(one.queue.qsize() for one in recorders) == 60,
        WAIT_SECONDS,
        "the whole backlog",
    )
    for one, recorder in zip(found, recorders, strict=True):
        one += recorder.take(recorder.queue.qsize())
        assert one == sorted(one)
    assert sorted(itertools.chain(*found)) == list(range(60))


def test_the_casts_of_an_instance_keep_their_order(make_peer: MakePeer, topic: str) -> None:
    taker, recorder = make_peer(), Recorder()
    taker.serve(topic, "compute-1", recorder, threads=1)
    client = make_peer().client(topic, "compute-1")
    for value in range(300):
        client.cast({}, "put", value=value, instance=instance(f"uuid-{value % 7}"))
    assert recorder.take(300) == list(range(300))


def test_each_of_several_servers_has_the_casts_of_an_instance_in_order(
    make_peer: MakePeer, topic: str
) -> None:
    recorders = [Recorder() for _ in range(3)]
    for number, recorder in enumerate(recorders):
        make_peer().serve(topic, f"server-{number}", recorder, threads=1)
    client = make_peer().client(topic)
    for value in range(300):
        client.cast({}, "put", value=value, instance=instance(f"uuid-{value % 7}"))
    wait_until(
        lambda: sum(recorder.queue.qsize() for recorder in recorders) >= 300,
        WAIT_SECONDS,
        "all casts",
    )
    found = [recorder.rest() for recorder in recorders]
    assert sorted(itertools.chain(*found)) == list(range(300))
    for one in found:
        for number in range(7):
            mine = [value for value in one if value % 7 == number]
            assert mine == sorted(mine)


def test_a_fanout_reaches_every_server_once(
    make_peer: MakePeer, make_endpoint: MakeEndpoint, topic: str
) -> None:
    first, second = make_endpoint(), make_endpoint()
    url = f"edgebus://{first.address},{second.address}/"
    sender, taker = make_peer(url), make_peer(url)
    recorders = [Recorder() for _ in range(3)]
    taker.serve(topic, "server-0", recorders[0], threads=1)
    taker.serve(topic, "server-1", recorders[1], threads=1)
    sender.serve(topic, "server-2", recorders[2], threads=1)
    fanout = sender.client(topic, fanout=True)
    for value in range(20):
        fanout.cast({}, "put", value=value)
    for recorder in recorders:
        assert recorder.take(20) == list(range(20))
    for number, recorder in enumerate(recorders):
        sender.client(topic, f"server-{number}").cast({}, "put", value="last")
        assert recorder.take(1) == ["last"]


def test_a_fanout_is_not_kept_for_a_server_that_comes_later(
    make_peer: MakePeer, topic: str
) -> None:
    sender, taker = make_peer(), make_peer()
    here, late = Recorder(), Recorder()
    taker.serve(topic, "here", here)
    sender.client(topic, fanout=True).cast({}, "put", value="missed")
    assert here.take(1) == ["missed"]
    taker.serve(topic, "late", late)
    sender.client(topic, "late").cast({}, "put", value="kept")
    assert late.take(1) == ["kept"]
    assert late.rest() == []


def test_more_addresses_than_fit_into_one_message_are_looked_up_again(
    make_peer: MakePeer, make_endpoint: MakeEndpoint, topic: str
) -> None:
    endpoint = make_endpoint()
    sender, taker = make_peer(endpoint.url), make_peer(endpoint.url)
    sender.client(topic).cast({}, "put", value=0)

    def cast(number: int) -> None:
        sender.client(topic, f"server-{number}").cast({}, "put", value=number)

    with concurrent.futures.ThreadPoolExecutor(32) as senders:
        list(senders.map(cast, range(5000)))
    endpoint.kill()
    endpoint.start()
    recorder = Recorder()
    taker.serve(topic, "server-4999", recorder)
    assert sorted(recorder.take(2)) == [0, 4999]


def test_a_full_journal_refuses_the_cast_and_keeps_the_others(
    make_peer: MakePeer, topic: str
) -> None:
    sender = make_peer(journal_max_bytes=1 << 20)
    client = sender.client(topic)
    written: list[int] = []

    def fill() -> None:
        for value in range(100):
            client.cast({}, "put", value=[value, "x" * 100_000])
            written.append(value)

    with pytest.raises(oslo_messaging.MessageDeliveryFailure) as caught:
        fill()
    assert len(written) > 2
    assert "journal_max_bytes" in str(caught.value)
    assert str(journals.only(sender.journal_dir)) in str(caught.value)
    recorder = Recorder()
    make_peer().serve(topic, "first", recorder, threads=1)
    assert [value for value, _ in recorder.take(len(written))] == written
    await_drained(sender)
    client.cast({}, "put", value=["after", ""])
    assert recorder.take(1) == [["after", ""]]


def test_a_refused_cast_binds_its_instance_to_no_server(make_peer: MakePeer, topic: str) -> None:
    recorders = [Recorder(), Recorder()]
    for number, recorder in enumerate(recorders):
        make_peer().serve(topic, f"server-{number}", recorder)
    sender = make_peer(journal_max_bytes=1 << 20)
    client, filler = sender.client(topic), sender.client(f"{topic}-filler")
    assert client.call({}, "echo", value=0) == 0

    def fill() -> None:
        for _ in range(1000):
            filler.cast({}, "put", value="x" * 10_000)

    with pytest.raises(oslo_messaging.MessageDeliveryFailure):
        fill()
    with pytest.raises(oslo_messaging.MessageDeliveryFailure):
        client.cast({}, "put", value="x" * 20_000, instance=instance("one"))
    make_peer().serve(f"{topic}-filler", "here", Recorder())
    for value in range(4):
        await_drained(sender)
        client.cast({}, "put", value=value, instance=instance("one"))
    found = [recorder.take(2) for recorder in recorders]
    assert sorted(itertools.chain(*found)) == [0, 1, 2, 3]


def test_a_journal_that_cannot_be_made_is_an_error_of_the_cast(
    make_peer: MakePeer, topic: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "a-file").write_text("")
    client = make_peer(journal="a-file/below").client(topic)
    with pytest.raises(oslo_messaging.MessageDeliveryFailure, match="a-file"):
        client.cast({}, "put", value=1)
