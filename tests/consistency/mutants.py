# SPDX-License-Identifier: Apache-2.0
"""Defects put into the product's own code, in the memory of a process of a test.

Each takes one promise away. A run has to tell which; ``test_mutants.py`` says what each is caught
by. Only the programs of this folder ask for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import sqlalchemy
from sqlalchemy import event
from sqlalchemy import orm

from nova_edge_bus.cell import fencing
from nova_edge_bus.cell import once
from nova_edge_bus.cell import reached
from nova_edge_bus.cell import table
from nova_edge_bus.delivery import origins
from nova_edge_bus.delivery import receiver
from nova_edge_bus.delivery import sender
from nova_edge_bus.delivery import senders
from nova_edge_bus.delivery import shipping
from nova_edge_bus.driver import incoming
from nova_edge_bus.journal import outbox
from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import entrance
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import prefetcher
from nova_edge_bus.snapshot import snapshot

_REPLY = b'[{"obj_what_changed": []}, null]'
_KNOWN: dict[tuple[str, int], bool] = {}
"""The entries that a mutant has found to be applied already."""
MUTANTS: dict[str, Callable[[str], None]] = {}


def apply(name: str, database: str = "") -> None:
    """Put a defect into this process; "" for none.

    :param database: the URL of the cell's, where the process has one
    """
    if name:
        MUTANTS[name](database)


def _put(owner: Any, name: str, way: Callable[..., Any]) -> None:
    """Replace what the product has under this name.

    :raises AttributeError: when it has no such thing any more, and the defect would be none
    """
    mock.patch.object(owner, name, way).start()


def _mutant(way: Callable[[str], None]) -> Callable[[str], None]:
    MUTANTS[way.__name__.lstrip("_").replace("_", " ")] = way
    return way


@_mutant
def _row_before_the_transaction(database: str) -> None:
    """The inbox row is committed before nova's transaction begins."""
    if database:
        _note_apart(database, "before")


@_mutant
def _row_after_the_transaction(database: str) -> None:
    """The inbox row is committed when nova's transaction is over."""
    if database:
        _note_apart(database, "after")


def _note_apart(database: str, when: str) -> None:
    """Write the rows of the inbox by a connection of their own."""
    engine = sqlalchemy.create_engine(database)
    acknowledge = incoming.RpcIncoming.acknowledge

    def insert(applying: once.Applying) -> bool:
        try:
            with engine.begin() as connection:
                connection.execute(table.inbox.insert(), applying.row(0))
        except sqlalchemy.exc.IntegrityError:
            return False
        return True

    def acknowledged(self: incoming.RpcIncoming) -> None:
        acknowledge(self)
        applying = self._applying
        if applying is None:
            return
        if when == "before":
            known = not insert(applying)
        else:
            with engine.connect() as connection:
                known = applying._has_row(connection, 0)
        _KNOWN[applying.outbox, applying.seq] = known

    def note(connection: Any, applying: once.Applying, row: Any) -> None:
        if _KNOWN.get((applying.outbox, applying.seq)):
            once._empty(connection)

    def committed(session: orm.Session) -> None:
        applying = once._current.get()
        if applying is not None and applying.outbox and not session.in_nested_transaction():
            insert(applying)

    _put(incoming.RpcIncoming, "acknowledge", acknowledged)
    _put(once, "_note", note)
    if when == "after":
        event.listen(orm.Session, "after_commit", committed)


@_mutant
def _no_row(database: str) -> None:
    """Nobody writes down what was applied, and so everything may be applied again."""
    _put(once, "_note", lambda *args: None)


@_mutant
def _epoch_ignored(database: str) -> None:
    """An older owner of a journal is taken for the present one.

    Of the epoch alone not much would be seen: where a conductor has heard of the floor of the
    newer one, the numbers of the older owner lie below it. So that is taken away as well.
    """
    _put(entrance, "fence", lambda hello, holder: None)
    _put(senders.Senders, "is_fenced", lambda self, item: False)
    _put(receiver.Receiver, "_raise_floor", lambda *args: None)
    _put(once.Applying, "lies_below_floor", lambda *args: False)
    _put(once.Applying, "comes_too_late", lambda *args: False)


@_mutant
def _epoch_forgotten(database: str) -> None:
    """Conductors know the epochs that they have heard of themselves, and the database none."""
    _put(reached.Reached, "reach", lambda *args: None)


@_mutant
def _numbers_used_again(database: str) -> None:
    """A journal that is opened again goes on with the number after its last one."""
    _put(outbox.Outbox, "skip_ahead", lambda self: None)


@_mutant
def _predecessor_ignored(database: str) -> None:
    """What names a predecessor is dispatched before that one is done."""
    _put(origins.Origin, "must_wait", lambda self, item: False)


@_mutant
def _batch_reordered(database: str) -> None:
    """What goes into one packet is turned round, and names no predecessor."""
    _turn_round(lambda each: each._replace(after=0))


@_mutant
def _batch_alone_reordered(database: str) -> None:
    """What goes into one packet is turned round, and names its predecessors as before."""
    _turn_round(lambda each: each)


def _turn_round(change: Callable[[messages.Deliver], messages.Deliver]) -> None:
    encode = codec.Codec.encode

    def turned_round(self: codec.Codec, batch: Any, **options: Any) -> bytes:
        if all(type(each) is messages.Deliver for each in batch):
            batch = [change(each) for each in reversed(batch)]
        return encode(self, batch, **options)

    _put(codec.Codec, "encode", turned_round)


@_mutant
def _overlay_off(database: str) -> None:
    """What is written at the edge is not seen there before the centre has it."""
    _put(snapshot.Snapshot, "wrote", lambda self, seq, message: None)


@_mutant
def _settled_writes_forgotten(database: str) -> None:
    """A write that is settled leaves the overlay, and the view below it does not take it in.

    What is asked ahead would make up for it, a moment after the link is back.
    """
    _put(snapshot.Snapshot, "settled", lambda self, seq, reply, failure: self.retract(seq))
    _put(prefetcher.Prefetcher, "tick", lambda self, address, now: None)


@_mutant
def _settled_when_shipped(database: str) -> None:
    """A record counts as applied as soon as it is handed to a socket."""
    transmit, ship = shipping.Shipper._transmit, sender.Sender.ship
    shipped: list[int] = []

    def transmitted(self: shipping.Shipper, stream: Any, item: Any, *rest: Any) -> bool:
        done = transmit(self, stream, item, *rest)
        if done and item.kind == messages.Kind.RECORD:
            shipped.append(item.number)
        return done

    def settle(self: sender.Sender, now: float) -> None:
        ship(self, now)
        while shipped:
            self.replied(messages.Kind.RECORD, shipped.pop(), messages.Status.OK, _REPLY)

    _put(shipping.Shipper, "_transmit", transmitted)
    _put(sender.Sender, "ship", settle)


@_mutant
def _fence_off(database: str) -> None:
    """What the edge wrote lands wherever the instance is by now."""
    _put(fencing.Fence, "check", lambda self, connection: None)
