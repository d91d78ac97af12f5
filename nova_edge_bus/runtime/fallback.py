# SPDX-License-Identifier: Apache-2.0
"""Calls of a process that goes on while its centre cannot be reached. In the callers' threads.

A call makes the round trip while its destination is linked. When it is cut off, the call falls
back at once: a write is journaled and answered here, a read is answered from the snapshot. What
cannot be answered here waits for the link to return, until its own time is up; a call that must
not be repeated, and whose caller had better know soon, gives up after ``refuse_after``.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable
from typing import TypeVar

from nova_edge_bus import concurrency
from nova_edge_bus import settings as settings_module
from nova_edge_bus.autonomy import local_write
from nova_edge_bus.autonomy import states
from nova_edge_bus.delivery import streams
from nova_edge_bus.journal import journal as journal_module
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import autonomy as autonomy_module
from nova_edge_bus.runtime import calls
from nova_edge_bus.runtime import pending
from nova_edge_bus.runtime import runtime as runtime_module
from nova_edge_bus.runtime import store as store_module

Reply = tuple[int, bytes]
T = TypeVar("T")

POLL_SECONDS = 0.02
"""How often a caller that waits for a link looks for it."""


class Fallback:
    """Makes calls for one client of a bus that has an autonomy.

    :param round_trips: makes the calls while linked
    """

    def __init__(
        self,
        runtime: runtime_module.Runtime,
        autonomy: autonomy_module.Autonomy,
        round_trips: calls.RoundTrips,
        settings: settings_module.Settings,
    ) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._autonomy = autonomy
        self._round_trips = round_trips
        self._settings = settings

    def request(self, call: calls.Call) -> Reply:
        """Make an unjournaled call; see :meth:`nova_edge_bus.runtime.client.Client.request`."""
        keeper = self._autonomy.keeper
        destination = self._autonomy.destination(call.address)
        clock = _Clock(call, self._settings.refuse_after)
        self._await_older_writes(destination, call, clock)
        while True:
            waiter = pending.Pending()
            if destination.join(waiter):
                try:
                    return self._linked_request(call, waiter, clock)
                except pending.Interrupted:
                    continue
                finally:
                    destination.leave(waiter)
            self._await_catch_up(destination, call, clock)
            answer = self._operate(lambda _: self._answer(call))
            if answer is not None and not destination.is_linked:
                return answer
            if self._operate(lambda journal: keeper.is_hopeless(call.group)):
                clock.refuse()
            clock.cut_off()
            self._await_link(destination, clock)

    def _answer(self, call: calls.Call) -> Reply | None:
        """An operation of the journal."""
        answer = self._autonomy.keeper.answer(call.body)
        if answer is not None:
            self._autonomy.figures.read_here += 1
        return answer

    def _linked_request(self, call: calls.Call, waiter: pending.Pending, clock: _Clock) -> Reply:
        moment = self._autonomy.keeper.ask() if call.is_learned else None
        with self._round_trips.request(clock.limit(call), waiter, moment):
            try:
                return waiter.wait(clock.left(), call.monitor)
            except pending.Interrupted:
                if call.repeatable:
                    raise
                clock.cut_off()
                return waiter.wait(clock.left(), call.monitor)

    def record(self, call: calls.Call) -> Reply:
        """Journal a call; see :meth:`nova_edge_bus.runtime.client.Client.record`."""
        destination = self._autonomy.destination(call.address, takes_records=True)
        clock = _Clock(call, self._settings.refuse_after)
        while True:
            if self._settings.write_behind and not call.conditional:
                answer = self._write(destination, call, even_linked=True)
                if answer is not None:
                    return answer
            waiter = pending.Pending()
            if destination.join(waiter):
                try:
                    self._round_trips.record(call, waiter)
                    return self._linked_record(call, waiter, clock)
                finally:
                    destination.leave(waiter)
            answer = self._write(destination, call, even_linked=False)
            if answer is not None:
                return answer
            self._await_link(destination, clock)

    def _linked_record(self, call: calls.Call, waiter: pending.Pending, clock: _Clock) -> Reply:
        try:
            return waiter.wait(clock.left(), call.monitor)
        except pending.Interrupted:
            while waiter.number is None and not waiter.is_answered:
                # It is on its way to the disk.
                clock.pause()
        seq = waiter.number
        if seq is not None:
            keeper = self._autonomy.keeper
            answer = self._operate(lambda it: keeper.answer_in_flight(it, seq, call.body))
            if answer is not None:
                self._amend(seq, answer.body)
                return answer.status, answer.reply
        return waiter.wait(clock.left(), call.monitor)

    def _amend(self, seq: int, body: bytes | None) -> None:
        if body is not None:
            sender = self._round_trips.outgoing.sender
            self._runtime.call_soon(lambda: sender.amended(seq, body))

    def _write(
        self, destination: states.Destination, call: calls.Call, *, even_linked: bool
    ) -> Reply | None:
        """Journal a write and answer it here; None when only the centre can."""
        if not destination.enter(even_linked=even_linked):
            return None
        candidates = self._autonomy.candidates(destination) if call.mergeable else None
        entry = self._round_trips.entry(messages.Kind.RECORD, call)
        write = local_write.LocalWrite(self._autonomy.keeper, entry, candidates)

        def done(written: local_write.Outcome | None, error: Exception | None) -> None:
            if written is None or written.seq is None:
                destination.entered(None)
                return
            write.committed()
            self._autonomy.figures.written_here += 1
            self._autonomy.keeper.appended(written.seq)
            destination.entered(written.seq)
            self._ship(call, written)

        written = self._operate(write.run, done)
        return None if written is None else (written.status, written.reply)

    def _ship(self, call: calls.Call, written: local_write.Outcome) -> None:
        assert written.seq is not None
        assert written.entry is not None
        item = streams.Item(
            kind=messages.Kind.RECORD,
            number=written.seq,
            key=call.address,
            group=call.group,
            body=written.entry.body,
            goes_last=call.goes_last,
        )
        outgoing = self._round_trips.outgoing
        self._runtime.call_soon(lambda: outgoing.committed(item, None, written.absorbed))

    def _operate(
        self,
        op: Callable[[journal_module.Journal], T],
        then: Callable[[T | None, Exception | None], None] | None = None,
    ) -> T | None:
        """Run an operation of the journal and wait for what it returns.

        :param then: is told what became of it before the caller is, once in any case; on the
            writer's thread, or on the caller's when the writer does not take the operation
        :raises JournalError: when the journal cannot be used
        """
        waiter = pending.Pending()
        outcome: list[T | None] = [None]

        def done(result: T | None, error: Exception | None) -> None:
            if then is not None:
                then(result, error)
            outcome[0] = result
            if error is not None:
                concurrency.post(functools.partial(waiter.fail, error))
            else:
                concurrency.post(functools.partial(waiter.resolve, 0, b""))

        try:
            self._store.submit(op, done, waits=True)
        except Exception as error:
            if then is not None:
                then(None, error)
            raise
        waiter.wait(store_module.OPEN_TIMEOUT)
        return outcome[0]

    @staticmethod
    def _await_catch_up(destination: states.Destination, call: calls.Call, clock: _Clock) -> None:
        """A read that must not be answered from before a cut waits until that is over.

        Not for ever: for half of its time, and not while nobody can be reached.
        """
        if destination.state is not states.State.CATCHING_UP or not call.wants_the_centre:
            return
        with contextlib.suppress(TimeoutError):
            half = clock.half()
            while destination.state is states.State.CATCHING_UP:
                half.pause()

    @staticmethod
    def _await_link(destination: states.Destination, clock: _Clock) -> None:
        """Wait until the destination is linked.

        :raises TimeoutError: when the call's time is up before
        """
        while not destination.is_linked:
            clock.pause()

    def _await_older_writes(
        self, destination: states.Destination, call: calls.Call, clock: _Clock
    ) -> None:
        """With write_behind, a read that belongs to no group waits for all writes before it.

        One that has a group waits for the writes of that at the sender.
        """
        if not self._settings.write_behind or call.group:
            return
        while destination.is_linked and destination.takes_records:
            clock.pause()


class _Clock:
    """How long a caller still waits."""

    def __init__(self, call: calls.Call, refuse_after: float) -> None:
        self._now = concurrency.monotonic
        self._deadline = None if call.timeout is None else self._now() + call.timeout
        self._soon = refuse_after
        self._refuse_after = refuse_after if call.refusable else None

    def left(self) -> float | None:
        """Seconds, or None for ever."""
        return None if self._deadline is None else self._deadline - self._now()

    def half(self) -> _Clock:
        """A clock for half of the time that is left."""
        made = copy.copy(self)
        if made._deadline is not None:
            made._deadline -= (made._deadline - made._now()) / 2
        return made

    def pause(self) -> None:
        """Let a little time pass.

        :raises TimeoutError: when none is left
        """
        left = self.left()
        if left is not None and left <= 0:
            raise TimeoutError
        concurrency.pause(POLL_SECONDS if left is None else min(POLL_SECONDS, left))

    def limit(self, call: calls.Call) -> calls.Call:
        """The call with the time that is left."""
        return call.with_timeout(self.left())

    def refuse(self) -> None:
        """The call had better fail soon, though it could wait."""
        self._refuse_after = self._soon

    def cut_off(self) -> None:
        """The destination is cut off: what can be refused is, before long."""
        if self._refuse_after is not None:
            soon = self._now() + self._refuse_after
            self._deadline = soon if self._deadline is None else min(self._deadline, soon)
            self._refuse_after = None
