# SPDX-License-Identifier: Apache-2.0
"""The metrics of the processes of a host: what they say, and who of them serves them."""

from __future__ import annotations

import pathlib
import socket
import subprocess
import sys
import threading
import urllib.error
from collections.abc import Iterator

import pytest

from nova_edge_bus.journal import status as records
from nova_edge_bus.monitoring import catalogue
from nova_edge_bus.monitoring import health
from nova_edge_bus.monitoring import journals
from nova_edge_bus.runtime import autonomy
from nova_edge_bus.runtime import registry
from tests.driver.conftest import MakeEndpoint
from tests.driver.conftest import MakePeer
from tests.driver.conftest import RunProgram
from tests.driver.endpoints import Endpoint
from tests.driver.peers import WAIT_SECONDS
from tests.driver.peers import Recorder
from tests.nova.processes import wait_until
from tests.unit.monitoring import reading

FIRST, SECOND = "edge-1.nova-test-0", "edge-1.nova-test-1"
Found = dict[str, dict[tuple[str, ...], float]]


@pytest.fixture
def free_address() -> Iterator[str]:
    """An address that can be listened on, and that the kernel gives to nobody meanwhile."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "READ_AGAIN", 0.0)


def read(address: str) -> Found:
    """What is served at an address; nothing while nobody serves it."""
    try:
        return reading.metrics(f"http://{address}")
    except (urllib.error.URLError, ConnectionError):
        return {}


def test_a_process_tells_its_links_destinations_and_backlog(
    make_peer: MakePeer, make_endpoint: MakeEndpoint, free_address: str, topic: str
) -> None:
    endpoint = make_endpoint()
    server = make_peer(endpoint.url)
    peer = make_peer(endpoint.url, link_timeout=1.0, metrics_listen=free_address)
    server.serve(topic, "there", Recorder())
    assert peer.client(topic).call({}, "echo", value=1) == 1
    tcp = f"tcp://{endpoint.address}"
    address = f"/openstack/{topic}"

    def state(word: str) -> bool:
        return (
            read(free_address).get("edge_bus_destination_state", {}).get((FIRST, address, word))
            == 1
        )

    wait_until(lambda: state("linked"), WAIT_SECONDS, "linked")
    found = read(free_address)
    assert found["edge_bus_link_up"] == {(FIRST, tcp): 1}
    assert found["edge_bus_process_up"] == {(FIRST,): 1}
    assert found["edge_bus_links_made_total"] == {(FIRST,): 1}
    assert found["edge_bus_shipped_total"][(FIRST,)] >= 1
    assert found["edge_bus_link_sent_bytes_total"][(FIRST, tcp)] > 0
    assert found["edge_bus_link_received_bytes_total"][(FIRST, tcp)] > 0
    assert found["edge_bus_link_credit_messages"][(FIRST, tcp)] > 0
    assert found["edge_bus_outbox_oldest_seconds"] == {(FIRST,): 0}
    assert reading.get(f"http://{free_address}/readyz") == (200, "ok\n")

    endpoint.kill()
    peer.client(topic).cast({}, "put", value=2)
    wait_until(lambda: state("cut_off"), WAIT_SECONDS, "cut off")
    wait_until(
        lambda: read(free_address)["edge_bus_outbox_pending_entries"] == {(FIRST,): 1},
        WAIT_SECONDS,
        "a backlog",
    )
    found = read(free_address)
    assert found["edge_bus_link_up"] == {(FIRST, tcp): 0}
    assert found["edge_bus_destination_pending_entries"] == {(FIRST, address): 1}
    assert found["edge_bus_outbox_oldest_seconds"][(FIRST,)] > 0
    assert found["edge_bus_journal_used_bytes"][(FIRST,)] > 0
    assert found["edge_bus_journal_max_bytes"][(FIRST,)] == 512 << 20

    endpoint.start()
    wait_until(
        lambda: read(free_address)["edge_bus_entries_total"][(FIRST, "accepted")] == 1,
        WAIT_SECONDS,
        "an entry accepted",
    )


def test_who_takes_deliveries_tells_what_became_of_them(
    make_peer: MakePeer, shared_endpoint: Endpoint, free_address: str, topic: str
) -> None:
    server = make_peer(metrics_listen=free_address)
    recorder = Recorder()
    server.serve(topic, "there", recorder)
    make_peer().client(topic).cast({}, "put", value=1)
    recorder.take(1)
    wait_until(
        lambda: (
            read(free_address)["edge_bus_handled_total"] == {(FIRST,): 1}
            and read(free_address)["edge_bus_received_total"] == {(FIRST,): 1}
        ),
        WAIT_SECONDS,
        "a command handled",
    )


def test_every_metric_is_told_and_none_besides(
    make_peer: MakePeer, free_address: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalogue is the contract; an autonomous host of an endpoint has all of it."""
    # It is counted once a conductor has been asked for all that there is to know.
    monkeypatch.setattr(autonomy.Autonomy, "lacks", 0)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{other.getsockname()[1]}"
    peer = make_peer(
        f"edgebus://{host}/",
        listen=f"tcp://{host}",
        metrics_listen=free_address,
        autonomy="on",
        backlog_at_once=4,
        link_timeout=1.0,
    )
    peer.client(topic).cast({}, "put", value=1)
    expected = {metric.name for metric in catalogue.metrics()}
    wait_until(lambda: read(free_address).keys() == expected, WAIT_SECONDS, "all metrics")


def test_one_process_serves_for_all_and_another_takes_over(
    run_program: RunProgram, shared_endpoint: Endpoint, free_address: str, topic: str
) -> None:
    url = f"{shared_endpoint.url}?metrics_listen={free_address}"
    programs = []
    for name in "ab":
        programs.append(run_program("serve_until_killed", url=url, topic=topic, server=name))
        programs[-1].expect("serving")

    def up() -> dict[tuple[str, ...], float]:
        return read(free_address).get("edge_bus_process_up", {})

    wait_until(lambda: up() == {(FIRST,): 1, (SECOND,): 1}, WAIT_SECONDS, "both")
    programs[0].kill()
    wait_until(lambda: up() == {(FIRST,): 0, (SECOND,): 1}, WAIT_SECONDS, "the other one")
    found = read(free_address)
    assert found["edge_bus_journal_owned"] == {(FIRST,): 0, (SECOND,): 1}
    assert {labels[0] for labels in found["edge_bus_shipped_total"]} == {SECOND}


def test_metrics_do_not_need_the_io_thread_and_probes_see_it_stuck(
    make_peer: MakePeer, free_address: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "FROZEN_SECONDS", 1.5)
    peer = make_peer(metrics_listen=free_address)
    peer.serve(topic, "there", Recorder())
    base = f"http://{free_address}"
    wait_until(lambda: bool(read(free_address)), WAIT_SECONDS, "metrics")
    assert reading.get(f"{base}/healthz") == (200, "ok\n")
    lease = registry.Lease(peer_settings(peer.journal_dir))
    let_go = threading.Event()
    lease.runtime.call_soon(lambda: bool(let_go.wait(WAIT_SECONDS)))
    try:
        wait_until(lambda: reading.get(f"{base}/healthz")[0] == 503, WAIT_SECONDS, "stuck")
        status, text = reading.get(f"{base}/readyz")
        assert (status, "the I/O thread has not turned for" in text) == (503, True)
        # What it said of itself last grows old, and is then not taken for the present.
        monkeypatch.setattr(records, "STALE_SECONDS", 1.0)
        wait_until(
            lambda: read(free_address)["edge_bus_process_up"] == {(FIRST,): 0},
            WAIT_SECONDS,
            "the record to be old",
        )
        assert read(free_address)["edge_bus_journal_owned"] == {(FIRST,): 1}
    finally:
        let_go.set()
        lease.release(0.0)
    wait_until(lambda: reading.get(f"{base}/healthz")[0] == 200, WAIT_SECONDS, "going on")


def peer_settings(folder: pathlib.Path) -> object:
    class Same:
        journal_dir = str(folder)

    return Same()


@pytest.mark.parametrize("mode", ["--eventlet", "--no-eventlet"])
def test_metrics_are_served_in_either_concurrency_model(
    make_peer: MakePeer,
    run_program: RunProgram,
    shared_endpoint: Endpoint,
    free_address: str,
    topic: str,
    mode: str,
) -> None:
    url = f"{shared_endpoint.url}?metrics_listen={free_address}"
    program = run_program("serve", mode=mode, url=url, topic=topic, server="there")
    program.expect("serving")
    wait_until(
        lambda: read(free_address).get("edge_bus_process_up") == {(FIRST,): 1},
        WAIT_SECONDS,
        "metrics",
    )
    client = make_peer().client(topic)
    for _ in range(5):
        assert client.call({}, "who") == "there"
        assert reading.get(f"http://{free_address}/readyz") == (200, "ok\n")


def test_the_library_is_loaded_only_where_metrics_are_served() -> None:
    code = (
        "import sys, nova_edge_bus.driver, nova_edge_bus.runtime.runtime\n"
        "from nova_edge_bus.cli import main\n"
        "main.make_parser()\n"
        "print('prometheus_client' in sys.modules)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert said.stdout == "False\n", said.stderr
