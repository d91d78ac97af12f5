# SPDX-License-Identifier: Apache-2.0
"""Callers at an edge that is cut off, whichever way: what they are told, and when."""

from __future__ import annotations

import concurrent.futures
import functools
import os
import signal
import time
from typing import Any

import oslo_messaging
import pytest
from nova import exception

from tests.driver.autonomy.conftest import MakeEdge
from tests.driver.autonomy.roles import AT_ONCE
from tests.driver.autonomy.roles import LINK_TIMEOUT
from tests.driver.autonomy.roles import NOTICED
from tests.driver.autonomy.roles import Conductor
from tests.driver.autonomy.roles import Edge
from tests.driver.autonomy.roles import changed
from tests.driver.autonomy.roles import timed
from tests.driver.conftest import MakeEndpoint
from tests.driver.conftest import MakePeer
from tests.driver.conftest import RunProgram
from tests.driver.peers import WAIT_SECONDS
from tests.driver.peers import take
from tests.nova import relay as relays
from tests.nova.processes import wait_until
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot import rows

CALLERS = 40


def test_a_save_in_flight_falls_back_and_is_applied_once(
    edge: Edge,
    conductor: Conductor,
    relay: relays.Relay,
    uuid: str,
    callers: concurrent.futures.ThreadPoolExecutor,
) -> None:
    conductor.gate.clear()
    saving = callers.submit(edge.save, uuid, power_state=4)
    assert take(conductor.began, 1) == [["Instance", "save", {"power_state": 4}]]
    relay.silence()
    reply, took = timed(lambda: saving.result(WAIT_SECONDS))
    assert took < NOTICED
    assert reply == [{"obj_what_changed": []}, None]
    assert edge.field(uuid) == 4
    assert conductor.applied == []
    conductor.gate.set()
    relay.resume()
    edge.await_drained()
    edge.await_linked()
    assert conductor.saves("Instance", "power_state") == [4]
    assert edge.field(uuid) == 4


def test_a_comparison_in_flight_falls_back_where_it_would_succeed(
    edge: Edge,
    conductor: Conductor,
    relay: relays.Relay,
    uuid: str,
    callers: concurrent.futures.ThreadPoolExecutor,
) -> None:
    conductor.gate.clear()
    known = edge.instance(uuid)
    save = functools.partial(callers.submit, edge.act)
    target = changed(known, {"task_state": "powering-off"})
    saving = save(target, "save", expected_task_state=[None])
    take(conductor.began, 1)
    target = changed(known, {"task_state": "deleting"})
    hopeless = save(target, "save", timeout=2 * NOTICED, expected_task_state=["rebooting"])
    wait_until(lambda: edge.pending() == 2, WAIT_SECONDS, "both to be journaled")
    relay.silence()
    reply, took = timed(lambda: saving.result(WAIT_SECONDS))
    assert took < NOTICED
    assert reply == [{"obj_what_changed": []}, None]
    # Whether the centre has refused the other one is not known, so it is not said.
    with pytest.raises(oslo_messaging.MessagingTimeout):
        hopeless.result(WAIT_SECONDS)
    conductor.gate.set()
    relay.resume()
    edge.await_drained()
    assert edge.field(uuid, "task_state") == "powering-off"


def test_many_callers_in_flight_fall_back_together(
    edge: Edge, conductor: Conductor, relay: relays.Relay, uuid: str
) -> None:
    known = edge.instance(uuid)
    values = range(100, 100 + CALLERS)
    conductor.gate.clear()
    with concurrent.futures.ThreadPoolExecutor(CALLERS) as callers:
        saving = [
            callers.submit(edge.act, changed(known, {"power_state": value}), "save")
            for value in values
        ]
        wait_until(lambda: edge.pending() == CALLERS, WAIT_SECONDS, "all to be journaled")
        relay.silence()
        done, took = timed(lambda: concurrent.futures.wait(saving, WAIT_SECONDS).done)
    assert len(done) == CALLERS
    assert took < 2 * NOTICED
    assert [each.result() for each in saving] == [[{"obj_what_changed": []}, None]] * CALLERS
    last = edge.field(uuid)
    conductor.gate.set()
    relay.resume()
    edge.await_drained()
    applied = conductor.saves("Instance", "power_state")
    assert sorted(applied) == list(values)
    assert applied[-1] == last == edge.field(uuid)


def test_saves_while_cut_off_return_at_once_and_are_applied_in_order(
    cut_edge: Edge, conductor: Conductor, relay: relays.Relay, uuid: str
) -> None:
    before = len(conductor.saves("Instance", "power_state"))
    for value in range(20, 30):
        reply, took = timed(lambda value=value: cut_edge.save(uuid, power_state=value))
        assert took < AT_ONCE
        assert reply == [{"obj_what_changed": []}, None]
        assert cut_edge.field(uuid) == value
    relay.resume()
    cut_edge.await_drained()
    cut_edge.await_linked()
    # What was in flight at the cut comes first.
    assert conductor.saves("Instance", "power_state")[before:][-10:] == list(range(20, 30))
    assert cut_edge.field(uuid) == 29


def test_a_comparison_that_fails_raises_novas_own_exception(
    cut_edge: Edge, conductor: Conductor, relay: relays.Relay, uuid: str
) -> None:
    pending = cut_edge.pending()
    with pytest.raises(exception.UnexpectedTaskStateError) as caught:
        cut_edge.compare_and_set(uuid, ["rebooting"], "powering-off")
    assert caught.value.kwargs["actual"] == {"task_state": None}
    assert cut_edge.pending() == pending
    cut_edge.compare_and_set(uuid, [None], "powering-off")
    with pytest.raises(exception.UnexpectedTaskStateError):
        cut_edge.compare_and_set(uuid, [None], "powering-off")
    assert cut_edge.pending() == pending + 1
    relay.resume()
    cut_edge.await_drained()
    assert conductor.saves("Instance", "task_state") == ["powering-off"]
    assert cut_edge.field(uuid, "task_state") == "powering-off"


def test_a_read_that_is_not_known_waits_its_own_time(cut_edge: Edge, uuid: str) -> None:
    began = time.monotonic()
    with pytest.raises(oslo_messaging.MessagingTimeout):
        cut_edge.ask("InstanceList", "get_by_host", timeout=1.0, host="other")
    assert 1.0 <= time.monotonic() - began < 1.0 + NOTICED
    _, took = timed(lambda: cut_edge.field(uuid))
    assert took < AT_ONCE


def test_a_read_that_is_not_known_is_answered_when_the_link_returns(
    cut_edge: Edge,
    relay: relays.Relay,
    callers: concurrent.futures.ThreadPoolExecutor,
) -> None:
    reading = callers.submit(cut_edge.ask, "InstanceList", "get_by_host", host="other")
    with pytest.raises(TimeoutError):
        reading.result(AT_ONCE)
    relay.resume()
    reply = reading.result(WAIT_SECONDS)
    assert reply["nova_object.data"]["objects"] == []


def create_migration(edge: Edge) -> Any:
    target = {
        "nova_object.name": "Migration",
        "nova_object.namespace": "nova",
        "nova_object.version": "1.8",
        "nova_object.data": {"status": "pre-migrating", "migration_type": "resize"},
        "nova_object.changes": ["migration_type", "status"],
    }
    return edge.act(target, "create")


@pytest.mark.parametrize("noticed", [True, False])
def test_what_must_not_be_repeated_gives_up_soon_but_not_at_once(
    make_edge: MakeEdge, relay: relays.Relay, uuid: str, noticed: bool
) -> None:
    edge = make_edge(refuse_after=1.5)
    edge.instance(uuid)
    relay.silence()
    if noticed:
        edge.save(uuid, power_state=4)
    began = time.monotonic()
    with pytest.raises(oslo_messaging.MessagingTimeout):
        create_migration(edge)
    assert 1.0 <= time.monotonic() - began < 1.5 + 2 * NOTICED < WAIT_SECONDS
    # It was not journaled, so it cannot be applied later.
    assert edge.pending() == int(noticed)


def test_a_consumer_that_is_frozen_is_a_cut(
    make_edge: MakeEdge,
    run_program: RunProgram,
    centre: centres.Centre,
) -> None:
    uuid = rows.instance(centre).uuid
    program = run_program(
        "conduct",
        journal="centre",
        topic="frozen-centre",
        path=centre.path,
        link_timeout=LINK_TIMEOUT,
    )
    program.expect("serving")
    edge = make_edge(topic="frozen-centre", direct=True)
    edge.save(uuid, power_state=3)
    assert program.expect("applied") == 3
    os.kill(program.pid, signal.SIGSTOP)
    try:
        reply, took = timed(lambda: edge.save(uuid, power_state=4))
        assert reply == [{"obj_what_changed": []}, None]
        assert took < 2 * NOTICED
        _, took = timed(lambda: edge.save(uuid, power_state=5))
        assert took < AT_ONCE
        assert edge.field(uuid) == 5
    finally:
        os.kill(program.pid, signal.SIGCONT)
    edge.await_drained()
    assert [program.expect("applied") for _ in range(2)] == [4, 5]
    edge.await_linked()


def test_an_endpoint_without_a_consumer_is_a_cut(
    make_edge: MakeEdge, make_peer: MakePeer, conductor: Conductor, topic: str, uuid: str
) -> None:
    edge = make_edge(direct=True)
    edge.instance(uuid)
    conductor.server.stop()
    conductor.server.wait()
    reply, took = timed(lambda: edge.save(uuid, power_state=4))
    assert reply == [{"obj_what_changed": []}, None]
    assert took < NOTICED
    _, took = timed(lambda: edge.save(uuid, power_state=5))
    assert took < AT_ONCE
    make_peer(link_timeout=LINK_TIMEOUT).serve(topic, "another", conductor)
    edge.await_drained()
    edge.await_linked()
    assert conductor.saves("Instance", "power_state") == [4, 5]


def test_an_endpoint_that_is_killed_is_a_cut(
    make_edge: MakeEdge,
    make_endpoint: MakeEndpoint,
    make_peer: MakePeer,
    conductor: Conductor,
    topic: str,
    uuid: str,
) -> None:
    endpoint = make_endpoint()
    make_peer(endpoint.url, link_timeout=LINK_TIMEOUT).serve(topic, "here", conductor)
    edge = make_edge(url=endpoint.url)
    edge.save(uuid, power_state=3)
    endpoint.kill()
    reply, took = timed(lambda: edge.save(uuid, power_state=4))
    assert reply == [{"obj_what_changed": []}, None]
    assert took < NOTICED
    _, took = timed(lambda: edge.save(uuid, power_state=5))
    assert took < AT_ONCE
    endpoint.start()
    edge.await_drained()
    edge.await_linked()
    assert conductor.saves("Instance", "power_state") == [3, 4, 5]


def test_a_read_for_a_build_gives_up_soon(
    make_edge: MakeEdge, relay: relays.Relay, uuid: str
) -> None:
    """A build needs the centre: the sooner it fails, the sooner it is known."""
    edge = make_edge(refuse_after=1.5)
    edge.instance(uuid)
    relay.silence()
    edge.save(uuid, vm_state="building")
    began = time.monotonic()
    with pytest.raises(oslo_messaging.MessagingTimeout):
        edge.ask("BlockDeviceMappingList", "get_by_instance_uuid", instance_uuid=uuid)
    assert 1.0 <= time.monotonic() - began < 1.5 + NOTICED < WAIT_SECONDS
