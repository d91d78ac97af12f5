# SPDX-License-Identifier: Apache-2.0
"""A cell's database that counts effects, and journals with entries that have one each.

It is no nova's: one row for each commit is all that is written, so that a hundred thousand entries
take minutes. How they are known again is the package's own, in the package's own tables.
"""

from __future__ import annotations

import json
import pathlib
import threading
import time
from typing import Any

import oslo_messaging
import sqlalchemy
from sqlalchemy import event
from sqlalchemy import orm

from nova_edge_bus.cell import floors
from nova_edge_bus.cell import sync
from nova_edge_bus.cell import table
from tests.unit.journal import make

GROUPS = 200
_PER_TRANSACTION = 1000
_PADDING = "x" * 600
_TABLE = (
    "CREATE TABLE effects (id INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER, grouping INTEGER)"
)


class Ledger:
    """An RPC endpoint that books each entry's number in a database with the tables of the bus.

    ``booked`` counts the calls, repetitions included.
    """

    target = oslo_messaging.Target(version="3.0")

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        url = f"sqlite:///{path}"
        self._engine = sqlalchemy.create_engine(url)
        event.listen(self._engine, "connect", _without_syncs)
        with self._engine.begin() as connection:
            connection.exec_driver_sql(_TABLE)
        sync.sync(url)
        self._lock = threading.Lock()
        self.booked = 0
        self._hold_at = 0
        self.reached = threading.Event()
        self._gate = threading.Event()

    def hold_at(self, calls: int) -> None:
        """Say by ``reached`` when so many calls have come; that one and the later ones wait."""
        self.reached.clear()
        self._gate.clear()
        self._hold_at = calls

    def go_on(self) -> None:
        """Let them go."""
        self._hold_at = 0
        self._gate.set()

    def nothing(self, ctxt: dict[str, Any]) -> None:
        """Take what makes its sender begin."""

    def book(self, ctxt: dict[str, Any], number: int, group: int, padding: str) -> None:
        """Have an effect."""
        # SQLite has one writer, and does not let those who have read wait for it.
        with self._lock:
            self.booked += 1
            if self.booked == self._hold_at:
                self.reached.set()
            is_held = 0 < self._hold_at <= self.booked
        if is_held:
            self._gate.wait()
        with self._lock, orm.Session(self._engine) as session:
            session.execute(
                sqlalchemy.text("INSERT INTO effects (number, grouping) VALUES (:n, :g)"),
                {"n": number, "g": group},
            )
            session.commit()

    def effects(self) -> dict[int, list[int]]:
        """The numbers booked, by group, in the order of the commits."""
        found: dict[int, list[int]] = {}
        with self._engine.connect() as connection:
            query = "SELECT grouping, number FROM effects ORDER BY id"
            for group, number in connection.exec_driver_sql(query):
                found.setdefault(group, []).append(number)
        return found

    def audit(self, outbox: bytes, topic: str) -> None:
        """Have been asked for a stream, as nova-compute does when it is linked first."""
        claim = floors.Claim(outbox.hex(), table.stream_of(_address(topic)), 0, 0)
        with self._engine.connect() as connection:
            floors.audited(connection, claim, 0)

    def close(self) -> None:
        """Give the connections back, and let nobody wait any more."""
        self._gate.set()
        self._engine.dispose()


def _without_syncs(connection: Any, _: object) -> None:
    # Nobody asks here what a power failure leaves.
    connection.execute("PRAGMA synchronous=OFF")


def in_order(count: int, groups: int = GROUPS) -> dict[int, list[int]]:
    """What :meth:`Ledger.effects` returns when each of *count* entries had its effect once."""
    return {group: list(range(group, count, groups)) for group in range(groups) if group < count}


def journal(path: pathlib.Path, count: int, topic: str, link: str, groups: int = GROUPS) -> bytes:
    """Write a journal with *count* pending records, as a host that was cut off leaves it.

    :returns: the id of its outbox
    """
    with make.opened(path, max_bytes=1 << 32, clock=time.time) as it:
        for first in range(0, count, _PER_TRANSACTION):
            make.append(
                it,
                *(
                    make.entry(
                        link=link,
                        address=_address(topic),
                        group=f"instance:{number % groups:036d}",
                        method="book",
                        body=_body(number, number % groups),
                        created_at=time.time(),
                    )
                    for number in range(first, min(first + _PER_TRANSACTION, count))
                ),
            )
        return it.outbox_id


def _address(topic: str) -> str:
    return f"/openstack/{topic}"


def _body(number: int, group: int) -> bytes:
    arguments = {"number": number, "group": group, "padding": _PADDING}
    return json.dumps([{}, {"method": "book", "args": arguments, "version": "3.0"}]).encode()
