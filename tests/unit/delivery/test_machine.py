# SPDX-License-Identifier: Apache-2.0
"""Senders, receivers and endpoints that crash, are cut off and come back, at random.

What is promised is checked while it happens, in :mod:`tests.unit.delivery.ledger`, and once more
when everybody is back and nothing is left to be done.
"""

from typing import Any

import hypothesis
import pytest
from hypothesis import stateful
from hypothesis import strategies as st

from nova_edge_bus.protocol import messages
from tests.unit.delivery import process as processes
from tests.unit.delivery import world as worlds

PICK = st.integers(0, 1 << 16)
GROUP = st.sampled_from(worlds.GROUPS)
COMMAND_KEYS = [worlds.TOPIC, f"{worlds.TOPIC}/conductor0", "v/e/compute/compute0"]
RECORD = "a record"
WORK = st.sampled_from([RECORD, RECORD, *COMMAND_KEYS])
CALL_KEYS = [*COMMAND_KEYS, "v/e/compute/compute1"]
PATIENCE = 200.0
"""Seconds in which all is settled once everybody is back."""


class DeliveryMachine(stateful.RuleBasedStateMachine):
    """A consumer that is gone is waited for, however long: nothing is ever dispatched twice."""

    grace = 1e9
    second_inbox = False

    @stateful.initialize(endpoints=st.integers(1, 3), started=st.booleans())
    def begin(self, endpoints: int, started: bool) -> None:
        self.world = worlds.World(
            endpoints=endpoints, grace=self.grace, second_inbox=self.second_inbox
        )
        if started:
            self.world.run(6)

    def process(self, pick: int) -> processes.Process | None:
        live = self.world.live()
        return live[pick % len(live)] if live else None

    # Work

    @stateful.rule(pick=PICK, group=GROUP, keys=st.lists(WORK, min_size=1, max_size=6))
    def work(self, pick: int, group: str, keys: list[str]) -> None:
        """What one process does about one instance, one after the other."""
        process = self.process(pick)
        if process is None:
            return
        for key in keys:
            if key == RECORD:
                process.append(messages.Kind.RECORD, worlds.TOPIC, group)
            else:
                process.append(messages.Kind.COMMAND, key, group)

    @stateful.rule(pick=PICK)
    def notify(self, pick: int) -> None:
        process = self.process(pick)
        if process:
            process.notify()

    @stateful.rule(
        pick=PICK, key=st.sampled_from(CALL_KEYS), group=GROUP, repeatable=st.booleans()
    )
    def call(self, pick: int, key: str, group: str, repeatable: bool) -> None:
        process = self.process(pick)
        if process:
            process.call(key, group, repeatable=repeatable)

    @stateful.rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        process = self.process(pick)
        open_calls = process.open_calls() if process else []
        if process and open_calls:
            process.cancel(open_calls[pick % len(open_calls)])

    # The course of things

    @stateful.rule(picks=st.lists(PICK, min_size=1, max_size=30))
    def steps(self, picks: list[int]) -> None:
        for pick in picks:
            self.world.step(pick)

    @stateful.rule(rounds=st.integers(1, 4))
    def run(self, rounds: int) -> None:
        self.world.run(rounds)

    @stateful.rule(seconds=st.sampled_from([0.3, 1.1, 2.5, 6.0, 15.0]))
    def wait(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    # Mishaps

    @stateful.rule(pick=PICK, committed=st.integers(0, 3), endpoint_knows=st.booleans())
    def crash(self, pick: int, committed: int, endpoint_knows: bool) -> None:
        place = self.world.places[pick % len(self.world.places)]
        if place.process is not None:
            self.world.crash(place, committed, endpoint_knows=endpoint_knows)

    @stateful.rule(pick=PICK)
    def restart(self, pick: int) -> None:
        down = [place for place in self.world.places if place.process is None]
        if down:
            self.world.start(down[pick % len(down)])

    @stateful.rule(pick=PICK, endpoint_knows=st.booleans(), peer_knows=st.booleans())
    def break_connection(self, pick: int, endpoint_knows: bool, peer_knows: bool) -> None:
        links = [
            link
            for process in self.world.live()
            for link in process.links.values()
            if link is not None and link.is_up
        ]
        if links:
            links[pick % len(links)].cut(endpoint_knows=endpoint_knows, peer_knows=peer_knows)

    @stateful.rule(pick=PICK, names=st.sets(st.integers(0, 2), min_size=1))
    def cut_off(self, pick: int, names: set[int]) -> None:
        process = self.process(pick)
        for name in process.links if process else ():
            if int(name[-1]) in names:
                process.cut_off(name)

    @stateful.rule(pick=PICK)
    def reconnect(self, pick: int) -> None:
        process = self.process(pick)
        if process:
            process.blocked.clear()

    @stateful.rule(pick=PICK)
    def stop_endpoint(self, pick: int) -> None:
        endpoint = self.world.endpoints[pick % len(self.world.endpoints)]
        if endpoint.router is not None:
            endpoint.stop()

    @stateful.rule(pick=PICK)
    def start_endpoint(self, pick: int) -> None:
        endpoint = self.world.endpoints[pick % len(self.world.endpoints)]
        if endpoint.router is None:
            endpoint.start()

    @stateful.rule(pick=PICK)
    def stop_listening(self, pick: int) -> None:
        process = self.process(pick)
        if process and process.mailboxes:
            process.unlisten(sorted(process.mailboxes)[pick % len(process.mailboxes)])

    @stateful.rule(pick=PICK)
    def listen_again(self, pick: int) -> None:
        process = self.process(pick)
        if process:
            process.listen_to_all()

    # What holds at any time

    @stateful.invariant()
    def memory_is_bounded(self) -> None:
        if not hasattr(self, "world"):
            return
        for process in self.world.live():
            streams = len(COMMAND_KEYS) + 3
            held = self.world.limits.window_messages - 1 + processes.PAGE
            assert process.sender.depth() <= streams * held + len(process.open_calls())

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.heal()
        self.world.drain(PATIENCE)
        for place in self.world.places:
            assert not place.journal.pending, f"{place.name} has unsettled entries"
        self.world.ledger.check_all_done()
        for process in self.world.live():
            self.memory_is_given_back(process)

    def memory_is_given_back(self, process: processes.Process) -> None:
        for number in process.open_calls():
            process.cancel(number)
        assert process.sender.depth() == 0
        assert not process.sender.unfinished()


class GraceMachine(DeliveryMachine):
    """A consumer that stays away is replaced: only then has a second inbox a command."""

    grace = 10.0
    second_inbox = True


def run(machine: type[DeliveryMachine], examples: int, steps: int, **more: Any) -> None:
    stateful.run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(
            max_examples=examples,
            stateful_step_count=steps,
            suppress_health_check=[hypothesis.HealthCheck.too_slow],
            **more,
        ),
    )


@pytest.mark.parametrize("machine", [DeliveryMachine, GraceMachine])
def test_what_is_promised_holds_whatever_happens(machine: type[DeliveryMachine]) -> None:
    run(machine, examples=250, steps=50)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("turn", range(10))
@pytest.mark.parametrize("machine", [DeliveryMachine, GraceMachine])
def test_what_is_promised_holds_for_long(machine: type[DeliveryMachine], turn: int) -> None:
    """In turns, because the search remembers all that it has tried, and that is much."""
    run(machine, examples=1000, steps=80, derandomize=False)
