# SPDX-License-Identifier: Apache-2.0
"""Which processes go on by themselves, in which concurrency model, and in how many lives."""

from __future__ import annotations

import concurrent.futures
import json
import time
from typing import Any

import oslo_messaging
import pytest

from tests.driver import programs
from tests.driver.autonomy.conftest import MakeEdge
from tests.driver.autonomy.roles import AT_ONCE
from tests.driver.autonomy.roles import LINK_TIMEOUT
from tests.driver.autonomy.roles import NOTICED
from tests.driver.autonomy.roles import Conductor
from tests.driver.autonomy.roles import changed
from tests.driver.autonomy.roles import timed
from tests.driver.conftest import MakePeer
from tests.driver.conftest import RunProgram
from tests.driver.peers import WAIT_SECONDS
from tests.driver.peers import take
from tests.nova import relay as relays
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot.edge import HOST


class Remote:
    """An edge host in a process of its own; see :func:`tests.driver.autonomy.lives.go_on`."""

    def __init__(self, program: programs.Program) -> None:
        self.program = program
        program.expect("ready")

    def begin(self, method: str, *arguments: Any) -> None:
        self.program.tell(json.dumps([method, *arguments]))

    def end(self) -> tuple[Any, float]:
        found, took = self.program.expect("done")
        return found, took

    def do(self, method: str, *arguments: Any) -> tuple[Any, float]:
        """What a method of the edge returns, or its exception's name, and how long it took."""
        self.begin(method, *arguments)
        return self.end()


@pytest.fixture
def run_edge(
    run_program: RunProgram, relay: relays.Relay, conductor: Conductor, topic: str
) -> Any:
    """Runs edge hosts behind the relay, all lives of one journal."""
    ((host, port),) = relay.addresses

    def run(mode: str = "", **options: Any) -> Remote:
        return Remote(
            run_program(
                "go_on",
                url=f"edgebus://{host}:{port}/?autonomy=on&link_timeout={LINK_TIMEOUT}",
                mode=mode,
                topic=topic,
                host=HOST,
                exmods=["nova.exception"],
                **options,
            )
        )

    return run


@pytest.mark.parametrize("mode", ["", "--eventlet"])
def test_a_process_that_is_killed_while_cut_off_goes_on_in_its_next_life(
    run_edge: Any, conductor: Conductor, relay: relays.Relay, uuid: str, mode: str
) -> None:
    first = run_edge(mode)
    first.do("save_power", uuid, 3)
    first.do("heartbeat", 5)
    # What is learned is written down once a second.
    time.sleep(2.0)
    relay.silence()
    reply, took = first.do("save_power", uuid, 4)
    assert reply == [{"obj_what_changed": []}, None]
    assert took < NOTICED
    for value in range(5, 8):
        reply, took = first.do("save_power", uuid, value)
        assert took < AT_ONCE
    first.do("heartbeat", 6)
    first.program.kill()
    second = run_edge(mode)
    # What is left is caught up with first, so nobody has to wait for the link to be missed.
    found, took = second.do("field", uuid)
    assert found == 7
    assert took < AT_ONCE
    found, took = second.do("compare_and_set", uuid, ["rebooting"], "powering-off")
    assert (found, took < AT_ONCE) == ("UnexpectedTaskStateError", True)
    second.do("compare_and_set", uuid, [None], "powering-off")
    second.do("save_power", uuid, 8)
    assert second.do("heartbeat", 7)[1] < AT_ONCE
    second.program.kill()
    third = run_edge(mode)
    assert third.do("field", uuid)[0] == 8
    relay.resume()
    assert third.do("who")[0] == "the centre"
    assert third.do("await_drained")[0] is None
    assert conductor.saves("Instance", "power_state") == list(range(3, 9))
    assert conductor.saves("Instance", "task_state") == ["powering-off"]
    assert conductor.saves("Service", "report_count")[-1] == 7
    assert third.do("field", uuid)[0] == 8


@pytest.mark.parametrize("mode", ["", "--eventlet"])
def test_a_call_in_flight_falls_back_in_either_concurrency_model(
    run_edge: Any, conductor: Conductor, relay: relays.Relay, uuid: str, mode: str
) -> None:
    edge = run_edge(mode)
    edge.do("field", uuid)
    conductor.gate.clear()
    edge.begin("save_power", uuid, 4)
    take(conductor.began, 1)
    relay.silence()
    _, took = timed(edge.end)
    assert took < NOTICED
    found, took = edge.do("field", uuid)
    assert (found, took < AT_ONCE) == (4, True)
    edge.begin("command_itself", "to the own host")
    told = dict(edge.program.next() for _ in range(2))
    assert told.keys() == {"done", "put"}
    assert told["put"] == "to the own host"
    conductor.gate.set()
    relay.resume()
    assert edge.do("await_drained")[0] is None
    assert edge.do("who")[0] == "the centre"
    assert conductor.saves("Instance", "power_state") == [4]


def test_a_life_without_anything_written_answers_once_the_cut_is_noticed(
    run_edge: Any, relay: relays.Relay, uuid: str
) -> None:
    first = run_edge()
    first.do("save_power", uuid, 3)
    first.do("await_drained")
    time.sleep(2.0)
    relay.silence()
    first.program.kill()
    second = run_edge()
    found, took = second.do("field", uuid)
    assert found == 3
    assert took < NOTICED


@pytest.mark.parametrize(
    ("prog", "autonomy"),
    [("nova-compute", "off"), ("nova-conductor", "auto"), ("nova-conductor", "off")],
)
def test_others_wait_as_before(
    make_edge: MakeEdge,
    conductor: Conductor,
    relay: relays.Relay,
    uuid: str,
    prog: str,
    autonomy: str,
) -> None:
    edge = make_edge(prog=prog, autonomy=autonomy)
    known = edge.instance(uuid)
    relay.silence()
    for call in (
        lambda: edge.act(changed(known, {"power_state": 4}), "save", timeout=NOTICED),
        lambda: edge.ask("Instance", "get_by_uuid", timeout=NOTICED, uuid=uuid, expected_attrs=[]),
    ):
        began = time.monotonic()
        with pytest.raises(oslo_messaging.MessagingTimeout):
            call()
        assert time.monotonic() - began >= NOTICED
    assert edge.pending() == 1
    relay.resume()
    edge.await_drained()
    assert conductor.saves("Instance", "power_state") == [4]


def test_nova_compute_goes_on_by_default(
    make_edge: MakeEdge, relay: relays.Relay, uuid: str
) -> None:
    edge = make_edge(prog="nova-compute", autonomy="auto")
    edge.instance(uuid)
    relay.silence()
    reply, took = timed(lambda: edge.save(uuid, power_state=4))
    assert reply == [{"obj_what_changed": []}, None]
    assert took < NOTICED
    relay.resume()
    edge.await_drained()


def test_a_write_behind_is_answered_at_once_and_read_afterwards(
    make_edge: MakeEdge,
    conductor: Conductor,
    uuid: str,
    callers: concurrent.futures.ThreadPoolExecutor,
) -> None:
    edge = make_edge(write_behind=True)
    known = edge.instance(uuid)
    conductor.gate.clear()
    reply, took = timed(lambda: edge.act(changed(known, {"power_state": 4}), "save"))
    assert reply == [{"obj_what_changed": []}, None]
    assert took < AT_ONCE
    take(conductor.began, 1)
    # A read, of the instance or of all, is not answered before the write has been applied.
    reading = [
        callers.submit(edge.field, uuid),
        callers.submit(edge.ask, "InstanceList", "get_by_host", host=HOST),
    ]
    done, _ = concurrent.futures.wait(reading, LINK_TIMEOUT, "FIRST_COMPLETED")
    assert done == set()
    assert conductor.applied == []
    conductor.gate.set()
    assert reading[0].result(WAIT_SECONDS) == 4
    (listed,) = reading[1].result(WAIT_SECONDS)["nova_object.data"]["objects"]
    assert listed["nova_object.data"]["power_state"] == 4
    assert conductor.saves("Instance", "power_state") == [4]


def test_a_comparison_makes_the_round_trip_with_write_behind_too(
    make_edge: MakeEdge,
    conductor: Conductor,
    uuid: str,
    callers: concurrent.futures.ThreadPoolExecutor,
) -> None:
    edge = make_edge(write_behind=True)
    edge.instance(uuid)
    conductor.gate.clear()
    saving = callers.submit(edge.compare_and_set, uuid, [None], "powering-off")
    take(conductor.began, 1)
    assert not saving.done()
    conductor.gate.set()
    saving.result(WAIT_SECONDS)
    assert conductor.saves("Instance", "task_state") == ["powering-off"]


@pytest.mark.parametrize("link_timeout", [0.5, LINK_TIMEOUT])
def test_without_write_behind_a_save_waits_for_a_slow_centre(
    make_edge: MakeEdge,
    make_peer: MakePeer,
    centre: centres.Centre,
    uuid: str,
    callers: concurrent.futures.ThreadPoolExecutor,
    link_timeout: float,
) -> None:
    conductor = Conductor(centre)
    serving = make_peer(host="centre", link_timeout=link_timeout)
    serving.serve("slow-centre", "centre", conductor)
    edge = make_edge(topic="slow-centre", link_timeout=link_timeout)
    edge.instance(uuid)
    conductor.gate.clear()
    saving = callers.submit(edge.save, uuid, power_state=4)
    take(conductor.began, 1)
    # It says that it is at work: that is no cut, however long it takes.
    done, _ = concurrent.futures.wait([saving], max(2.0, 3 * link_timeout))
    conductor.gate.set()
    assert done == set()
    saving.result(WAIT_SECONDS)
    edge.await_drained()
    assert conductor.saves("Instance", "power_state") == [4]
