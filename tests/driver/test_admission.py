# SPDX-License-Identifier: Apache-2.0
"""Who is not let in by a live endpoint, or not as somebody else; the honest go on meanwhile."""

from __future__ import annotations

import functools
import os
import pathlib
import re
import time

import pytest
import zmq

from nova_edge_bus.keys import enrolment
from nova_edge_bus.keys import files
from tests.driver import endpoints
from tests.driver import keyrings
from tests.driver import peers
from tests.driver import secured
from tests.driver.conftest import MakeEndpoint
from tests.driver.conftest import MakePeer
from tests.nova.processes import wait_until


def test_without_a_key(
    honest: secured.Honest, endpoint: endpoints.Endpoint, attacker: secured.MakeAttacker
) -> None:
    for _ in range(3):
        attacker().until_turned_away()
    honest.go_on()
    wait_until(
        lambda: bool(secured.refusals(endpoint)), peers.WAIT_SECONDS, "a refusal to be logged"
    )
    # Which end of the handshake notices first that they do not fit is not certain, nor whether
    # the endpoint gets to ask for the address before it is over.
    said = [
        re.split(" at (?:127.0.0.1|an address that is gone): ", x)
        for x in secured.refusals(endpoint)
    ]
    assert {who for who, _ in said} == {"somebody without a key"}
    assert {why for _, why in said} <= {
        "it does not encrypt; it has no key, or none of this endpoint",
        "it broke off the handshake, as who does not encrypt may do",
    }
    assert len(secured.refusals(endpoint)) == len(set(secured.refusals(endpoint)))


def test_with_a_wrong_key_of_the_endpoint(
    honest: secured.Honest,
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: secured.MakeAttacker,
) -> None:
    pair = secured.enrolled_pair(keyring, "edge-1")
    attacker(pair, server=files.generate().public).until_turned_away()
    honest.go_on()
    secured.await_refusal(endpoint, "it has another public key for this endpoint")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("unknown", "is not enrolled"),
        ("revoked", "was revoked at 2001-09-09T01:46:40Z"),
        ("expired", "expired at 2001-09-09T01:46:40Z"),
        ("broken", "cannot be looked up: .* is not a JSON object"),
    ],
)
def test_with_a_key_that_admits_nobody(
    honest: secured.Honest,
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: secured.MakeAttacker,
    state: str,
    said: str,
) -> None:
    pair = files.generate()
    if state in ("revoked", "expired"):
        name = {"revoked": "revoked", "expired": "expires"}[state]
        keyring.enroll(pair.public, "edge-1", **{name: 1e9})
    elif state == "broken":
        enrolment.path_of(keyring.enrolled, pair.public).write_text("")
    for _ in range(3):
        assert attacker(pair).until_turned_away() is zmq.Event.HANDSHAKE_FAILED_AUTH
    honest.go_on()
    secured.await_refusal(
        endpoint, f"key {files.fingerprint(pair.public)} at 127.0.0.1", said.split(" .*")[0]
    )


def test_revoking_ends_the_session_and_the_next_one_does_not_begin(
    honest: secured.Honest,
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: secured.MakeAttacker,
) -> None:
    pair = secured.enrolled_pair(keyring, "edge-1")
    thief = attacker(pair)
    thief.until_up()
    keyring.revoke_key(pair.public)
    name = files.fingerprint(pair.public)
    assert f"said goodbye: key {name} was revoked at " in thief.until_closed()
    thief.greet_again()
    assert f"rejected: key {name} was revoked at " in thief.until_closed()
    assert attacker(pair).until_turned_away() is zmq.Event.HANDSHAKE_FAILED_AUTH
    honest.go_on()
    assert all(name in line for line in secured.refusals(endpoint))


@pytest.mark.parametrize("how", ["removed", "given to another host"])
def test_the_file_of_a_live_session_changes(
    honest: secured.Honest, keyring: keyrings.Keyring, attacker: secured.MakeAttacker, how: str
) -> None:
    pair = secured.enrolled_pair(keyring, "edge-1")
    peer = attacker(pair)
    peer.until_up()
    if how == "removed":
        enrolment.path_of(keyring.enrolled, pair.public).unlink()
        said = "is not enrolled"
    else:
        keyring.enroll(pair.public, "edge-2")
        said = "is enrolled for somebody else now"
    assert said in peer.until_closed()
    honest.go_on()


def test_a_directory_that_is_gone_ends_no_session(
    honest: secured.Honest, endpoint: endpoints.Endpoint, keyring: keyrings.Keyring
) -> None:
    away = keyring.enrolled.rename(keyring.enrolled.with_name("away"))
    wait_until(
        lambda: "nobody new is admitted" in endpoint.log, peers.WAIT_SECONDS, "it to be noticed"
    )
    honest.go_on()
    away.rename(keyring.enrolled)
    honest.go_on()
    assert "session-closed" not in endpoint.log


def test_who_is_enrolled_late_needs_no_restart(
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    make_peer: MakePeer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And is told meanwhile, once, what to do."""
    options = keyring.stranger("centre-1")
    public = keyring.key_of(options)
    peer = make_peer(endpoint.url, host="centre-1", prog="nova-conductor", **options)
    peer.serve("conductor", "centre-1", peers.Recorder("centre-1"))
    told = f"keys enroll {public.hex()} --host centre-1"
    wait_until(lambda: told in caplog.text, peers.WAIT_SECONDS, "the peer to be told")
    secured.await_refusal(endpoint, f"key {files.fingerprint(public)}", "is not enrolled")
    keyring.enroll(public, "centre-1", "conductor")
    assert peer.client("conductor").call({}, "who") == "centre-1"
    assert caplog.text.count(told) == 1


def test_a_key_is_changed_under_a_running_peer(
    honest: secured.Honest, keyring: keyrings.Keyring
) -> None:
    """Old and new are enrolled for a while; the revocation of the old one makes it dial again."""
    directory = pathlib.Path(honest.options["curve_dir"])
    old = keyring.key_of(honest.options)
    new = files.generate()
    files.write_pair(directory, "next", new)
    keyring.enroll(new.public, "edge-7")
    os.replace(directory / "next.key", directory / "peer.key")
    honest.go_on()
    keyring.revoke_key(old)
    client = honest.compute.client("conductor")
    for _ in range(5):
        assert client.call({}, "who") == "centre-1"
        time.sleep(0.5)
    honest.go_on()


def test_the_peer_is_told_what_is_wrong(
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    make_endpoint: MakeEndpoint,
    make_peer: MakePeer,
    caplog: pytest.LogCaptureFixture,
    tmp_path: pathlib.Path,
) -> None:
    plain = make_endpoint("--curve-dir", str(tmp_path / "nothing"))
    wrong = keyring.stranger("edge-1")
    (pathlib.Path(wrong["curve_dir"]) / "endpoints" / "endpoint.pub").write_text(
        f'{{"public_key": "{files.generate().public.hex()}"}}'
    )
    cases = {
        "it demands encryption; make a key with": (
            endpoint.url,
            {"curve_dir": str(tmp_path / "no")},
        ),
        "it does not encrypt; make its key|none of the keys": (plain.url, keyring.peer("edge-2")),
        "it has none of the keys that are known here": (endpoint.url, wrong),
        "it says it is host edge-4": (endpoint.url, {**keyring.peer("edge-3"), "host": "edge-4"}),
    }
    for text, (url, options) in cases.items():
        peer = make_peer(url, **options)
        peer.client("conductor").cast({}, "put", value=1)
        # Which end of a handshake notices first that they do not fit is not certain.
        told = functools.partial(_is_told, caplog, text)
        wait_until(told, peers.WAIT_SECONDS, text)
        peer.close()
        caplog.clear()


def _is_told(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return any(each in caplog.text for each in text.split("|"))
