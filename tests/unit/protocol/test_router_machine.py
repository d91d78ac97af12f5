# SPDX-License-Identifier: Apache-2.0
"""Many peers that come, listen, send, freeze and die around one router, at random."""

import collections
from typing import Any

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st

from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol.states import State
from tests.unit.protocol import fleet

ADDRESSES = ["v/e/conductor", "v/e/compute", "v/e/compute/edge-7"]
PENDING_MESSAGES = 6
PENDING_BYTES = 4000
WINDOW = 8
SESSIONS = 6
LARGEST = 1500
# A drawn number names one of those that are there, whatever their count.
PICKS = st.integers(0, 20)
LUCK = st.integers(0, 3).map(lambda number: number == 3)


class RouterMachine(stateful.RuleBasedStateMachine):
    """Every delivery ends at just the peer it names, is refused, or dies with one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.world = fleet.Fleet(
            pending_messages=PENDING_MESSAGES,
            pending_bytes=PENDING_BYTES,
            window_messages=WINDOW,
            max_sessions=SESSIONS,
        )
        self.gone: list[fleet.Peer] = []
        self.listening: dict[bytes, dict[int, list[str]]] = collections.defaultdict(dict)
        self.looking: dict[bytes, set[str]] = collections.defaultdict(set)
        self.sent: dict[int, tuple[fleet.Peer, bytes]] = {}
        self.names = 0
        for _ in range(3):
            self.come()

    def pick(self, number: int) -> fleet.Peer:
        peers = list(self.world.peers.values())
        return peers[number % len(peers)]

    def everyone(self) -> list[fleet.Peer]:
        return [*self.world.peers.values(), *self.gone]

    @stateful.precondition(lambda self: len(self.world.peers) < 8)
    @stateful.rule()
    def come(self) -> None:
        self.names += 1
        self.world.connect(str(self.names), window_messages=4, window_bytes=3000)

    @stateful.precondition(lambda self: len(self.world.peers) > 2)
    @stateful.rule(number=PICKS, luck=LUCK, again=st.booleans())
    def die(self, number: int, luck: bool, again: bool) -> None:
        """The connection breaks; maybe the same peer dials again."""
        if not luck:
            return
        peer = self.pick(number)
        self.world.disconnect(peer)
        self.gone.append(peer)
        if again:
            successor = fleet.Peer(peer.key + b"+", peer.session.hello, self.world.now)
            self.world.peers[successor.key] = successor

    @stateful.rule(
        number=PICKS, listener=st.integers(1, 2), take=st.sets(st.sampled_from(ADDRESSES))
    )
    def listen(self, number: int, listener: int, take: set[str]) -> None:
        peer = self.pick(number)
        peer.session.queue(messages.Listen(listener, sorted(take), sorted(take), ""))
        self.listening[peer.key][listener] = sorted(take)

    @stateful.rule(number=PICKS, listener=st.integers(1, 2))
    def unlisten(self, number: int, listener: int) -> None:
        peer = self.pick(number)
        peer.session.queue(messages.Unlisten(listener))
        self.listening[peer.key].pop(listener, None)

    @stateful.rule(number=PICKS, address=st.sampled_from(ADDRESSES))
    def look(self, number: int, address: str) -> None:
        peer = self.pick(number)
        peer.session.queue(messages.Lookup([address]))
        self.looking[peer.key].add(address)

    @stateful.rule(number=PICKS, address=st.sampled_from(ADDRESSES))
    def forget(self, number: int, address: str) -> None:
        peer = self.pick(number)
        peer.session.queue(messages.Forget([address]))
        self.looking[peer.key].discard(address)

    @stateful.rule(
        number=PICKS, receiver=PICKS, count=st.integers(1, 5), size=st.sampled_from([0, LARGEST])
    )
    def deliver(self, number: int, receiver: int, count: int, size: int) -> None:
        sender = self.pick(number)
        everyone = self.everyone()
        to = everyone[receiver % len(everyone)].id
        for _ in range(count):
            entry = len(self.sent) + 1
            self.sent[entry] = (sender, to)
            sender.session.queue(fleet.deliver(to, entry, size))

    @stateful.rule(number=PICKS)
    def stop_or_go_on_reading(self, number: int) -> None:
        peer = self.pick(number)
        peer.reading = not peer.reading

    @stateful.rule(number=PICKS)
    def stop_or_go_on_taking(self, number: int) -> None:
        peer = self.pick(number)
        peer.taking = not peer.taking

    @stateful.rule(turns=st.integers(1, 3))
    def turn(self, turns: int) -> None:
        for _ in range(turns):
            self.world.turn()

    @stateful.rule(seconds=st.sampled_from([0.01, 1.0, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds
        self.world.turn()

    @stateful.rule()
    def settle(self) -> None:
        """When all read and nothing moves, each delivery is accounted for, routes are true."""
        for peer in self.world.peers.values():
            peer.reading = peer.taking = True
        self.world.wait(0.3)
        self.check_deliveries()
        self.check_routes()

    def check_deliveries(self) -> None:
        arrived: dict[int, list[fleet.Peer]] = collections.defaultdict(list)
        refused: dict[int, list[fleet.Peer]] = collections.defaultdict(list)
        for peer in self.everyone():
            for given in peer.of(messages.Deliver):
                arrived[given.number].append(peer)
            for refusal in peer.of(messages.Refuse):
                for number in refusal.numbers:
                    refused[number].append(peer)
        whole = {peer.id for peer in self.everyone()} - {
            peer.id for peer in self.everyone() if not self.is_whole(peer)
        }
        for number, (sender, to) in self.sent.items():
            ends = len(arrived[number]) + len(refused[number])
            assert ends <= 1
            assert all(peer.id == to for peer in arrived[number])
            assert all(peer.id == sender.id for peer in refused[number])
            if sender.id in whole and (to in whole or to not in self.world.opened):
                assert ends == 1, number

    def is_whole(self, peer: fleet.Peer) -> bool:
        """Whether nothing happened to its session that may have taken messages along."""
        return peer.key in self.world.peers and peer.session.state is State.UP

    def check_routes(self) -> None:
        up = [peer for peer in self.world.peers.values() if peer.session.state is State.UP]
        # A connection may have broken without the router having noticed yet.
        gone = {peer.id for peer in self.everyone()} - {peer.id for peer in up}
        for peer in up:
            for address in self.looking[peer.key]:
                listed = [
                    (consumer.peer, consumer.listener)
                    for consumer in peer.routes()[address]
                    if consumer.peer not in gone
                ]
                assert sorted(listed) == sorted(
                    (other.id, listener)
                    for other in up
                    for listener, taken in self.listening[other.key].items()
                    if address in taken
                )

    @stateful.invariant()
    def what_is_pending_is_bounded_and_counted_right(self) -> None:
        pending = [peer.session.backlog for peer in self.router_sessions()]
        assert self.world.router.stats.pending_bytes == sum(size for _, size in pending)
        for count, size in pending:
            # Beside its room: refusals of what it has had credit for, and of what died with
            # the sessions that it was for.
            refusals = WINDOW + PENDING_MESSAGES * SESSIONS
            assert count <= 2 * PENDING_MESSAGES + refusals
            assert size < 2 * PENDING_BYTES + LARGEST + 200 * (1 + refusals)

    @stateful.invariant()
    def nobody_breaks_the_protocol(self) -> None:
        for peer in self.everyone():
            assert "protocol error" not in peer.session.reason

    def router_sessions(self) -> list[Any]:
        return list(self.world.router._peers.values())


TestRouter = RouterMachine.TestCase
TestRouter.settings = hypothesis.settings(max_examples=200, stateful_step_count=40)
