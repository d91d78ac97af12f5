# SPDX-License-Identifier: Apache-2.0
"""Calls and casts through an endpoint that encrypts, as nova makes them."""

from __future__ import annotations

import json
import pathlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import oslo_messaging
import pytest

from nova_edge_bus import errors
from nova_edge_bus.keys import files
from tests.driver import endpoints
from tests.driver import keyrings
from tests.driver import peers
from tests.driver.conftest import MakeEndpoint
from tests.driver.conftest import MakePeer

SECRET = "a-token-that-nobody-on-the-wire-may-see"


class Wire:
    """Stands between peers and an endpoint and keeps the bytes that pass."""

    def __init__(self, port: int) -> None:
        self.seen = bytearray()
        self._target = ("127.0.0.1", port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self.seen += data
                sink.sendall(data)
        except OSError:
            pass
        sink.close()


@pytest.fixture
def wire(endpoint: endpoints.Endpoint) -> Iterator[Wire]:
    made = Wire(endpoint.port)
    yield made
    made.close()


def test_calls_and_casts_both_ways_and_nothing_of_them_is_readable(
    wire: Wire, keyring: keyrings.Keyring, make_peer: MakePeer
) -> None:
    url = f"edgebus://127.0.0.1:{wire.port}/"
    conductor = make_peer(url, **keyring.peer("centre-1", "conductor"), compression="none")
    compute = make_peer(url, **keyring.peer("edge-7"), compression="none")
    asked, told = peers.Recorder("centre-1"), peers.Recorder("edge-7")
    conductor.serve("conductor", "centre-1", asked)
    compute.serve("compute", "edge-7", told)
    ctxt = {"auth_token": SECRET}
    assert compute.client("conductor").call(ctxt, "echo", value=SECRET) == SECRET
    compute.client("conductor").cast(ctxt, "put", value="from the edge")
    conductor.client("compute", "edge-7").cast(ctxt, "put", value="from the centre")
    assert conductor.client("compute", "edge-7").call(ctxt, "who") == "edge-7"
    assert (asked.take(1), told.take(1)) == (["from the edge"], ["from the centre"])
    assert len(wire.seen) > 4 * len(SECRET)
    assert SECRET.encode() not in wire.seen
    assert b"conductor" not in wire.seen


def test_without_keys_loopback_stays_as_it_was(
    make_endpoint: MakeEndpoint, make_peer: MakePeer, topic: str, tmp_path: pathlib.Path
) -> None:
    plain = make_endpoint("--curve-dir", str(tmp_path / "nothing"))
    peer = make_peer(plain.url, curve_dir=str(tmp_path / "nothing"))
    peers.use(peer, topic)


def test_an_endpoint_gets_another_key_and_nobody_is_restarted(
    keyring: keyrings.Keyring, make_endpoint: MakeEndpoint, make_peer: MakePeer
) -> None:
    """The new key is laid down beside the old one, then the endpoint changes to it."""
    endpoint = make_endpoint("--curve-dir", str(keyring.endpoint_dir))
    options = keyring.peer("centre-1", "conductor")
    conductor = make_peer(endpoint.url, **options)
    recorder = peers.Recorder("centre-1")
    conductor.serve("conductor", "centre-1", recorder)
    client = make_peer(endpoint.url, **keyring.peer("edge-7")).client("conductor")
    assert client.call({}, "who") == "centre-1"
    endpoint.stop()
    keyring.new_endpoint_key()
    for host in ("centre-1", "edge-7"):
        keyring.trust(pathlib.Path(options["curve_dir"]).with_name(f"of-{host}"), "new")
    client.cast({}, "put", value="meanwhile")
    endpoint.start()
    assert recorder.take(1) == ["meanwhile"]
    assert client.call({}, "who") == "centre-1"


def test_the_keys_of_endpoints_can_stand_in_the_url(
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    make_peer: MakePeer,
    tmp_path: pathlib.Path,
) -> None:
    options = keyring.peer("centre-1", "centre")
    (pathlib.Path(options["curve_dir"]) / "endpoints" / "endpoint.pub").unlink()
    wrong = files.generate().public.hex()
    keys = f"127.0.0.1={wrong},{keyring.endpoint_key.hex()}"
    peer = make_peer(f"{endpoint.url}?curve_server_keys={keys}", **options)
    recorder = peers.Recorder("centre-1")
    peer.serve("conductor", "centre-1", recorder)
    assert peer.client("conductor").call({}, "who") == "centre-1"


@pytest.mark.parametrize(
    ("url", "name", "text"),
    [
        ("edgebus://192.0.2.1/", "", "would not be encrypted: there is no {dir}/peer.key; make"),
        ("edgebus://192.0.2.1/", "peer", "its public key is neither in {dir}/endpoints nor in"),
        ("edgebus://127.0.0.1/?curve_server_keys=ab", "peer", "'ab' in .* is not a key of 64"),
        ("edgebus://127.0.0.1/", "mixed", "peer.key do not belong together"),
    ],
)
def test_keys_that_cannot_do_are_told_at_the_start(
    tmp_path: pathlib.Path, url: str, name: str, text: str
) -> None:
    if name == "peer":
        files.write_pair(tmp_path, "peer", files.generate())
    elif name == "mixed":
        mixed = files.Pair(files.generate().public, files.generate().secret)
        files.write_pair(tmp_path, "peer", mixed)
    conf = peers.configuration(prog="nova-test", host="edge-1", curve_dir=str(tmp_path))
    with pytest.raises(errors.EdgeBusError, match=text.format(dir=tmp_path)):
        oslo_messaging.get_rpc_transport(conf, url)


def test_keys_are_enough_to_leave_the_machine(
    keyring: keyrings.Keyring, tmp_path: pathlib.Path
) -> None:
    options = keyring.stranger("edge-1")
    conf = peers.configuration(prog="nova-test", host="edge-1", **options)
    transport = oslo_messaging.get_rpc_transport(conf, "edgebus://192.0.2.1/")
    transport.cleanup()


def test_a_key_is_used_for_the_host_that_it_names(
    endpoint: endpoints.Endpoint, keyring: keyrings.Keyring, make_peer: MakePeer
) -> None:
    """A file that names another host is passed over, so that its key is not tried in vain."""
    options = keyring.peer("centre-1", "centre")
    trusted = pathlib.Path(options["curve_dir"]) / "endpoints"
    other: dict[str, Any] = {"public_key": files.generate().public.hex(), "host": "192.0.2.1"}
    (trusted / "a.pub").write_text(json.dumps(other))
    conf = peers.configuration(prog="nova-test", host="edge-1", curve_dir=options["curve_dir"])
    oslo_messaging.get_rpc_transport(conf, "edgebus://192.0.2.1/").cleanup()
    peer = make_peer(endpoint.url, **options)
    peer.serve("conductor", "centre-1", peers.Recorder("centre-1"))
    assert peer.client("conductor").call({}, "who") == "centre-1"
    assert "refused" not in endpoint.log
