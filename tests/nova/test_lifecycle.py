# SPDX-License-Identifier: Apache-2.0
"""Nova itself, started for real: the whole life of a server over the bus."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterator

import pytest

from tests.nova import hypervisor
from tests.nova import lifecycle
from tests.nova.bus import EdgeBus
from tests.nova.bus import RabbitBus
from tests.nova.cut import cut_and_heal
from tests.nova.stack import NovaStack

pytestmark = [pytest.mark.nova, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NovaStack]:
    # the periodic power sync would cover up for a lost lifecycle event
    options = {"DEFAULT": {"sync_power_state_interval": -1}}
    workdir = tmp_path_factory.mktemp("nova")
    with NovaStack(workdir, EdgeBus(), compute_options=options) as stack:
        yield stack


@pytest.fixture
def server(stack: NovaStack) -> Iterator[str]:
    """A running server on the first compute."""
    server_id = stack.client.create("server", host=stack.computes[0].host)
    stack.client.wait_for(server_id, "ACTIVE")
    yield server_id
    stack.client.delete(server_id)


def test_a_server_lives_through_everything(stack: NovaStack) -> None:
    print(lifecycle.table(list(lifecycle.run(stack, lifecycle.full_life))))
    assert not lifecycle.failed_rpcs(stack)


def test_many_servers_are_born_and_die_at_once(stack: NovaStack) -> None:
    servers = [stack.client.create(f"one-of-many-{number}") for number in range(8)]
    for server_id in servers:
        stack.client.wait_for(server_id, "ACTIVE")
    assert sum(len(each.hypervisor.domains()) for each in stack.computes) == len(servers)
    for server_id in servers:
        stack.client.request_delete(server_id)
    for server_id in servers:
        stack.client.wait_gone(server_id)
    assert not any(each.hypervisor.domains() for each in stack.computes)
    assert not lifecycle.failed_rpcs(stack)


def test_nova_learns_that_a_guest_has_stopped_by_itself(stack: NovaStack, server: str) -> None:
    stack.computes[0].hypervisor.set_state(server, hypervisor.SHUTDOWN)
    stack.client.wait_for(server, "SHUTOFF")


def test_a_killed_compute_finds_its_guests_again(stack: NovaStack, server: str) -> None:
    compute = stack.computes[0]
    compute.process.kill()
    stack.start_compute(compute)
    stack.client.stop(server)
    stack.client.start(server)
    assert compute.hypervisor.domains()[server].state == hypervisor.RUNNING


def test_a_slow_hypervisor_is_waited_for(stack: NovaStack, server: str) -> None:
    stack.computes[0].hypervisor.slow_down(power_off=2)
    began = time.monotonic()
    stack.client.stop(server)
    assert time.monotonic() - began >= 2
    stack.computes[0].hypervisor.slow_down()


def test_what_happens_during_a_cut_is_known_after_it(stack: NovaStack) -> None:
    outcome = cut_and_heal(stack, seconds=10)
    assert outcome.crashed_guest == "ACTIVE"
    assert outcome.stopped_by_user == "ACTIVE (powering-off)"
    assert not lifecycle.failed_rpcs(stack)


def test_the_services_stop_when_asked(stack: NovaStack) -> None:
    assert stack.stop() == []


def test_eventlet_boots_stops_and_deletes(tmp_path: pathlib.Path) -> None:
    with NovaStack(tmp_path, EdgeBus(), concurrency="eventlet") as stack:
        print(lifecycle.table(list(lifecycle.run(stack, lifecycle.short_life))))
        assert not lifecycle.failed_rpcs(stack)
        assert stack.stop() == []


@pytest.mark.usefixtures("rabbitmq_url")
@pytest.mark.rabbitmq
def test_the_same_nova_runs_over_rabbitmq(tmp_path: pathlib.Path) -> None:
    with NovaStack(tmp_path, RabbitBus()) as stack:
        print(lifecycle.table(list(lifecycle.run(stack, lifecycle.short_life))))
        assert not lifecycle.failed_rpcs(stack)
