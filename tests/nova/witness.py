# SPDX-License-Identifier: Apache-2.0
"""What one compute has said, logged and journaled since a moment; what the centre has of it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import sqlalchemy

from nova_edge_bus.journal import schema
from tests.nova import database
from tests.nova import rpc_trace
from tests.nova.bus import journal_directory
from tests.nova.processes import wait_until
from tests.nova.stack import Compute
from tests.nova.stack import NovaStack

REAPER = "_cleanup_running_deleted_instances"
AUDIT = "update_available_resource"
POWER_SYNC = "_sync_power_states"
_TURN_SECONDS = 60


class Entry(NamedTuple):
    """One row of an outbox; `message` is None where the body has been dropped.

    `changed_at` is when it was written or settled, in whole seconds since the epoch.
    """

    seq: int
    method: str
    state: schema.State
    changed_at: int
    message: Mapping[str, Any] | None

    @property
    def fields(self) -> Mapping[str, Any]:
        """All fields of the object that travels with an object's action."""
        arguments = (self.message or {}).get("args", {})
        data: Mapping[str, Any] = arguments.get("objinst", {}).get("nova_object.data", {})
        return data


class Witness:
    """Remembers the moment at which it was made."""

    def __init__(self, compute: Compute) -> None:
        """Watch the compute, whichever process it is."""
        self._compute = compute
        self._began = time.time()
        self._log_start = len(compute.process.log_text())
        self._last_seq = max((each.seq for each in entries(compute)), default=0)

    def log(self) -> str:
        """Return what nova-compute has logged since."""
        return self._compute.process.log_text()[self._log_start :]

    def rpcs(self, *ways: str) -> list[dict[str, Any]]:
        """Return the records of RPCs that began since and have ended: `call`, `cast`, `served`."""
        return [
            record
            for record in rpc_trace.read(self._compute.rpc_trace)
            if record["at"] >= self._began and record["way"] in ways
        ]

    def methods(self, *ways: str) -> set[str]:
        """Return the methods of those RPCs."""
        return {record["method"] for record in self.rpcs(*ways)}

    def written(self) -> list[Entry]:
        """Return the outbox entries since, oldest first."""
        return [each for each in entries(self._compute) if each.seq > self._last_seq]

    def wait_for_turns(self, *tasks: str, turns: int = 1) -> None:
        """Return when each of these periodic tasks has run so many times from begin to end.

        :raises NotReadyError: when they have not in time
        """
        for task in tasks:
            # the task that begins once more has ended before
            wait_until(
                lambda task=task: self.log().count(_running(task)) > turns,
                _TURN_SECONDS * turns,
                f"{turns} turns of {task}",
            )


def entries(compute: Compute) -> list[Entry]:
    """Return what the compute's outboxes hold, oldest first."""
    found = []
    for path in journal_directory(compute.state).glob("*.db"):
        query = f"file:{path}?mode=ro"
        with contextlib.closing(sqlite3.connect(query, uri=True)) as connection:
            rows = connection.execute(
                "SELECT seq, method, state, changed_at, body FROM outbox ORDER BY seq"
            )
            found += [
                Entry(seq, method, schema.State(state), at, json.loads(body)[1] if body else None)
                for seq, method, state, at, body in rows
            ]
    return found


def served(stack: NovaStack, method: str, since: float) -> list[dict[str, Any]]:
    """Return the calls of a method that the only conductor has served, in order of their begin.

    :param since: when the first may have begun, in seconds since the epoch
    """
    (conductor,) = stack.conductors
    records = rpc_trace.read(stack.workdir / conductor.name / rpc_trace.FILE)
    wanted = [each for each in records if each["method"] == method and each["at"] >= since]
    return sorted(wanted, key=lambda each: float(each["at"]))


def rows(stack: NovaStack, query: str, **parameters: Any) -> list[Mapping[str, Any]]:
    """Return what the cell's database answers to a query, each row by column."""
    with _cell(stack) as connection:
        found = connection.execute(sqlalchemy.text(query), parameters).mappings()
        return [dict(each) for each in found]


def change(stack: NovaStack, statement: str, **parameters: Any) -> None:
    """Change the cell's database behind everybody's back.

    :raises LookupError: when no row is changed
    """
    with _cell(stack) as connection:
        if not connection.execute(sqlalchemy.text(statement), parameters).rowcount:
            raise LookupError(f"no row for {parameters}: {statement}")


@contextlib.contextmanager
def _cell(stack: NovaStack) -> Any:
    engine = sqlalchemy.create_engine(stack.databases.url(database.CELL1))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _running(task: str) -> str:
    return f"Running periodic task ComputeManager.{task} "
