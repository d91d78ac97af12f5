# SPDX-License-Identifier: Apache-2.0
"""With a key of one's own in the place of another, at a live endpoint; the honest go on."""

from __future__ import annotations

import datetime
import threading
import time
from typing import Any

import pytest

from nova_edge_bus.cell import ownership
from nova_edge_bus.keys import files
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import link
from nova_edge_bus.runtime import mailbox
from tests.driver import endpoints
from tests.driver import keyrings
from tests.driver import peers
from tests.driver import secured
from tests.driver.conftest import MakePeer
from tests.nova.processes import wait_until


@pytest.mark.parametrize(
    ("role", "claim", "said"),
    [
        ("compute", {"host": "edge-7"}, "it says it is host edge-7"),
        ("compute", {"service": "nova-conductor"}, "it says it is nova-conductor"),
        ("conductor", {"service": "nova-compute"}, "it says it is nova-compute"),
    ],
)
def test_as_somebody_else(
    honest: secured.Honest,
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: secured.MakeAttacker,
    role: str,
    claim: dict[str, str],
    said: str,
) -> None:
    pair = secured.enrolled_pair(keyring, "edge-1", role)
    reason = attacker(pair, **claim).until_closed()
    name = f"key {files.fingerprint(pair.public)} ({role}:edge-1)"
    assert reason == f"rejected: {name} is another's: {said}"
    honest.go_on()
    secured.await_refusal(endpoint, name, said)


@pytest.mark.parametrize("field", ["peer", "outbox"])
def test_in_the_place_of_a_session_of_another(
    honest: secured.Honest,
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: secured.MakeAttacker,
    field: str,
) -> None:
    """Peer ids and outboxes are no secrets: the directory tells them to who looks them up."""
    pair = secured.enrolled_pair(keyring, "edge-1")
    spy = attacker(pair)
    spy.say(messages.Lookup(["/openstack/compute/edge-7"]))
    spy.until(lambda: bool(spy.received(messages.Routes)))
    (consumer,) = spy.received(messages.Routes)[0].consumers
    taken = consumer.peer if field == "peer" else consumer.inbox
    thief = attacker(pair, epoch=1 << 40, **{field: taken})
    assert "its peer id or its outbox" in thief.until_closed()
    honest.go_on()
    secured.await_refusal(endpoint, "(compute:edge-1)", "its peer id or its outbox")
    assert "edge-7" not in "".join(
        line for line in endpoint.log.splitlines() if "session-closed" in line
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
        ("centre", "/openstack/compute-alt/edge-1"),
        ("centre", "/openstack/scheduler/centre-1"),
        ("api", "/openstack/conductor"),
        ("compute", "nonsense"),
    ],
)
@pytest.mark.parametrize("how", ["addresses", "fanouts"])
def test_on_topics_of_others(
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: secured.MakeAttacker,
    role: str,
    address: str,
    how: str,
) -> None:
    pair = secured.enrolled_pair(keyring, "edge-1", role)
    service = "nova-compute" if role == "compute" else "nova-other"
    thief = attacker(pair, service=service)
    empty = messages.Listen(1, [], [], "")
    thief.say(empty._replace(**{how: [address]}))
    said = thief.until_closed()
    assert f"key {files.fingerprint(pair.public)} ({role}:edge-1): " in said
    assert f"may not listen on {address}" in said or "address 'nonsense' has 1 parts" in said
    secured.await_refusal(endpoint, f"({role}:edge-1)")


@pytest.mark.parametrize(
    ("role", "address"),
    [
        ("compute", "/openstack/compute"),
        ("compute", "/openstack/compute/edge-1"),
        ("compute", "/openstack/compute-alt/edge-1"),
        ("conductor", "/openstack/conductor/edge-1"),
        ("scheduler", "/openstack/scheduler/edge-1"),
        ("centre", "/openstack/conductor/edge-1"),
        ("centre", "/openstack/notifications.info"),
    ],
)
def test_on_topics_of_ones_own(
    keyring: keyrings.Keyring, attacker: secured.MakeAttacker, role: str, address: str
) -> None:
    service = "nova-compute" if role == "compute" else "nova-other"
    peer = attacker(secured.enrolled_pair(keyring, "edge-1", role), service=service)
    peer.say(messages.Listen(1, [address], [], ""))
    peer.until(lambda: peer.received(messages.Listening) == [messages.Listening(1)])


def test_to_all_computes_at_once(
    honest: secured.Honest,
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    attacker: secured.MakeAttacker,
) -> None:
    thief = attacker(secured.enrolled_pair(keyring, "edge-1"))
    thief.say(messages.Fanout(None, 1, "/openstack/compute", b"{}"))
    thief.until(lambda: bool(thief.received(messages.FanoutSent)))
    assert thief.received(messages.FanoutSent) == [messages.FanoutSent(1, 0)]
    conductor = attacker(
        secured.enrolled_pair(keyring, "centre-2", "conductor"), host="centre-2", service="x"
    )
    conductor.say(messages.Fanout(None, 1, "/openstack/compute", b"{}"))
    conductor.until(lambda: bool(conductor.received(messages.FanoutSent)))
    assert conductor.received(messages.FanoutSent) == [messages.FanoutSent(1, 1)]
    secured.await_refusal(
        endpoint, "(compute:edge-1)", "it may not speak to all of /openstack/compute"
    )


class Slow:
    """A conductor that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.answer = threading.Event()

    def echo(self, ctxt: dict[str, Any], value: str) -> str:
        """Give the value back, later."""
        self.asked.set()
        assert self.answer.wait(peers.WAIT_SECONDS)
        return value

    def put(self, ctxt: dict[str, Any], value: str) -> None:
        """Take it."""


def test_with_an_answer_to_what_another_was_asked(
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    make_peer: MakePeer,
    attacker: secured.MakeAttacker,
) -> None:
    """It would be believed, or settle what has never arrived, or end the victim's outbox."""
    slow = Slow()
    conductor = make_peer(endpoint.url, **keyring.peer("centre-1", "conductor"))
    conductor.serve("conductor", "centre-1", slow)
    victim = make_peer(endpoint.url, **keyring.peer("edge-7"))
    victim.serve("compute", "edge-7", peers.Recorder("edge-7"))
    said: list[str] = []
    client = victim.client("conductor")
    calling = threading.Thread(target=lambda: said.append(client.call({}, "echo", value="true")))
    calling.start()
    assert slow.asked.wait(peers.WAIT_SECONDS)
    thief = attacker(secured.enrolled_pair(keyring, "edge-1"))
    thief.say(messages.Lookup(["/openstack/compute/edge-7"]))
    thief.until(lambda: bool(thief.received(messages.Routes)))
    (consumer,) = thief.received(messages.Routes)[0].consumers
    to, outbox = consumer.peer, consumer.inbox
    centre = conductor_id(thief)
    for kind in messages.Kind:
        numbers = list(range(1, 10))
        thief.say(messages.Refuse(to, outbox, kind, numbers, messages.Refusal.FENCED, "over"))
        for number in numbers:
            reply = messages.Reply(to, outbox, kind, number, 0, b'"false"', centre)
            thief.say(reply)
    thief.say(messages.Accept(to, outbox, [[1, 1 << 40]]))
    thief.say(messages.Lookup(["/openstack/compute/edge-7"]))
    # What was said before the answer to this has been passed on.
    thief.until(lambda: len(thief.received(messages.Routes)) > 2)
    slow.answer.set()
    calling.join(peers.WAIT_SECONDS)
    assert said == ["true"]
    client.cast({}, "put", value="still there")
    peers.await_drained(victim)


def conductor_id(thief: Any) -> bytes:
    """The peer id of the conductor, which the directory tells."""
    thief.say(messages.Lookup(["/openstack/conductor"]))
    thief.until(
        lambda: any(each.address.endswith("conductor") for each in thief.received(messages.Routes))
    )
    found = [
        each for each in thief.received(messages.Routes) if each.address.endswith("conductor")
    ]
    peer: bytes = found[0].consumers[0].peer
    return peer


def test_the_conductor_judges_a_write_by_who_makes_it(
    honest: secured.Honest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whom the endpoint has let in, in every kind of delivery."""
    writers: list[tuple[str, str]] = []
    judge = ownership.ownership_of

    def noted(message: Any, writer: str) -> Any:
        writers.append((message["method"], writer))
        return judge(message, writer)

    monkeypatch.setattr(ownership, "ownership_of", noted)
    client = honest.compute.client("conductor")
    client.call({}, "who")
    client.cast({}, "put", value=1)
    peers.await_drained(honest.compute)
    honest.conductor.client("compute", "edge-7").call({}, "who")
    wait_until(lambda: len(writers) == 3, peers.WAIT_SECONDS, "all of them to be judged")
    assert sorted(writers) == [
        ("put", "compute:edge-7"),
        ("who", "compute:edge-7"),
        ("who", "conductor:centre-1"),
    ]


def test_who_is_sent_away_each_time_comes_back_more_and_more_rarely(
    endpoint: endpoints.Endpoint, keyring: keyrings.Keyring, make_peer: MakePeer
) -> None:
    """An honest service with a key for another role does not keep the endpoint busy."""
    peer = make_peer(endpoint.url, **keyring.peer("centre-1", "api"))
    peer.serve("conductor", "centre-1", peers.Recorder("centre-1"))
    lives = 8

    def ends() -> list[datetime.datetime]:
        lines = [line for line in endpoint.log.splitlines() if "session-closed" in line]
        return [datetime.datetime.fromisoformat(line[:23].replace(",", ".")) for line in lines]

    wait_until(lambda: len(ends()) >= lives, peers.WAIT_SECONDS, "it to be sent away so often")
    # A slow machine only makes this longer.
    shortest = sum(link.FIRST_PAUSE / 2 * 2**number for number in range(lives - 1))
    assert (ends()[lives - 1] - ends()[0]).total_seconds() > 0.9 * shortest


def test_a_command_that_outlives_its_receiver_is_judged_by_who_sent_it(
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    make_peer: MakePeer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The inbox keeps the endpoint's word; in the next life there is nobody else to ask."""
    options = {**keyring.peer("centre-1", "conductor"), "journal": "of-centre"}
    first = make_peer(endpoint.url, **options)
    with pytest.MonkeyPatch.context() as patch:
        # It takes commands over and never gets to them.
        patch.setattr(mailbox.Mailbox, "poll", lambda *_: time.sleep(0.01) or [])
        first.serve("conductor", "centre-1", peers.Recorder("centre-1"))
        sender = make_peer(endpoint.url, **keyring.peer("edge-7"))
        sender.client("conductor").cast({}, "put", value=1)
        peers.await_drained(sender)
        first.close()
    writers: list[str] = []
    judge = ownership.ownership_of
    monkeypatch.setattr(
        ownership,
        "ownership_of",
        lambda message, writer: writers.append(writer) or judge(message, writer),
    )
    recorder = peers.Recorder("centre-1")
    make_peer(endpoint.url, **options).serve("conductor", "centre-1", recorder)
    assert recorder.take(1) == [1]
    assert writers == ["compute:edge-7"]
