# SPDX-License-Identifier: Apache-2.0
"""Fanouts: to whoever listens now, once."""

from nova_edge_bus.delivery import fanouts
from nova_edge_bus.delivery import listeners
from nova_edge_bus.protocol import messages
from tests.unit.delivery import rigs
from tests.unit.delivery.rigs import TOPIC


def fanout(number: int, sender: bytes = b"sender-1", address: str = TOPIC) -> messages.Fanout:
    return messages.Fanout(sender, number, address, b"body")


class Link:
    """Takes messages while it is up."""

    def __init__(self) -> None:
        self.up = True
        self.sent: list[int] = []

    def transmit(self, message: messages.Message) -> bool:
        assert isinstance(message, messages.Fanout)
        if self.up:
            self.sent.append(message.number)
        return self.up


def test_every_listener_of_the_topic_gets_a_fanout() -> None:
    rig = rigs.ReceiverRig()
    rig.receiver.listen(2, ["v/e/other"], ["v/e/other"])
    rig.receiver.listen(3, [TOPIC], [TOPIC])
    rig.receiver.fanout(fanout(1), "e1")
    assert [(item.listener, item.kind) for item in rig.dispatched] == [(1, None), (3, None)]


def test_a_second_copy_of_a_fanout_is_recognised() -> None:
    rig = rigs.ReceiverRig()
    for via in ("e1", "e2"):
        rig.receiver.fanout(fanout(1), via)
    assert len(rig.dispatched) == 1
    rig.receiver.fanout(fanout(2), "e1")
    rig.receiver.fanout(fanout(1, sender=b"sender-2"), "e1")
    assert len(rig.dispatched) == 3


def test_a_crowded_listener_misses_a_fanout() -> None:
    rig = rigs.ReceiverRig()
    rig.crowded.add(1)
    rig.receiver.fanout(fanout(1), "e1")
    assert rig.dispatched == []


def test_the_memory_of_fanouts_is_bounded() -> None:
    rig = rigs.ReceiverRig()
    for number in range(listeners.FANOUT_MEMORY + 10):
        rig.receiver.fanout(fanout(number), "e1")
    assert len(rig.receiver._listeners._fanouts) == listeners.FANOUT_MEMORY
    rig.receiver.fanout(fanout(listeners.FANOUT_MEMORY), "e2")
    assert len(rig.dispatched) == listeners.FANOUT_MEMORY + 10


def test_a_fanout_is_sent_again_until_an_endpoint_confirms_it() -> None:
    link = Link()
    sender = fanouts.FanoutSender(link.transmit)
    sender.send(TOPIC, b"", 0.0)
    sender.send(TOPIC, b"", 0.0)
    sender.confirmed(1)
    sender.link_changed(1.0)
    assert link.sent == [1, 2, 2]
    sender.confirmed(2)
    sender.link_changed(2.0)
    assert link.sent == [1, 2, 2]


def test_without_a_link_the_newest_fanouts_are_kept_for_a_while() -> None:
    link = Link()
    link.up = False
    sender = fanouts.FanoutSender(link.transmit)
    for number in range(fanouts.MAX_PENDING + 5):
        sender.send(TOPIC, b"", 0.0 if number < 100 else 30.0)
    link.up = True
    sender.link_changed(fanouts.PENDING_SECONDS + 1)
    assert link.sent == list(range(101, fanouts.MAX_PENDING + 6))
