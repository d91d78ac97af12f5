# SPDX-License-Identifier: Apache-2.0
"""Notifications: stored until somebody listens, one copy for each pool, put back on demand."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from typing import Any

import oslo_messaging
import pytest

from nova_edge_bus.delivery.streams import BACKLOG_AFTER
from tests.driver import journals
from tests.driver.conftest import MakeEndpoint
from tests.driver.conftest import MakePeer
from tests.driver.conftest import RunProgram
from tests.driver.peers import WAIT_SECONDS
from tests.driver.peers import Listening
from tests.driver.peers import take
from tests.nova.processes import wait_until

PRIORITIES = ("audit", "debug", "info", "warn", "error", "critical", "sample")


class Batches:
    """A batch endpoint: what comes at once."""

    def __init__(self) -> None:
        self.queue: queue.Queue[list[Any]] = queue.Queue()

    def info(self, messages: list[dict[str, Any]]) -> None:
        self.queue.put([message["payload"] for message in messages])


class Again:
    """Puts back what it is given, as often as it was told to."""

    def __init__(self, times: int) -> None:
        self._times = times
        self.queue: queue.Queue[Any] = queue.Queue()

    def info(
        self, ctxt: Any, publisher: str, event_type: str, payload: Any, metadata: Any
    ) -> oslo_messaging.NotificationResult:
        self.queue.put(payload)
        self._times -= 1
        if self._times >= 0:
            return oslo_messaging.NotificationResult.REQUEUE
        return oslo_messaging.NotificationResult.HANDLED


def payloads(listening: Listening, count: int) -> list[Any]:
    return [payload for _, _, payload in listening.take(count)]


def test_every_priority_arrives_as_what_it_is(make_peer: MakePeer, topic: str) -> None:
    listening = Listening()
    make_peer().listen([topic], listening)
    notifier = make_peer().notifier(topic)
    for priority in PRIORITIES:
        getattr(notifier, priority)({"user": "u"}, f"event.{priority}", {"of": priority})
    assert sorted(listening.take(len(PRIORITIES))) == sorted(
        (priority, f"event.{priority}", {"of": priority}) for priority in PRIORITIES
    )


def test_a_listener_is_given_nothing_but_its_topics(make_peer: MakePeer, topic: str) -> None:
    one, both = Listening(), Listening()
    taker, sender = make_peer(), make_peer()
    taker.listen([f"{topic}-a", f"{topic}-b"], both)
    taker.listen([f"{topic}-c"], one)
    for name in "abc":
        sender.notifier(f"{topic}-{name}").info({}, "event", name)
    assert payloads(one, 1) == ["c"]
    assert sorted(payloads(both, 2)) == ["a", "b"]


def test_notifications_of_one_priority_keep_their_order(make_peer: MakePeer, topic: str) -> None:
    listening = Listening()
    make_peer().listen([topic], listening, threads=1)
    notifier = make_peer().notifier(topic)
    for number in range(200):
        notifier.info({}, "event", number)
    assert payloads(listening, 200) == list(range(200))


def test_a_batch_is_as_large_as_was_asked_for(make_peer: MakePeer, topic: str) -> None:
    batches = Batches()
    make_peer().listen([topic], batches, batch_size=10, batch_timeout=3600, threads=1)
    notifier = make_peer().notifier(topic)
    for number in range(25):
        notifier.info({}, "event", number)
    found = take(batches.queue, 2)
    assert found == [list(range(10)), list(range(10, 20))]
    for number in range(25, 30):
        notifier.info({}, "event", number)
    assert take(batches.queue, 1) == [list(range(20, 30))]


def test_a_batch_that_does_not_fill_comes_when_its_time_is_up(
    make_peer: MakePeer, topic: str
) -> None:
    batches = Batches()
    make_peer().listen([topic], batches, batch_size=1000, batch_timeout=1, threads=1)
    notifier = make_peer().notifier(topic)
    for number in range(5):
        notifier.info({}, "event", number)
    assert take(batches.queue, 1) == [list(range(5))]


def test_a_stopped_batch_listener_delivers_what_it_has(make_peer: MakePeer, topic: str) -> None:
    batches = Batches()
    listener = make_peer().listen([topic], batches, batch_size=1000, batch_timeout=3600)
    sender = make_peer()
    notifier = sender.notifier(topic)
    for number in range(5):
        notifier.info({}, "event", number)
    journal = journals.only(sender.journal_dir)
    wait_until(lambda: journals.pending(journal) == 0, WAIT_SECONDS, "the outbox to drain")
    listener.stop()
    listener.wait()
    assert take(batches.queue, 1) == [list(range(5))]


def test_listeners_share_what_comes_in_turns(make_peer: MakePeer, topic: str) -> None:
    listening = [Listening(), Listening()]
    for one in listening:
        make_peer().listen([topic], one)
    notifier = make_peer().notifier(topic)
    notifier.info({}, "event", "first")
    wait_until(
        lambda: sum(one.queue.qsize() for one in listening) == 1, WAIT_SECONDS, "the first one"
    )
    for one in listening:
        one.rest()
    for number in range(40):
        notifier.info({}, "event", number)
    found = [payloads(one, 20) for one in listening]
    assert sorted(itertools.chain(*found)) == list(range(40))


def test_each_pool_has_one_copy_and_shares_it(make_peer: MakePeer, topic: str) -> None:
    members: dict[str, list[Listening]] = {"": [Listening()], "a": [], "b": [Listening()]}
    members["a"] = [Listening(), Listening()]
    for pool, pool_members in members.items():
        for one in pool_members:
            make_peer().listen([topic], one, pool=pool or None)
    notifier = make_peer().notifier(topic)
    for number in range(20):
        notifier.info({}, "event", number)
    for pool, pool_members in members.items():
        share = 20 // len(pool_members)
        found = [payloads(one, share) for one in pool_members]
        assert sorted(itertools.chain(*found)) == list(range(20)), pool
    notifier.info({}, "event", "last")
    for pool, pool_members in members.items():
        wait_until(
            lambda found=pool_members: any(one.queue.qsize() for one in found),
            WAIT_SECONDS,
            f"the last one in pool {pool!r}",
        )
        rest = [payload for one in pool_members for _, _, payload in one.rest()]
        assert rest == ["last"], pool


def test_a_pool_without_members_keeps_its_copies(
    make_peer: MakePeer, make_endpoint: MakeEndpoint, topic: str
) -> None:
    sender, taker = make_peer(), make_peer()
    default, pooled = Listening(), Listening()
    member = taker.listen([topic], pooled, pool="a")
    notifier = sender.notifier(topic)
    notifier.info({}, "event", 1)
    assert payloads(pooled, 1) == [1]
    taker.listen([topic], default)
    assert payloads(default, 1) == [1]
    member.stop()
    member.wait()
    notifier.info({}, "event", 2)
    assert payloads(default, 1) == [2]


def test_notifications_are_stored_while_nobody_listens(
    make_peer: MakePeer, run_program: RunProgram, topic: str
) -> None:
    program = run_program("notify", topic=topic, values=[1, 2, 3])
    program.expect("sent")
    program.kill()
    sender = make_peer(journal="journal")
    notifier = sender.notifier(topic)
    notifier.info({}, "event", 4)
    assert journals.pending(journals.only(sender.journal_dir)) == 4
    listening = Listening()
    make_peer().listen([topic], listening, threads=1)
    assert payloads(listening, 4) == [1, 2, 3, 4]


def test_what_was_stored_comes_before_what_is_sent_meanwhile(
    make_peer: MakePeer, topic: str
) -> None:
    stored, count = 300, 600
    notifier = make_peer().notifier(topic)
    for number in range(stored):
        notifier.info({}, "event", number)
    # From then on they are a backlog, which waits for its turn.
    time.sleep(2 * BACKLOG_AFTER)
    listening = Listening()
    make_peer().listen([topic], listening, threads=1)
    for number in range(stored, count):
        notifier.info({}, "event", number)
    assert payloads(listening, count) == list(range(count))


def test_what_was_stored_fills_a_batch(make_peer: MakePeer, topic: str) -> None:
    notifier = make_peer().notifier(topic)
    for number in range(200):
        notifier.info({}, "event", number)
    time.sleep(2 * BACKLOG_AFTER)
    batches = Batches()
    make_peer().listen([topic], batches, batch_size=100, batch_timeout=3600, threads=1)
    assert take(batches.queue, 2) == [list(range(100)), list(range(100, 200))]


def test_notifications_are_stored_while_no_endpoint_runs(
    make_peer: MakePeer, make_endpoint: MakeEndpoint, topic: str
) -> None:
    endpoint = make_endpoint()
    endpoint.kill()
    sender, taker = make_peer(endpoint.url), make_peer(endpoint.url)
    for number in range(3):
        sender.notifier(topic).info({}, "event", number)
    endpoint.start()
    listening = Listening()
    taker.listen([topic], listening, threads=1)
    assert payloads(listening, 3) == [0, 1, 2]


def test_a_notification_that_outlives_its_time_is_counted_and_not_delivered(
    make_peer: MakePeer, topic: str
) -> None:
    sender = make_peer(notification_ttl=1)
    sender.notifier(topic).info({}, "event", "old")
    journal = journals.only(sender.journal_dir)
    wait_until(lambda: journals.counter(journal, "expired") == 1, WAIT_SECONDS, "the expiry")
    assert journals.pending(journal) == 0
    listening = Listening()
    make_peer().listen([topic], listening)
    sender.notifier(topic).info({}, "event", "new")
    assert payloads(listening, 1) == ["new"]
    assert listening.rest() == []


def test_notifications_cannot_crowd_out_casts(make_peer: MakePeer, topic: str) -> None:
    sender = make_peer(journal_max_bytes=4 << 20)
    target = oslo_messaging.Target(topic=f"{topic}.info")

    def fill() -> None:
        for _ in range(100):
            # A notifier would only log the error.
            sender.notifications._send_notification(
                target, {}, {"event_type": "event", "payload": "x" * 100_000}, version=2.0
            )

    with pytest.raises(oslo_messaging.MessageDeliveryFailure, match="a quarter of the quota"):
        fill()
    sender.client(topic).cast({}, "put", value="x" * 1_000_000)


def test_a_requeued_notification_comes_again(make_peer: MakePeer, topic: str) -> None:
    again = Again(times=2)
    make_peer().listen([topic], again, allow_requeue=True, threads=1)
    make_peer().notifier(topic).info({}, "event", 1)
    assert take(again.queue, 3) == [1, 1, 1]
    make_peer().notifier(topic).info({}, "event", 2)
    assert take(again.queue, 1) == [2]


def test_a_notification_requeued_by_a_stopped_listener_goes_to_another(
    make_peer: MakePeer, topic: str
) -> None:
    stopped = threading.Event()

    class Stopping(Listening):
        def info(self, *message: Any) -> oslo_messaging.NotificationResult:
            self.queue.put(message)
            stopped.wait(WAIT_SECONDS)
            return oslo_messaging.NotificationResult.REQUEUE

    taker, stopping, listening = make_peer(), Stopping(), Listening()
    listener = taker.listen([topic], stopping, allow_requeue=True)
    make_peer().notifier(topic).info({}, "event", 1)
    stopping.take(1)
    listener.stop()
    taker.listen([topic], listening)
    stopped.set()
    assert payloads(listening, 1) == [1]
    assert stopping.rest() == []


def test_an_error_in_the_endpoint_requeues_where_that_is_allowed(
    make_peer: MakePeer, topic: str
) -> None:
    class Failing:
        def __init__(self) -> None:
            self.queue: queue.Queue[Any] = queue.Queue()

        def info(self, ctxt: Any, publisher: str, event_type: str, payload: Any, _: Any) -> None:
            self.queue.put(payload)
            if self.queue.qsize() < 2:
                raise ValueError("not yet")

    failing = Failing()
    make_peer().listen([topic], failing, allow_requeue=True, threads=1)
    make_peer().notifier(topic).info({}, "event", 1)
    wait_until(lambda: failing.queue.qsize() >= 2, WAIT_SECONDS, "the second attempt")


def test_what_a_listener_took_and_did_not_handle_is_handed_out_after_a_crash(
    make_peer: MakePeer, run_program: RunProgram, topic: str
) -> None:
    holder = run_program("hold", topic=topic, journal="taker")
    holder.expect("listening")
    sender = make_peer()
    sender.notifier(topic).info({}, "event", 1)
    assert holder.expect("holding") == 1
    holder.kill()
    listening = Listening()
    make_peer(journal="taker").listen([topic], listening)
    assert payloads(listening, 1) == [1]
