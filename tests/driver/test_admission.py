# SPDX-License-Identifier: Apache-2.0
"""Who is not let in by a live endpoint, or not as somebody else; the honest go on meanwhile."""

from __future__ import annotations

import functools
import os
import pathlib
import re
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from nova_edge_bus.keys import enrolment
from nova_edge_bus.keys import files
from nova_edge_bus.protocol import messages
from tests.driver import attackers
from tests.driver import endpoints
from tests.driver import keyrings
from tests.driver import peers
from tests.driver.conftest import MakeEndpoint
from tests.driver.conftest import MakePeer
from tests.nova.processes import wait_until

MakeAttacker = Callable[..., attackers.Attacker]


@pytest.fixture
def keyring(tmp_path: pathlib.Path) -> keyrings.Keyring:
    return keyrings.Keyring(tmp_path / "keys")


@pytest.fixture
def endpoint(make_endpoint: MakeEndpoint, keyring: keyrings.Keyring) -> endpoints.Endpoint:
    return make_endpoint("--curve-dir", str(keyring.endpoint_dir))


@pytest.fixture
def attacker(endpoint: endpoints.Endpoint, keyring: keyrings.Keyring) -> Iterator[MakeAttacker]:
    """Makes attackers that know the endpoint's key."""
    made: list[attackers.Attacker] = []

    def make(pair: files.Pair | None = None, **options: Any) -> attackers.Attacker:
        options.setdefault("server", keyring.endpoint_key)
        made.append(attackers.Attacker(endpoint.address, pair, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


class Honest:
    """A conductor and a compute that call each other."""

    def __init__(
        self, endpoint: endpoints.Endpoint, keyring: keyrings.Keyring, make_peer: MakePeer
    ) -> None:
        self.options = keyring.peer("edge-7")
        self.conductor = make_peer(endpoint.url, **keyring.peer("centre-1", "conductor"))
        self.compute = make_peer(endpoint.url, **self.options)
        self.conductor.serve("conductor", "centre-1", peers.Recorder("centre-1"))
        self.compute.serve("compute", "edge-7", peers.Recorder("edge-7"))
        self.go_on()

    def go_on(self) -> None:
        assert self.compute.client("conductor").call({}, "who") == "centre-1"
        assert self.conductor.client("compute", "edge-7").call({}, "who") == "edge-7"


@pytest.fixture
def honest(endpoint: endpoints.Endpoint, keyring: keyrings.Keyring, make_peer: MakePeer) -> Honest:
    return Honest(endpoint, keyring, make_peer)


def refusals(endpoint: endpoints.Endpoint) -> list[str]:
    """What the endpoint has logged of refusals."""
    return [
        line.partition("refused ")[2] for line in endpoint.log.splitlines() if " refused " in line
    ]


def await_refusal(endpoint: endpoints.Endpoint, *texts: str) -> None:
    """Wait until one refusal, and no other, has been logged with all these texts."""
    wait_until(lambda: bool(refusals(endpoint)), peers.WAIT_SECONDS, "a refusal to be logged")
    (line,) = refusals(endpoint)
    assert [text for text in texts if text not in line] == []


def enrolled_pair(keyring: keyrings.Keyring, host: str, role: str = "compute") -> files.Pair:
    pair = files.generate()
    keyring.enroll(pair.public, host, role)
    return pair


def test_without_a_key(
    honest: Honest, endpoint: endpoints.Endpoint, attacker: MakeAttacker
) -> None:
    for _ in range(3):
        attacker().until_turned_away()
    honest.go_on()
    wait_until(lambda: bool(refusals(endpoint)), peers.WAIT_SECONDS, "a refusal to be logged")
    # Which end of the handshake notices first that they do not fit is not certain, nor whether
    # the endpoint gets to ask for the address before it is over.
    said = [re.split(" at (?:127.0.0.1|an address that is gone): ", x) for x in refusals(endpoint)]
    assert {who for who, _ in said} == {"somebody without a key"}
    assert {why for _, why in said} <= {
        "it does not encrypt; it has no key, or none of this endpoint",
        "it broke off the handshake, as who does not encrypt may do",
    }
    assert len(refusals(endpoint)) == len(set(refusals(endpoint)))


def test_with_a_wrong_key_of_the_endpoint(
    honest: Honest,
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: MakeAttacker,
) -> None:
    pair = enrolled_pair(keyring, "edge-1")
    attacker(pair, server=files.generate().public).until_turned_away()
    honest.go_on()
    await_refusal(endpoint, "it has another public key for this endpoint")


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
    honest: Honest,
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: MakeAttacker,
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
    await_refusal(
        endpoint, f"key {files.fingerprint(pair.public)} at 127.0.0.1", said.split(" .*")[0]
    )


@pytest.mark.parametrize(
    ("role", "claim", "said"),
    [
        ("compute", {"host": "edge-7"}, "it says it is host edge-7"),
        ("compute", {"service": "nova-conductor"}, "it says it is nova-conductor"),
        ("conductor", {"service": "nova-compute"}, "it says it is nova-compute"),
    ],
)
def test_as_somebody_else(
    honest: Honest,
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: MakeAttacker,
    role: str,
    claim: dict[str, str],
    said: str,
) -> None:
    pair = enrolled_pair(keyring, "edge-1", role)
    reason = attacker(pair, **claim).until_closed()
    name = f"key {files.fingerprint(pair.public)} ({role}:edge-1)"
    assert reason == f"rejected: {name} is another's: {said}"
    honest.go_on()
    await_refusal(endpoint, name, said)


@pytest.mark.parametrize("field", ["peer", "outbox"])
def test_in_the_place_of_a_session_of_another(
    honest: Honest,
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: MakeAttacker,
    field: str,
) -> None:
    """Peer ids and outboxes are no secrets: the directory tells them to who looks them up."""
    pair = enrolled_pair(keyring, "edge-1")
    spy = attacker(pair)
    spy.say(messages.Lookup(["/openstack/compute/edge-7"]))
    spy.until(lambda: bool(spy.received(messages.Routes)))
    (consumer,) = spy.received(messages.Routes)[0].consumers
    taken = consumer.peer if field == "peer" else consumer.inbox
    thief = attacker(pair, epoch=1 << 40, **{field: taken})
    assert "its peer id or its outbox" in thief.until_closed()
    honest.go_on()
    await_refusal(endpoint, "(compute:edge-1)", "its peer id or its outbox")
    assert "edge-7" not in "".join(
        line for line in endpoint.log.splitlines() if "session closed" in line
    )


@pytest.mark.parametrize(
    ("role", "address"),
    [
        ("compute", "/openstack/compute/edge-7"),
        ("compute", "/openstack/conductor"),
        ("compute", "/openstack/conductor/edge-1"),
        ("compute", "/openstack/scheduler"),
        ("compute", "/openstack/notifications.info"),
        ("conductor", "/openstack/compute/edge-7"),
        ("conductor", "/openstack/compute/edge-1"),
        ("conductor", "/openstack/conductor/centre-1"),
        ("centre", "/openstack/compute/edge-1"),
        ("centre", "/openstack/scheduler/centre-1"),
        ("api", "/openstack/conductor"),
        ("compute", "nonsense"),
    ],
)
@pytest.mark.parametrize("how", ["addresses", "fanouts"])
def test_on_topics_of_others(
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: MakeAttacker,
    role: str,
    address: str,
    how: str,
) -> None:
    pair = enrolled_pair(keyring, "edge-1", role)
    service = "nova-compute" if role == "compute" else "nova-other"
    thief = attacker(pair, service=service)
    empty = messages.Listen(1, [], [], "")
    thief.say(empty._replace(**{how: [address]}))
    said = thief.until_closed()
    assert f"key {files.fingerprint(pair.public)} ({role}:edge-1): " in said
    assert f"may not listen on {address}" in said or "address 'nonsense' has 1 parts" in said
    await_refusal(endpoint, f"({role}:edge-1)")


@pytest.mark.parametrize(
    ("role", "address"),
    [
        ("compute", "/openstack/compute"),
        ("compute", "/openstack/compute/edge-1"),
        ("conductor", "/openstack/conductor/edge-1"),
        ("scheduler", "/openstack/scheduler/edge-1"),
        ("centre", "/openstack/conductor/edge-1"),
        ("centre", "/openstack/notifications.info"),
    ],
)
def test_on_topics_of_ones_own(
    keyring: keyrings.Keyring, attacker: MakeAttacker, role: str, address: str
) -> None:
    service = "nova-compute" if role == "compute" else "nova-other"
    peer = attacker(enrolled_pair(keyring, "edge-1", role), service=service)
    peer.say(messages.Listen(1, [address], [], ""))
    peer.until(lambda: peer.received(messages.Listening) == [messages.Listening(1)])


def test_to_all_computes_at_once(
    honest: Honest,
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: MakeAttacker,
) -> None:
    thief = attacker(enrolled_pair(keyring, "edge-1"))
    thief.say(messages.Fanout(None, 1, "/openstack/compute", b"{}"))
    thief.until(lambda: bool(thief.received(messages.FanoutSent)))
    assert thief.received(messages.FanoutSent) == [messages.FanoutSent(1, 0)]
    conductor = attacker(
        enrolled_pair(keyring, "centre-2", "conductor"), host="centre-2", service="x"
    )
    conductor.say(messages.Fanout(None, 1, "/openstack/compute", b"{}"))
    conductor.until(lambda: bool(conductor.received(messages.FanoutSent)))
    assert conductor.received(messages.FanoutSent) == [messages.FanoutSent(1, 1)]
    await_refusal(endpoint, "(compute:edge-1)", "it may not speak to all of /openstack/compute")


def test_revoking_ends_the_session_and_the_next_one_does_not_begin(
    honest: Honest,
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: MakeAttacker,
) -> None:
    pair = enrolled_pair(keyring, "edge-1")
    thief = attacker(pair)
    thief.until_up()
    keyring.revoke_key(pair.public)
    name = files.fingerprint(pair.public)
    assert f"said goodbye: key {name} was revoked at " in thief.until_closed()
    thief.greet_again()
    assert f"rejected: key {name} was revoked at " in thief.until_closed()
    assert attacker(pair).until_turned_away() is zmq.Event.HANDSHAKE_FAILED_AUTH
    honest.go_on()
    assert all(name in line for line in refusals(endpoint))


@pytest.mark.parametrize("how", ["removed", "given to another host"])
def test_the_file_of_a_live_session_changes(
    honest: Honest, keyring: keyrings.Keyring, attacker: MakeAttacker, how: str
) -> None:
    pair = enrolled_pair(keyring, "edge-1")
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
    honest: Honest, endpoint: endpoints.Endpoint, keyring: keyrings.Keyring
) -> None:
    away = keyring.enrolled.rename(keyring.enrolled.with_name("away"))
    wait_until(
        lambda: "nobody new is admitted" in endpoint.log, peers.WAIT_SECONDS, "it to be noticed"
    )
    honest.go_on()
    away.rename(keyring.enrolled)
    honest.go_on()
    assert "session closed" not in endpoint.log


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
    await_refusal(endpoint, f"key {files.fingerprint(public)}", "is not enrolled")
    keyring.enroll(public, "centre-1", "conductor")
    assert peer.client("conductor").call({}, "who") == "centre-1"
    assert caplog.text.count(told) == 1


def test_a_key_is_changed_under_a_running_peer(honest: Honest, keyring: keyrings.Keyring) -> None:
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
