# SPDX-License-Identifier: Apache-2.0
"""The sites of computes, and the breaks: what is said to be cut is cut, and comes back."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest

from tests.nova import breaks
from tests.nova import config
from tests.nova import hypervisor
from tests.nova import processes
from tests.nova import site_cut
from tests.nova import site_picture
from tests.nova import site_report
from tests.nova.bus import EdgeBus
from tests.nova.processes import wait_until
from tests.nova.stack import Compute
from tests.nova.stack import NovaStack

pytestmark = [pytest.mark.nova, pytest.mark.slow, pytest.mark.timeout(300)]

Answer = dict[str, Any]

_SERVICES = ("placement", "neutron", "glance")
_NOTICED_SECONDS = 30
_SHORT_SECONDS = 5


@pytest.fixture(scope="module")
def bus() -> EdgeBus:
    return EdgeBus()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, bus: EdgeBus) -> Iterator[NovaStack]:
    with NovaStack(
        tmp_path_factory.mktemp("nova"),
        bus,
        computes=1,
        far_sites=True,
        options=site_cut.options(),
        compute_options=site_cut.compute_options(),
    ) as stack:
        yield stack


@pytest.fixture
def compute(stack: NovaStack) -> Compute:
    return stack.computes[0]


@pytest.fixture
def server(stack: NovaStack) -> Iterator[str]:
    """A running server."""
    server_id = stack.client.create("server", host=stack.computes[0].host)
    stack.client.wait_for(server_id, "ACTIVE")
    yield server_id
    stack.client.delete(server_id)


@contextlib.contextmanager
def rest_clients(compute: Compute, log: pathlib.Path) -> Iterator[Callable[[str], Answer]]:
    """Run nova's clients with a compute's nova.conf, and give a function that uses one by name."""
    nova_conf = str(compute.state / "nova.conf")
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", "tests.rest_guard.nova_client", nova_conf],
            env={**os.environ, **config.environment()},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
        ) as clients,
    ):
        assert clients.stdin is not None
        assert clients.stdout is not None
        questions, answers = clients.stdin, clients.stdout

        def call(service: str) -> Answer:
            print(service, file=questions, flush=True)
            answer: Answer = json.loads(answers.readline())
            return answer

        yield call


def test_a_cut_silences_bus_and_rest_and_a_heal_brings_both_back(
    stack: NovaStack, compute: Compute
) -> None:
    rest = compute.site.rest
    assert rest is not None
    assert rest.in_reach()
    with compute.site.cut_off():
        before = [relay.traffic for relay in compute.site.relays]
        assert len(before) == 2
        assert not rest.in_reach()
        wait_until(lambda: not stack.client.is_up(compute.host), _NOTICED_SECONDS, "down")
        assert [relay.traffic for relay in compute.site.relays] == before
        assert all(relay.open_connections for relay in compute.site.relays)
    stack.wait_linked(compute)
    assert rest.in_reach()
    after = [relay.traffic for relay in compute.site.relays]
    assert all(now.total > then.total for now, then in zip(after, before, strict=True))


def test_rest_calls_of_a_cut_site_stay_short(
    stack: NovaStack, compute: Compute, tmp_path: pathlib.Path
) -> None:
    """With the clients that nova-compute uses, set up by its own nova.conf."""
    rest = compute.site.rest
    assert rest is not None
    with rest_clients(compute, tmp_path / "clients.log") as call:
        assert not any("error" in call(name) for name in _SERVICES)
        with compute.site.cut_off():
            assert not rest.in_reach()  # finds out, which may take a moment
            for name in _SERVICES:
                began = time.monotonic()
                said = call(name)
                assert "error" in said or said["result"] == 503
                assert time.monotonic() - began < _SHORT_SECONDS
    stack.wait_linked(compute)


def test_a_stopped_compute_is_started_without_the_api_having_to_know(
    stack: NovaStack, compute: Compute
) -> None:
    assert stack.stop_compute(compute)
    assert not compute.process.alive
    stack.start_compute(compute, expect_up=False)
    assert compute.process.alive


def test_a_guest_that_panics_is_found_by_the_power_sync(
    stack: NovaStack, compute: Compute, server: str
) -> None:
    seen = len(compute.process.log_text())
    compute.hypervisor.set_state(server, hypervisor.CRASHED)
    stack.client.wait_for(server, "SHUTOFF")
    assert "Lifecycle Event" not in compute.process.log_text()[seen:]


def test_frozen_conductors_do_nothing_and_go_on(stack: NovaStack, server: str) -> None:
    (conductor,) = stack.conductors
    pids = [conductor.pid, *conductor.children()]
    assert len(pids) == 3
    with breaks.frozen_conductors(stack):
        assert {processes.run_state(pid) for pid in pids} == {"T"}
    stack.client.stop(server)


def test_conductors_that_are_gone_come_back(stack: NovaStack, bus: EdgeBus, server: str) -> None:
    with breaks.conductors_gone(stack):
        assert not any(conductor.alive for conductor in stack.conductors)
        assert all(endpoint.alive for endpoint in bus.processes)
    stack.client.stop(server)


def test_killed_endpoints_come_back_where_they_were(
    stack: NovaStack, bus: EdgeBus, server: str
) -> None:
    with breaks.endpoints_killed(bus), pytest.raises(ConnectionRefusedError):
        socket.create_connection(bus.addresses[0])
    stack.client.stop(server)


def test_a_run_reports_what_became_of_whom(stack: NovaStack, tmp_path: pathlib.Path) -> None:
    report = site_cut.run(stack, seconds=10, linked_seconds=3)
    stack.wait_linked(stack.computes[0])
    site_cut.delete_servers(stack, report)
    assert {each.role for each in report.outcomes} == set(site_cut.ROLES)
    assert not report.wrong
    assert report.healed_in
    assert str(report.of(site_cut.STOPPED).before_heal[1]) == "ACTIVE (powering-off), RUNNING"
    cut = [each for each in report.timeline.samples if not each.linked]
    assert cut[-1].at - cut[0].at == pytest.approx(10, abs=3)
    assert any(each.pending for each in cut)
    assert all(role.name in site_report.table(report) for role in site_cut.ROLES)
    picture = site_picture.draw(report, tmp_path / "timeline.png", "A cut of ten seconds")
    assert picture.read_bytes().startswith(b"\x89PNG")
