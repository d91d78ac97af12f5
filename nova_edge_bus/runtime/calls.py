# SPDX-License-Identifier: Apache-2.0
"""Calls as the driver wants them made, and their round trips."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator

from nova_edge_bus import addressing
from nova_edge_bus import concurrency
from nova_edge_bus.autonomy import keeper
from nova_edge_bus.delivery import streams
from nova_edge_bus.journal import entries
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import bus as bus_module
from nova_edge_bus.runtime import pending
from nova_edge_bus.runtime import runtime as runtime_module


@dataclasses.dataclass(frozen=True)
class Call:
    """A call as the driver wants it made; times in seconds.

    The rest is for a process that goes on while its centre cannot be reached: a ``refusable`` call
    fails soon, the reply to one that ``is_learned`` is remembered, a ``mergeable`` record may take
    up an earlier one of the same object, a ``conditional`` one is compared with the present state
    first, and one that ``goes_last`` is applied after everything older. A read that
    ``wants_the_centre`` is not answered from before a cut when the cut is over.
    """

    address: str
    group: str
    method: str
    body: bytes
    timeout: float | None = None
    monitor: float | None = None
    repeatable: bool = False
    mandatory: bool = False
    refusable: bool = False
    is_learned: bool = False
    mergeable: bool = False
    conditional: bool = False
    goes_last: bool = False
    wants_the_centre: bool = False

    def with_timeout(self, timeout: float | None) -> Call:
        """The same call with another time to wait."""
        return dataclasses.replace(self, timeout=timeout)


class RoundTrips:
    """Sends calls and entries over one bus. In the callers' threads."""

    def __init__(self, runtime: runtime_module.Runtime, bus: bus_module.Bus) -> None:
        self._runtime = runtime
        self._bus = bus
        self.outgoing = bus.own

    @contextlib.contextmanager
    def request(
        self, call: Call, waiter: pending.Pending, moment: keeper.Moment | None = None
    ) -> Iterator[None]:
        """Send an unjournaled call whose reply *waiter* gets; given up when the block raises.

        :param moment: when it was sent, in the time of the snapshot that the reply goes into
        """
        number = self.outgoing.next_call()
        expires = None if call.timeout is None else concurrency.monotonic() + call.timeout
        item = streams.Item(
            kind=messages.Kind.REQUEST,
            number=number,
            key=call.address,
            group=call.group,
            body=call.body,
            repeatable=call.repeatable,
            mandatory=call.mandatory,
            expires=expires,
            monitor=call.monitor or 0.0,
        )
        own = self.outgoing
        self._runtime.call_soon(lambda: own.call(item, waiter, moment))
        try:
            yield
        except BaseException:
            self._runtime.call_soon(lambda: own.abandon(item.kind, number))
            raise

    def record(self, call: Call, waiter: pending.Pending) -> None:
        """Append and ship a record; *waiter* gets the reply, or the error of the journal."""
        self.append(messages.Kind.RECORD, call, waiter)

    def entry(
        self,
        kind: messages.Kind,
        call: Call,
        consumer: messages.Consumer | None = None,
        expires_at: float | None = None,
    ) -> entries.NewEntry:
        """What goes into the journal for *call*."""
        return entries.NewEntry(
            link=self._bus.link,
            address=call.address,
            kind=int(kind),
            group=call.group,
            method=call.method,
            body=call.body,
            consumer=consumer.inbox if consumer else None,
            created_at=time.time(),
            expires_at=expires_at,
        )

    def append(
        self, kind: messages.Kind, call: Call, waiter: pending.Pending, ttl: float | None = None
    ) -> None:
        """Journal *call* and ship it; for a caller who is going to wait for *waiter*.

        *waiter* gets the reply to a record, and learns that a command is on disk.
        """
        consumer = self._choose(call)
        expires_at = None if ttl is None else time.time() + ttl
        entry = self.entry(kind, call, consumer, expires_at)
        expires = None if ttl is None else concurrency.monotonic() + ttl
        is_record = kind == messages.Kind.RECORD
        outgoing = self.outgoing
        autonomy = self._bus.autonomy

        def done(seq: int | None, error: Exception | None) -> None:
            if seq is None:
                failure = error or RuntimeError("the entry has no number")
                if consumer is not None and call.group:
                    address, pool = streams.split_key(call.address)
                    self._bus.directory.release(address, call.group, pool or "")
                concurrency.post(lambda: waiter.fail(failure))
                return
            item = streams.Item(
                kind=kind,
                number=seq,
                key=call.address,
                group=call.group,
                body=call.body,
                pin=entry.consumer,
                consumer=consumer,
                bound=consumer is not None and bool(call.group),
                goes_last=call.goes_last,
                expires=expires,
            )
            waiter.number = seq
            if not is_record:
                concurrency.post(lambda: waiter.resolve(0, b""))
            if is_record and autonomy is not None:
                autonomy.committed(call.address, seq, call.body)
            self._runtime.call_soon(
                lambda: outgoing.committed(item, waiter if is_record else None)
            )

        self._runtime.store.append(entry, done, waits=True)

    def _choose(self, call: Call) -> messages.Consumer | None:
        """Whose turn it is, if that is known; the choice goes to disk with the entry."""
        address, pool = streams.split_key(call.address)
        if addressing.is_server_directed(address):
            return None
        return self._bus.directory.pick(address, call.group, pool or "")
