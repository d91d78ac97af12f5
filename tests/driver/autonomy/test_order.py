# SPDX-License-Identifier: Apache-2.0
"""What an edge has to say is said first and in order; then it hears what is said to it."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from typing import Any

import oslo_messaging
import pytest

from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal as journals
from tests.driver.autonomy.conftest import MakeEdge
from tests.driver.autonomy.roles import AT_ONCE
from tests.driver.autonomy.roles import LINK_TIMEOUT
from tests.driver.autonomy.roles import Conductor
from tests.driver.autonomy.roles import Edge
from tests.driver.autonomy.roles import timed
from tests.driver.peers import WAIT_SECONDS
from tests.driver.peers import Recorder
from tests.driver.peers import take
from tests.nova import relay as relays
from tests.nova.processes import wait_until
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot import rows
from tests.unit.snapshot.edge import HOST


@pytest.fixture
def compute_topic(topic: str) -> str:
    """What the edge host's own service listens to."""
    return f"compute-{topic}"


@pytest.fixture
def compute(edge: Edge, compute_topic: str) -> Recorder:
    """The edge host's own service."""
    made = Recorder("the edge")
    edge.peer.serve(compute_topic, HOST, made)
    return made


def pause() -> None:
    """Let others have the processor, between two of many calls."""
    time.sleep(0.05)


def settled(edge: Edge, outcome: entries.Outcome) -> list[entries.StoredEntry]:
    """The entries of the edge's journal that ended so."""
    journal = journals.Journal.attach(edge.journal, max_bytes=64 << 20, retention=60)
    try:
        with journal.transaction():
            return journal.outbox.settled.listing(outcome)
    finally:
        journal.close()


def test_commands_wait_until_all_that_was_written_is_applied(
    cut_edge: Edge,
    compute: Recorder,
    compute_topic: str,
    conductor: Conductor,
    relay: relays.Relay,
    uuid: str,
) -> None:
    commanding = conductor.peer.client(compute_topic, HOST)
    commanding.cast({}, "put", value="sent during the cut")
    cut_edge.save(uuid, power_state=11)
    conductor.gate.clear()
    relay.resume()
    take(conductor.began, 1)
    commanding.cast({}, "put", value="sent while it catches up")
    with pytest.raises(oslo_messaging.MessagingTimeout):
        conductor.peer.client(compute_topic, HOST, timeout=LINK_TIMEOUT).call({}, "who")
    assert compute.rest() == []
    assert cut_edge.field(uuid) == 11
    conductor.gate.set()
    # Neither has a group, so no order of the two is promised.
    assert set(compute.take(2)) == {"sent during the cut", "sent while it catches up"}
    assert conductor.saves("Instance", "power_state")[-1] == 11
    assert conductor.peer.client(compute_topic, HOST).call({}, "who") == "the edge"


def test_the_own_host_is_served_while_cut_off(
    cut_edge: Edge, compute: Recorder, compute_topic: str, relay: relays.Relay, uuid: str
) -> None:
    own = cut_edge.peer.client(compute_topic, HOST)
    own.cast({}, "put", value=1)
    assert take(compute.queue, 1, WAIT_SECONDS) == [1]
    cut_edge.save(uuid, power_state=12)
    instance = {"nova_object.name": "Instance", "nova_object.data": {"uuid": uuid}}
    # Whoever else would have to wait until the save is applied; we see what we have written.
    own.cast({}, "put", value=2, instance=instance)
    assert compute.take(1) == [2]
    assert cut_edge.pending() >= 2
    until = time.monotonic() + 2 * LINK_TIMEOUT
    while time.monotonic() < until:
        reply, took = timed(lambda: own.call({}, "echo", value=3))
        assert reply == 3
        assert took < AT_ONCE
        pause()
    relay.resume()
    cut_edge.await_drained()
    assert compute.rest() == []


def test_the_own_host_is_served_by_a_process_that_comes_later(
    cut_edge: Edge, make_edge: MakeEdge, compute_topic: str, relay: relays.Relay
) -> None:
    journal = cut_edge.peer.journal_dir.name
    for value in range(3):
        cut_edge.peer.client(compute_topic, HOST).cast({}, "put", value=value)
    cut_edge.peer.close()
    restarted = make_edge(journal=journal)
    recorder = Recorder()
    restarted.peer.serve(compute_topic, HOST, recorder, threads=1)
    assert recorder.take(3) == [0, 1, 2]
    relay.resume()
    restarted.await_drained()
    assert recorder.rest() == []


def test_the_heartbeat_is_applied_last(
    cut_edge: Edge,
    conductor: Conductor,
    relay: relays.Relay,
    centre: centres.Centre,
    uuid: str,
) -> None:
    others = [rows.instance(centre).uuid for _ in range(3)]
    relay.resume()
    cut_edge.await_linked()
    for other in others:
        cut_edge.instance(other)
    relay.silence()
    cut_edge.save(uuid, power_state=20)
    cut_edge.beat(100)
    for value, other in enumerate([uuid, *others, *others], 30):
        cut_edge.save(other, power_state=value)
    cut_edge.beat(101)
    for value, other in enumerate(others, 50):
        cut_edge.save(other, power_state=value)
    conductor.applied.clear()
    relay.resume()
    cut_edge.await_drained()
    kinds = [kind for kind, _, _ in conductor.applied]
    assert kinds.count("Service") == 1
    assert conductor.saves("Service", "report_count") == [101]
    # It waits for what is older, which is all that had been written when it was made.
    assert len(conductor.applied[: kinds.index("Service")]) >= 1 + 7
    assert sorted(conductor.saves("Instance", "power_state"))[-10:] == sorted(
        [*range(30, 37), *range(50, 53)]
    )


def test_one_of_many_heartbeats_is_left(
    cut_edge: Edge, conductor: Conductor, relay: relays.Relay
) -> None:
    before = cut_edge.pending()
    for count in range(1, 9):
        cut_edge.beat(count)
        assert cut_edge.service()["nova_object.data"]["report_count"] == count
    assert cut_edge.pending() == before + 1
    merged = settled(cut_edge, entries.Outcome.MERGED)
    seqs = [each.seq for each in merged]
    assert len(seqs) == 7
    assert [each.reason for each in merged] == [
        f"entry {seq} stands for it" for seq in [*seqs[1:], seqs[-1] + 1]
    ]
    relay.resume()
    cut_edge.await_drained()
    cut_edge.await_linked()
    assert conductor.saves("Service", "report_count") == [8]
    assert cut_edge.service()["nova_object.data"]["report_count"] == 8


def test_a_second_cut_while_it_catches_up(
    cut_edge: Edge,
    compute: Recorder,
    conductor: Conductor,
    relay: relays.Relay,
    uuid: str,
    callers: concurrent.futures.ThreadPoolExecutor,
) -> None:
    for value in range(20, 25):
        cut_edge.save(uuid, power_state=value)
    conductor.gate.clear()
    relay.resume()
    take(conductor.began, 1)
    relay.silence()
    conductor.gate.set()
    for value in range(25, 30):
        _, took = timed(lambda value=value: cut_edge.save(uuid, power_state=value))
        assert took < AT_ONCE
    assert cut_edge.field(uuid) == 29
    relay.resume()
    cut_edge.await_drained()
    cut_edge.await_linked()
    assert conductor.saves("Instance", "power_state") == [10, *range(20, 30)]
    assert cut_edge.field(uuid) == 29


def test_cuts_that_come_and_go_lose_and_repeat_nothing(
    edge: Edge, conductor: Conductor, relay: relays.Relay, uuid: str
) -> None:
    stop = threading.Event()
    failed: list[Any] = []

    def save() -> None:
        value = 100
        while not stop.is_set():
            try:
                edge.save(uuid, power_state=value)
                if edge.field(uuid) != value:
                    failed.append((value, edge.field(uuid)))
            except Exception as error:
                failed.append(error)
            value += 1
            pause()

    saving = threading.Thread(target=save)
    saving.start()
    try:
        for _ in range(3):
            count = len(conductor.applied)
            wait_until(lambda count=count: len(conductor.applied) > count, WAIT_SECONDS, "a save")
            relay.silence()
            stop.wait(2 * LINK_TIMEOUT)
            relay.resume()
    finally:
        stop.set()
        saving.join(WAIT_SECONDS)
    edge.await_drained()
    edge.await_linked()
    values = conductor.saves("Instance", "power_state")
    assert failed == []
    assert values == list(range(100, 100 + len(values)))
    assert edge.field(uuid) == values[-1]
