# SPDX-License-Identifier: Apache-2.0
"""A compute's site is cut off while edge and centre change the same servers, and comes back.

The runner makes it happen and keeps what became of it; it asserts nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from nova_edge_bus.autonomy import bodies
from nova_edge_bus.journal import entries
from tests.nova import hypervisor
from tests.nova import journals
from tests.nova import timeline
from tests.nova import witness
from tests.nova.bus import journal_directory
from tests.nova.processes import Process
from tests.nova.processes import wait_until
from tests.nova.stack import Compute
from tests.nova.stack import NovaStack
from tests.nova.timeline import CentralState

STOPPED = "crashes, and is stopped by a user"
DELETED = "crashes, and is deleted while the service counts as up"
REMOVED = "crashes, and is deleted while the service is down"
EVACUATED = "crashes, and is evacuated"
LOST = "is lost while it is being paused, and is evacuated"
SUSPENDED = "is being suspended, and gets metadata from a user"
RESET = "is being paused, and is reset by an administrator"
OTHER = "pauses, and nobody touches it"
CRASHING = (STOPPED, DELETED, REMOVED, EVACUATED)
IN_OPERATION = ((SUSPENDED, "suspend"), (RESET, "pause"), (LOST, "pause"))
ROLES = (*CRASHING, SUSPENDED, RESET, LOST, OTHER)

BY_USER = {"owner": "a user"}
BY_CENTRE = ("image_hw_disk_bus", "virtio")
"""A key of system_metadata that is set at the centre, as `nova-manage image_property set` does."""
_OPERATION_SECONDS = 4.0
_SECONDS = 60
_LINKED_SECONDS = 30


@dataclasses.dataclass(frozen=True)
class Written:
    """One entry about a server; `name` is that of the object's action, such as Instance.save."""

    seq: int
    name: str
    server_id: str
    outcome: entries.Outcome | None
    reason: str | None


@dataclasses.dataclass
class Conflicts:
    """What became of everything, by role where nothing else is said.

    :ivar written: the entries about servers since the cut, in their order
    :ivar before: the rows of the cell's table of instances at the end of the cut
    :ivar after: the same when everything was applied
    :ivar guests: what the first compute's hypervisor had then
    :ivar guests_restarted: what it had after nova-compute was started once more
    :ivar refuge: what the second compute's hypervisor had
    :ivar keys: the keyed fields of the suspended server, by the table that they are in
    :ivar faults: one for each fault
    :ivar unfinished: one for each event of an action without a result
    """

    ids: dict[str, str]
    written: list[Written] = dataclasses.field(default_factory=list)
    before: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    after: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    centre: Mapping[str, CentralState] = dataclasses.field(default_factory=dict)
    guests: Mapping[str, str] = dataclasses.field(default_factory=dict)
    guests_restarted: Mapping[str, str] = dataclasses.field(default_factory=dict)
    refuge: Mapping[str, str] = dataclasses.field(default_factory=dict)
    keys: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    faults: list[str] = dataclasses.field(default_factory=list)
    unfinished: list[str] = dataclasses.field(default_factory=list)

    def of(self, role: str, *outcomes: entries.Outcome) -> list[Written]:
        """Return the entries about a server that ended so."""
        return [
            each
            for each in self.written
            if each.server_id == self.ids[role] and each.outcome in outcomes
        ]


def run(stack: NovaStack, conductor: Process) -> Conflicts:
    """Let everything happen at the first compute, and catch up with this conductor alone.

    The servers are left in place, and all conductors run again.
    """
    return _Run(stack, conductor).run()


def written(compute: Compute, after: int) -> list[Written]:
    """Return the entries about servers with a seq beyond *after*, whatever their outcome."""
    found = [
        each
        for outcome in (None, *entries.Outcome)
        if outcome is not entries.Outcome.ACCEPTED
        for each in journals.settled(journal_directory(compute.state), outcome)
    ]
    named = [_written(each) for each in found if each.seq > after and each.body]
    return sorted((each for each in named if each is not None), key=lambda each: each.seq)


def pending(compute: Compute) -> int:
    """Return how many entries wait for their outcome."""
    return journals.entries_pending(journal_directory(compute.state))


def last_seq(compute: Compute) -> int:
    """Return the seq of the compute's last entry."""
    return journals.last_seq(journal_directory(compute.state))


def boot(stack: NovaStack, compute: Compute, names: tuple[str, ...]) -> dict[str, str]:
    """Boot servers and return their ids by name once the edge knows them well."""
    ids = {name: stack.client.create(name[:40], host=compute.host) for name in names}
    for each in ids.values():
        stack.client.wait_for(each, "ACTIVE")
    witness.Witness(compute).wait_for_turns(witness.POWER_SYNC)
    return ids


class _Run:
    def __init__(self, stack: NovaStack, conductor: Process) -> None:
        self._stack = stack
        self._client = stack.client
        self._conductor = conductor
        self._compute, self._refuge = stack.computes
        self._result = Conflicts(boot(stack, self._compute, ROLES))
        self._ids = self._result.ids
        self._after = last_seq(self._compute)

    def run(self) -> Conflicts:
        guests = self._compute.hypervisor
        self._begin_operations()
        seen = witness.Witness(self._compute)
        others = [each for each in self._stack.conductors if each is not self._conductor]
        with self._compute.site.cut_off():
            for role in CRASHING:
                guests.set_state(self._ids[role], hypervisor.CRASHED)
            guests.set_state(self._ids[OTHER], hypervisor.PAUSED)
            guests.undefine(self._ids[LOST])
            self._act_while_up()
            wait_until(lambda: " is cut off: " in seen.log(), _SECONDS, "the cut to be noticed")
            self._act_while_down()
            for each in others:
                each.kill()
            wait_until(self._edge_is_through, _SECONDS, "the edge to get on by itself")
            guests.slow_down()
            self._result.before = self._servers()
        self._catch_up()
        for each in others:
            self._stack.start_conductor(each)
        self._look()
        self._restart()
        self._result.written = written(self._compute, self._after)
        return self._result

    def _begin_operations(self) -> None:
        slow = {"suspend": _OPERATION_SECONDS, "pause": _OPERATION_SECONDS}
        self._compute.hypervisor.slow_down(**slow)
        for role, action in IN_OPERATION:
            self._client.act(self._ids[role], action)
            event = f"compute_{action}_instance"
            wait_until(
                lambda role=role, event=event: any(
                    each["event"] == event
                    for action in self._client.actions(self._ids[role])
                    for each in action["events"]
                ),
                _SECONDS,
                event,
            )

    def _act_while_up(self) -> None:
        """What users do before anybody knows of the cut: what they cast waits for the heal."""
        self._client.act(self._ids[STOPPED], "os-stop")
        self._client.request_delete(self._ids[DELETED])
        self._client.set_metadata(self._ids[SUSPENDED], BY_USER)
        witness.change(
            self._stack,
            "INSERT INTO instance_system_metadata (instance_uuid, key, value, deleted)"
            " VALUES (:uuid, :key, :value, 0)",
            uuid=self._ids[SUSPENDED],
            key=BY_CENTRE[0],
            value=BY_CENTRE[1],
        )
        self._client.act(self._ids[RESET], "os-resetState", {"state": "active"})

    def _act_while_down(self) -> None:
        """What an operator does who takes the host for lost."""
        self._client.force_down(self._compute.host, True)
        self._client.delete(self._ids[REMOVED])
        for role in (EVACUATED, LOST):
            self._client.evacuate(self._ids[role], self._refuge.host)
            self._client.start(self._ids[role])

    def _edge_is_through(self) -> bool:
        """Whether nova-compute has stopped what crashed, and has ended what was under way."""
        finished = {
            each.server_id
            for each in written(self._compute, self._after)
            if each.name.startswith("InstanceActionEvent.event_finish")
        }
        roles = (*CRASHING, *(role for role, _ in IN_OPERATION))
        saved = {each.server_id for each in written(self._compute, self._after)}
        return finished >= {self._ids[role] for role in roles} and self._ids[OTHER] in saved

    def _catch_up(self) -> None:
        wait_until(lambda: pending(self._compute) == 0, _SECONDS, "the outbox to drain")
        self._client.wait_for(self._ids[STOPPED], "SHUTOFF")
        self._client.wait_gone(self._ids[DELETED])
        guests = self._compute.hypervisor
        for role in (DELETED, REMOVED):
            wait_until(
                lambda role=role: guests.find(self._ids[role]) is None, _SECONDS, "the reaper"
            )
        wait_until(
            lambda: self._centre()[RESET].power_state == "PAUSED", _SECONDS, "the power sync"
        )
        wait_until(lambda: pending(self._compute) == 0, _SECONDS, "the outbox to drain again")

    def _look(self) -> None:
        result = self._result
        result.after = self._servers()
        result.centre = self._centre()
        result.guests = self._guests(self._compute)
        result.refuge = self._guests(self._refuge)
        result.keys = {
            table: {
                row["key"]: row["value"]
                for row in self._rows(
                    f"SELECT key, value FROM {table} WHERE instance_uuid = :uuid AND deleted = 0",
                    SUSPENDED,
                )
            }
            for table in ("instance_metadata", "instance_system_metadata")
        }
        names = {server_id: role for role, server_id in self._ids.items()}
        result.faults = [
            f"{names[row['instance_uuid']]}: {row['message']}"
            for row in witness.rows(self._stack, "SELECT * FROM instance_faults")
            if row["instance_uuid"] in names
        ]
        result.unfinished = [
            f"{role}: {row['event']}"
            for role in ROLES
            for row in self._rows(
                "SELECT e.event, e.result FROM instance_actions_events e JOIN instance_actions a"
                " ON a.id = e.action_id WHERE a.instance_uuid = :uuid",
                role,
            )
            if row["result"] is None
        ]

    def _restart(self) -> None:
        """Start nova-compute again and have its service up, as after a real evacuation.

        It may have entries left over, which it ships before it asks what was evacuated.
        """
        self._compute.process.kill()
        self._stack.start_compute(self._compute, expect_up=False)
        self._client.force_down(self._compute.host, False)
        self._stack.wait_linked(self._compute, _LINKED_SECONDS)
        wait_until(lambda: pending(self._compute) == 0, _SECONDS, "an empty outbox")
        self._result.guests_restarted = self._guests(self._compute)

    def _guests(self, compute: Compute) -> dict[str, str]:
        states = timeline.edge_states(compute, list(self._ids.values()))
        return {role: states[server_id] for role, server_id in self._ids.items()}

    def _centre(self) -> dict[str, CentralState]:
        states = timeline.central_states(self._client, list(self._ids.values()))
        return {role: states[server_id] for role, server_id in self._ids.items()}

    def _servers(self) -> dict[str, Mapping[str, Any]]:
        query = "SELECT * FROM instances WHERE uuid = :uuid"
        return {role: self._rows(query, role)[0] for role in ROLES}

    def _rows(self, query: str, role: str) -> list[Mapping[str, Any]]:
        return witness.rows(self._stack, query, uuid=self._ids[role])


def _written(entry: entries.StoredEntry) -> Written | None:
    arguments = bodies.request(entry.body).message.get("args") or {}
    target = arguments.get("objinst") or {}
    data = target.get("nova_object.data") or {}
    if target.get("nova_object.name") == "Instance":
        server_id = data.get("uuid")
    elif target:
        server_id = data.get("instance_uuid")
    else:
        server_id = (arguments.get("args") or [None])[0]
    if not isinstance(server_id, str):
        return None
    return Written(entry.seq, entry.method, server_id, entry.outcome, entry.reason)
