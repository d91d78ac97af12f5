# SPDX-License-Identifier: Apache-2.0
"""The snapshot: what a nova-compute is told by itself while the centre is out of reach."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from nova_edge_bus.snapshot import answers
from nova_edge_bus.snapshot import calls
from nova_edge_bus.snapshot import effects
from nova_edge_bus.snapshot import eviction
from nova_edge_bus.snapshot import learning
from nova_edge_bus.snapshot import local_writes
from nova_edge_bus.snapshot import questions
from nova_edge_bus.snapshot import rows
from nova_edge_bus.snapshot import rules
from nova_edge_bus.snapshot.knowledge import Knowledge
from nova_edge_bus.snapshot.outcomes import Answer
from nova_edge_bus.snapshot.outcomes import Failure

Context = Mapping[str, Any]


class Snapshot:
    """Last known central state under this host's own unsettled writes.

    One thread calls it. Messages are RPC messages ``{method, args, version}``, replies and
    failures parsed JSON. ``context`` is the request context that travels with a message; without
    one it is an administrator's that does not see deleted rows.

    :param host: the host whose instances are kept whatever *limit_bytes* says
    :param limit_bytes: beyond this, what was used least recently is forgotten
    """

    def __init__(self, *, host: str, limit_bytes: int) -> None:
        self._host = host
        self._limit_bytes = limit_bytes
        self._known = Knowledge()
        self._lost_rows: set[str] = set()
        self._lives = 0

    def moment(self) -> int:
        """Return a mark to pass as *asked_at* when the reply to a read sent now arrives."""
        return self._known.tick

    def learn(
        self,
        message: Mapping[str, Any],
        reply: Any,
        *,
        context: Context | None = None,
        asked_at: int | None = None,
    ) -> None:
        """Take over the centre's reply to a read, or to a create or destroy.

        Fields that an unsettled write of ours changes keep our value.

        :param asked_at: what moment() said when the read was sent; objects that have changed
            since keep their newer fields
        """
        call = calls.parse(message)
        if call is None:
            return
        self._learn(call, reply, calls.scope_of(context), asked_at)
        if self._known.downgraded:
            self.forget()
            self._learn(call, reply, calls.scope_of(context), asked_at)
        eviction.shrink(self._known, self._host, self._limit_bytes)

    def _learn(
        self, call: calls.Call, reply: Any, scope: calls.Scope, asked_at: int | None
    ) -> None:
        tick = self._known.step()
        if call.target is not None:
            learning.learn_action(self._known, call, reply)
            return
        question = rules.question(call, scope)
        if question is not None:
            asked = tick if asked_at is None else asked_at
            learning.learn_question(self._known, question, reply, asked)

    def learn_failure(
        self,
        message: Mapping[str, Any],
        failure: Mapping[str, Any],
        *,
        context: Context | None = None,
    ) -> None:
        """Take note that the centre refused a read because there is no such instance.

        :param failure: has at least ``class``, the name of the exception's class
        """
        call = calls.parse(message)
        scope = calls.scope_of(context)
        # Whoever is no administrator is told the same of the instances of others.
        if call is None or not scope.is_admin or failure.get("class") != "InstanceNotFound":
            return
        self._known.step()
        uuid = call.data.get("uuid") or call.data.get("instance_uuid")
        question = rules.question(call, scope)
        if isinstance(question, questions.FieldQuestion):
            uuid = question.instance
        elif call.name == "Instance" and call.positional:
            uuid = call.positional[0]
        entity = self._known.entities.get("Instance", str(uuid))
        if entity is not None:
            self._known.gone(entity)

    def learn_command(self, message: Mapping[str, Any]) -> None:
        """Take over the objects inside a command or call from the centre."""
        self._known.step()
        learning.learn_command(self._known, message)

    def wrote(self, seq: int, message: Mapping[str, Any]) -> None:
        """Take note of a write of ours that is in the journal, under its seq.

        Writes to an object lie over each other in the order of their seqs.
        """
        call = calls.parse(message)
        if call is None:
            return
        self._known.step()
        for write in effects.writes_of(seq, call, self._known.entities):
            self._known.write(write)
        for instance, field in effects.outdated_fields(call):
            self._known.drop_field(instance, field)
        if effects.outdated_facts(call):
            self._known.drop_facts()

    def before(self, message: Mapping[str, Any], seq: int = sys.maxsize) -> dict[str, Any]:
        """Return what is known of the row that a write is about to change.

        For whoever applies the write much later: ``instance_host``, the host of the instance, if
        that is known or was until a write was refused, and ``base``, the fields of it whose values
        are sets of keys.

        :param seq: the write's own, when it is in the journal already
        """
        call = calls.parse(message)
        known = self._known
        return {} if call is None else effects.before(call, known.entities, seq, known.parted)

    def retract(self, seq: int) -> None:
        """Take note that a write of ours is not in the journal after all, or not any more."""
        self._known.step()
        self._known.retract(seq)

    def unsettled(self) -> list[int]:
        """Return the seqs of our writes that are neither settled nor retracted."""
        return sorted(self._known.writes)

    def settled(self, seq: int, reply: Any | None, failure: Mapping[str, Any] | None) -> None:
        """Take note that the centre applied a write of ours, or refused it.

        :param reply: the centre's, null when it is not known
        :param failure: has at least ``class``, the name of the exception's class
        """
        self._known.step()
        self._known.settle(seq, reply, failure)

    @property
    def revision(self) -> tuple[int, int]:
        """Stays the same only as long as everything that could be answered still can be."""
        return self._lives, self._known.revision

    def nodes_of(self, host: str) -> list[tuple[str, int]]:
        """Return name and id of the known compute nodes of *host*."""
        return sorted(
            (str(each.view.get("hypervisor_hostname")), each.view["id"])
            for each in self._known.entities.of("ComputeNode")
            if each.view.get("host") == host and not each.view.get("deleted")
        )

    def instances_of(self, host: str) -> list[str]:
        """Return the uuids of the known instances that are on *host*."""
        return sorted(
            each.key
            for each in self._known.entities.of("Instance")
            if each.view.get("host") == host and not each.view.get("deleted")
        )

    def is_being_built(self, instance: str) -> bool:
        """Tell whether the instance with this uuid is known, and not yet built."""
        entity = self._known.entities.get("Instance", instance)
        return entity is not None and entity.view.get("vm_state") == "building"

    def answer(
        self, message: Mapping[str, Any], *, context: Context | None = None
    ) -> Answer | None:
        """Return the complete reply to a read, None when only the centre can tell."""
        call = calls.parse(message)
        if call is None:
            return None
        self._known.step()
        return answers.answer(self._known, call, calls.scope_of(context))

    def answer_write(
        self,
        message: Mapping[str, Any],
        *,
        context: Context | None = None,
        before: int = sys.maxsize,
    ) -> Answer | Failure | None:
        """Return what a write comes to, None when only the centre can tell.

        It is not laid over the objects yet; see wrote().

        :param before: its seq, when it is in the journal already; later writes do not count
        """
        call = calls.parse(message)
        if call is None:
            return None
        return local_writes.answer_write(self._known, call, calls.scope_of(context), before)

    def dump(self) -> Iterator[tuple[str, bytes]]:
        """Yield the whole state as rows for load()."""
        yield from rows.dump(self._known)

    def changes(self) -> list[tuple[str, bytes | None]]:
        """Return the rows that differ from when this was last called; None deletes a row."""
        changed = rows.changes(self._known)
        lost = self._lost_rows - {key for key, _ in changed}
        self._lost_rows = set()
        return [*changed, *((key, None) for key in sorted(lost))]

    def load(self, kept: Iterable[tuple[str, bytes]]) -> None:
        """Replace the state by what dump() or the changes so far have yielded.

        :raises ValueError: when a row is not part of a snapshot
        """
        self._known = rows.load(kept)
        self._lost_rows = set()
        self._lives += 1

    def size(self) -> int:
        """Return about how many bytes the state takes as JSON."""
        return self._known.entities.bytes + self._known.coverage.bytes

    def forget(self) -> None:
        """Forget everything but our unsettled writes."""
        self._lost_rows.update(key for key, _ in rows.dump(self._known))
        before = self._known
        for instance in before.entities.of("Instance"):
            before.part(instance)
        self._lives += 1
        self._known = Knowledge()
        self._known.parted = before.parted
        self._known.tick = before.tick
        self._known.kept_writes = before.kept_writes
        self._known.dirty_writes = before.dirty_writes
        for writes in before.writes.values():
            for write in writes:
                self._known.write(write)
