# SPDX-License-Identifier: Apache-2.0
"""What callers use of a bus: sending, waiting, listening. Runs in the callers' threads."""

import dataclasses
import time
from collections.abc import Iterable

from nova_edge_bus import concurrency
from nova_edge_bus import errors
from nova_edge_bus import settings as settings_module
from nova_edge_bus.delivery import origins
from nova_edge_bus.delivery import streams
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import calls
from nova_edge_bus.runtime import fallback
from nova_edge_bus.runtime import mailbox
from nova_edge_bus.runtime import pending
from nova_edge_bus.runtime import registry

LOG = concurrency.NativeLogger(__name__)

ESTABLISH_TIMEOUT = 2.0
"""Seconds to wait until an endpoint knows of a new listener; it goes on trying after that."""
CONSUMED_TIMEOUT = 10.0
"""Seconds that the I/O thread may take to let go of a listener."""
BEGIN_PATIENCE = 10.0
"""Seconds for which a command waits to be dispatched while the journal cannot be written."""
BEGIN_PAUSE = 0.5
"""Seconds between two attempts."""
REPEAT_WARNING = 60.0
"""Seconds after which a warning about something that goes on is repeated."""

Call = calls.Call


class Client:
    """One driver object's use of a bus.

    :raises JournalError: when the journal cannot be opened
    """

    def __init__(self, settings: settings_module.Settings) -> None:
        self._settings = settings
        self._lease = registry.Lease(settings)
        self._runtime = self._lease.runtime
        self._bus = self._runtime.bus(settings)
        self._round_trips = calls.RoundTrips(self._runtime, self._bus)
        autonomy = self._bus.autonomy
        self._fallback = (
            None
            if autonomy is None
            else fallback.Fallback(self._runtime, autonomy, self._round_trips, settings)
        )

    @property
    def is_ours(self) -> bool:
        """Whether this process made it; a forked child must make its own."""
        return self._lease.is_ours

    def close(self) -> None:
        """Give everything back, and block until that is done."""
        self._lease.release(self._settings.linger)

    def await_link(self, timeout: float) -> bool:
        """Wait until an endpoint is linked; False when *timeout* seconds have passed before."""
        deadline = time.monotonic() + timeout
        while not self._bus.is_linked():
            if time.monotonic() >= deadline:
                return False
            concurrency.pause(0.02)
        return True

    def request(self, call: Call) -> tuple[int, bytes]:
        """Make an unjournaled call and wait for its reply, ``(status, body)``.

        :raises TimeoutError: when the reply, or a heartbeat, did not come in time
        :raises Undeliverable: when the call is mandatory and nobody takes it
        """
        if self._fallback is not None and not call.mandatory:
            return self._fallback.request(call)
        waiter = pending.Pending()
        with self._round_trips.request(call, waiter):
            return waiter.wait(call.timeout, call.monitor)

    def record(self, call: Call) -> tuple[int, bytes]:
        """Journal a call, ship it, and wait until it has been applied; ``(status, body)``.

        After a time-out the record is in the journal all the same, and will be applied.

        :raises TimeoutError: when the reply did not come in time
        :raises JournalError: when it could not be journaled
        """
        if self._fallback is not None:
            return self._fallback.record(call)
        waiter = pending.Pending()
        self._round_trips.record(call, waiter)
        return waiter.wait(call.timeout, call.monitor)

    def command(self, call: Call) -> None:
        """Journal a cast, and return as soon as it is on disk.

        :raises JournalError: when it could not be journaled
        """
        waiter = pending.Pending()
        self._round_trips.append(messages.Kind.COMMAND, call, waiter)
        waiter.wait(None)

    def notify(self, call: Call) -> None:
        """Journal a notification, once for each listener pool that is known.

        :raises JournalError: when it could not be journaled
        """
        waiters = []
        keys = [call.address]
        pools = self._bus.directory.pools(call.address)
        if pools:
            keys = [streams.stream_key(call.address, pool) for pool in ("", *sorted(pools))]
        ttl = float(self._settings.notification_ttl)
        for key in keys:
            waiter = pending.Pending()
            waiters.append(waiter)
            copy = dataclasses.replace(call, address=key)
            self._round_trips.append(messages.Kind.COMMAND, copy, waiter, ttl)
        for waiter in waiters:
            waiter.wait(None)

    def fanout(self, address: str, body: bytes) -> None:
        """Send to every listener that is there now."""
        self._runtime.call_soon(lambda: self._bus.fanout(address, body))

    def listen(self, addresses: Iterable[str], fanouts: Iterable[str], pool: str) -> "Listener":
        """Announce a listener and wait, not for long, until an endpoint knows of it."""
        listener = Listener(self, self._runtime.next_listener())
        admits = self._settings.backlog_at_once > 0
        announcement = messages.Listen(
            listener.number, list(addresses), list(fanouts), pool, admits
        )
        waiter = pending.Pending()
        self._runtime.listen(self._bus, announcement, listener.box, lambda: waiter.resolve(0, b""))
        try:
            waiter.wait(ESTABLISH_TIMEOUT)
        except TimeoutError:
            LOG.warning(
                "no endpoint of %s knows of the listener on %s yet; trying on",
                self._bus.link,
                ", ".join(announcement.addresses),
            )
        return listener

    def unlisten(self, number: int) -> None:
        """Take a listener back, and block until nothing more comes to it."""
        waiter = pending.Pending()

        def stop() -> None:
            self._bus.unlisten(number)
            concurrency.post(lambda: waiter.resolve(0, b""))

        self._runtime.call_soon(stop)
        try:
            waiter.wait(CONSUMED_TIMEOUT)
        except TimeoutError:
            LOG.error("listener %s could not be stopped within %g s", number, CONSUMED_TIMEOUT)

    def begin(self, item: origins.Inbound) -> None:
        """See :meth:`nova_edge_bus.runtime.incoming.Incoming.begin`; block until it can be done.

        :raises JournalError: when the journal could not be written for long; a command is handed
            out again then, for only its receiver has it
        """
        until = time.monotonic() + BEGIN_PATIENCE
        while True:
            try:
                self._bus.incoming.begin(item)
                return
            except errors.JournalError as error:
                if time.monotonic() >= until:
                    self.requeue(item)
                    raise
                LOG.warning_once_in(
                    REPEAT_WARNING, "cannot dispatch what is in the inbox yet: %s", error
                )
            concurrency.pause(BEGIN_PAUSE)

    def finish(self, item: origins.Inbound, status: int, body: bytes) -> None:
        """*item* has been handled, with this outcome."""
        self._runtime.call_soon(lambda: self._bus.incoming.finish(item, status, body))

    def refused(self, item: origins.Inbound, *, denied: bool) -> None:
        """*item*, a record whose caller was told of success long ago, was not applied.

        :param denied: because its host does not speak for the object any more
        """
        figures = self._runtime.figures

        def count() -> None:
            figures.conflicts += 1
            figures.denied += denied

        self._runtime.call_soon(count)

    def put_off(self, item: origins.Inbound) -> None:
        """*item*, a record, cannot be applied now: it is shipped again a little later."""
        figures = self._runtime.figures

        def rest() -> None:
            figures.put_off += 1
            self._bus.incoming.receiver.put_off(item)

        self._runtime.call_soon(rest)

    def fenced(self, item: origins.Inbound, epoch: int) -> None:
        """*item*, a record, has no effect: its outbox was opened again since *epoch*."""
        self._runtime.call_soon(lambda: self._bus.incoming.fenced(item, epoch))

    def requeue(self, item: origins.Inbound) -> None:
        """*item* has not been handled: a listener of this process gets it again."""
        self._runtime.call_soon(lambda: self._bus.incoming.receiver.restore([item]))

    def heartbeat(self, item: origins.Inbound) -> None:
        """The server still works on *item*."""
        self._runtime.call_soon(lambda: self._bus.incoming.receiver.heartbeat(item))


class Listener:
    """A listener's mailbox, and the way to end it."""

    def __init__(self, client: Client, number: int) -> None:
        self.number = number
        self.box = mailbox.Mailbox()
        self._client = client
        self._stopped = False

    def stop(self) -> None:
        """Take nothing more; what has been taken stays in the mailbox to be polled."""
        if not self._stopped:
            self._stopped = True
            self._client.unlisten(self.number)
            self.box.stop()
