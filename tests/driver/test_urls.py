# SPDX-License-Identifier: Apache-2.0
"""Transport URLs: endpoints, virtual hosts, options, and what is wrong with a URL."""

from __future__ import annotations

import pathlib

import oslo_messaging
import pytest

from nova_edge_bus import errors
from tests.driver import journals
from tests.driver.conftest import MakeEndpoint
from tests.driver.conftest import MakePeer
from tests.driver.conftest import RunProgram
from tests.driver.endpoints import Endpoint
from tests.driver.peers import Recorder
from tests.driver.peers import await_drained
from tests.driver.peers import configuration


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
