# SPDX-License-Identifier: Apache-2.0
"""What a sender reads back from a journal that several buses share."""

import dataclasses
import json
import pathlib
import queue
import sqlite3
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from nova_edge_bus import errors
from nova_edge_bus import settings as settings_module
from nova_edge_bus.autonomy import bodies
from nova_edge_bus.delivery import directory as directory_module
from nova_edge_bus.delivery import streams
from nova_edge_bus.delivery import surroundings
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import outbox
from nova_edge_bus.journal import slots
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import figures
from nova_edge_bus.runtime import outgoing
from nova_edge_bus.runtime import store as store_module

ADDRESS = "/nova/conductor"
CONSUMER = messages.Consumer(b"consumer", 1, b"theinbox", "")
OTHER_CONSUMER = messages.Consumer(b"another.", 1, b"itsinbox", "")

SETTINGS = settings_module.Settings(
    endpoints=("tcp://127.0.0.1:1",),
    vhost="",
    host="host",
    service="service",
    journal_dir="",
    journal_max_bytes=8 << 20,
    journal_retention=60,
    link_timeout=5.0,
    autonomy="off",
    snapshot_max_bytes=1 << 20,
    refuse_after=10.0,
    write_behind=False,
    consumer_grace=10.0,
    notification_ttl=60,
    compression="none",
    linger=0.0,
    adoption_interval=30.0,
    listen="",
    allow_insecure=False,
)


class _Links:
    """The links of one bus; what is transmitted is kept."""

    def __init__(self, link: str) -> None:
        self.link = link
        self.directory = directory_module.Directory()
        self.directory.update("endpoint", ADDRESS, [CONSUMER])
        self.sent: list[bytes] = []
        self.after: list[int] = []

    def has_room(self, endpoint: object) -> bool:
        return True

    def transmit(self, endpoint: object, message: Any) -> None:
        self.sent.append(message.body)
        self.after.append(message.after)

    def lookup(self, address: str) -> None:
        pass


@pytest.fixture
def calls() -> "queue.Queue[Callable[[], None]]":
    return queue.Queue()


@pytest.fixture
def store(
    tmp_path: pathlib.Path, calls: "queue.Queue[Callable[[], None]]"
) -> Iterator[store_module.Store]:
    settings = dataclasses.replace(SETTINGS, journal_dir=str(tmp_path))
    opened = store_module.Store(slots.take(tmp_path, "host", "service"), settings, calls.put)
    yield opened
    opened.close()


def _entry(link: str, body: bytes) -> entries.NewEntry:
    return entries.NewEntry(
        link, ADDRESS, int(messages.Kind.RECORD), "", "save", body, CONSUMER.inbox, 0.0, None
    )


def test_a_fenced_outbox_is_counted(store: store_module.Store) -> None:
    counted = figures.Figures()
    shipping = outgoing.Outgoing(
        _Links("here"), store, surroundings.Limits(), own=True, figures=counted
    )
    shipping.fenced()
    assert counted.fenced == 1


def test_a_bus_ships_only_what_is_bound_to_its_own_endpoints(
    store: store_module.Store, calls: "queue.Queue[Callable[[], None]]"
) -> None:
    written = [_entry("here", b"ours"), _entry("there", b"theirs"), _entry("here", b"ours too")]
    store.wait(lambda journal: journal.outbox.append_many(written))
    links = _Links("here")
    shipping = outgoing.Outgoing(links, store, surroundings.Limits(), own=True)
    left = store.left_over()["here"]
    shipping.restore(left.records, left.streams)
    shipping.sender.ship(1.0)
    for _ in range(2):
        calls.get(timeout=30)()
        shipping.sender.ship(1.0)
    assert links.sent == [b"ours", b"ours too"]


def test_a_damaged_entry_holds_up_none_of_its_group(
    store: store_module.Store, calls: "queue.Queue[Callable[[], None]]"
) -> None:
    """It is found out when its page is read, long after its group has been registered."""
    written = [dataclasses.replace(_entry("here", body), group="g") for body in (b"bad", b"good")]
    store.wait(lambda journal: journal.outbox.append_many(written))
    with sqlite3.connect(store.path) as tampering:
        tampering.execute("UPDATE outbox SET body = x'626f64' WHERE seq = 1")
    links = _Links("here")
    shipping = outgoing.Outgoing(links, store, surroundings.Limits(), own=True)
    left = store.left_over()["here"]
    shipping.restore(left.records, left.streams)
    for _ in range(3):
        shipping.sender.ship(1.0)
        calls.get(timeout=30)()
        if links.sent:
            break
    shipping.sender.ship(1.0)
    assert links.sent == [b"good"]


def _save(host: str, note: dict[str, str] | None = None) -> bytes:
    target = {"nova_object.name": "Instance", "nova_object.data": {"host": host}}
    message = {"method": "object_action", "args": {"objinst": target, "objmethod": "save"}}
    return bodies.pack(bodies.Request({}, message, note))


def _hosts(saves: list[bytes]) -> list[str | None]:
    return [(bodies.request(body).note or {}).get("instance_host") for body in saves]


def test_what_was_left_over_is_noted_when_it_is_read_and_what_is_new_is_not(
    store: store_module.Store, calls: "queue.Queue[Callable[[], None]]"
) -> None:
    """Whoever applies it has to know whose the instance was; nobody waits for the reply."""
    left = [_save("edge-1"), _save("edge-1", {"instance_host": "edge-2"}), b"not nova's"]
    store.wait(lambda journal: journal.outbox.append_many([_entry("here", each) for each in left]))
    links = _Links("here")
    shipping = outgoing.Outgoing(links, store, surroundings.Limits(), own=True)
    held = store.left_over()["here"]
    shipping.restore(held.records, held.streams)
    new = _entry("here", _save("edge-3"))
    store.wait(lambda journal: journal.outbox.append_many([new]))
    shipping.sender.ship(1.0)
    while len(links.sent) < 4:
        calls.get(timeout=30)()
        shipping.sender.ship(1.0)
    assert links.sent[1:] == [left[1], left[2], new.body]
    assert _hosts(links.sent[:1]) == ["edge-1"]
    kept = store.wait(lambda journal: journal.outbox.pending(ADDRESS, 0, 10, 1 << 20))
    # It has to be there still when an operator has it shipped again.
    assert [entry.body for entry in kept] == links.sent


def test_what_was_left_over_beside_an_instance_is_noted_with_what_is_known(
    store: store_module.Store, calls: "queue.Queue[Callable[[], None]]"
) -> None:
    target = {"nova_object.name": "InstanceFault", "nova_object.data": {"instance_uuid": "u"}}
    message = {"method": "object_action", "args": {"objinst": target, "objmethod": "create"}}
    left = bodies.pack(bodies.Request({}, message))
    (seq,) = store.wait(lambda journal: journal.outbox.append_many([_entry("here", left)]))
    known = {(json.dumps(message), seq): {"instance_host": "edge-1", "base": {}}}
    autonomy: Any = mock.Mock()
    autonomy.keeper.known = lambda message, seq: known[json.dumps(message), seq]
    links = _Links("here")
    shipping = outgoing.Outgoing(links, store, surroundings.Limits(), own=True, autonomy=autonomy)
    held = store.left_over()["here"]
    shipping.restore(held.records, held.streams)
    shipping.sender.ship(1.0)
    while not links.sent:
        calls.get(timeout=30)()
        shipping.sender.ship(1.0)
    assert [bodies.request(body).note for body in links.sent] == [{"instance_host": "edge-1"}]


def test_outcomes_that_cannot_be_written_are_written_later(
    store: store_module.Store, calls: "queue.Queue[Callable[[], None]]"
) -> None:
    attempts: list[list[str]] = []
    told: list[str] = []

    def write(_: object, arguments: list[str]) -> None:
        attempts.append(list(arguments))
        if len(attempts) < 3:
            raise OSError("no room")

    store.lazily(write, told.extend, "an outcome")
    for _ in range(50):
        store.tick(float("inf"))
        calls.get(timeout=30)()
        if told:
            break
    assert told == ["an outcome"]
    assert len(attempts) >= 3


@pytest.mark.parametrize("is_shipped", [True, False])
def test_an_entry_that_stands_for_another_waits_for_it_once_that_has_been_shipped(
    store: store_module.Store, is_shipped: bool
) -> None:
    links = _Links("here")
    shipping = outgoing.Outgoing(links, store, surroundings.Limits(), own=True)
    earlier, later = (
        streams.Item(messages.Kind.RECORD, seq, ADDRESS, "group", body, pin=CONSUMER.inbox)
        for seq, body in ((1, b"earlier"), (2, b"both"))
    )
    shipping.committed(earlier, None)
    if is_shipped:
        shipping.sender.ship(1.0)
    shipping.committed(later, None, absorbed=1)
    shipping.sender.ship(1.0)
    if is_shipped:
        assert (links.sent, links.after) == ([b"earlier", b"both"], [0, 1])
        shipping.sender.replied(messages.Kind.RECORD, 1, messages.Status.OK, b"null")
    else:
        assert (links.sent, links.after) == ([b"both"], [0])
    shipping.sender.replied(messages.Kind.RECORD, 2, messages.Status.OK, b"null")
    assert shipping.sender.depth() == 0


def test_what_cannot_be_bound_to_its_consumer_is_not_shipped_until_it_can(
    store: store_module.Store,
    calls: "queue.Queue[Callable[[], None]]",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unbound = dataclasses.replace(_entry("here", b"a command"), consumer=None)
    store.wait(lambda journal: journal.outbox.append_many([unbound]))
    links = _Links("here")
    links.directory.update("endpoint", ADDRESS, [CONSUMER, OTHER_CONSUMER])
    shipping = outgoing.Outgoing(links, store, surroundings.Limits(), own=True)
    left = store.left_over()["here"]
    shipping.restore(left.records, left.streams)
    with monkeypatch.context() as broken:

        def fail(*_: object) -> None:
            raise errors.JournalFull("no room")

        broken.setattr(outbox.Outbox, "pin_many", fail)
        shipping.sender.ship(1.0)
        for _ in range(2):
            calls.get(timeout=30)()
            shipping.sender.ship(1.0)
        assert links.sent == []
    shipping.tick(1.0)
    while not links.sent:
        calls.get(timeout=30)()
        shipping.sender.ship(1.0)
    assert links.sent == [b"a command"]
    page = store.wait(lambda journal: journal.outbox.pending(ADDRESS, 0, 10, 1 << 20))
    assert page[0].consumer in (CONSUMER.inbox, OTHER_CONSUMER.inbox)
