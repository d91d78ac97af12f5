# SPDX-License-Identifier: Apache-2.0
"""One thread's loop over ZeroMQ sockets, deadlines, and calls from other threads.

Under eventlet the loop runs in a native thread, where patched system calls must not be used:
other threads wake it through an eventfd, whose calls eventlet leaves alone.
"""

import collections
import collections.abc
import os
import typing

import zmq

from nova_edge_bus import concurrency

_LONGEST_WAIT = 1.0
"""Seconds: a signal that arrives just before the poll is acted on after this at the latest."""

_PAUSE_AFTER_ERROR = 0.1
"""Seconds: an error that comes back every turn must not take a whole processor."""

_log = concurrency.NativeLogger(__name__)

_Socket = zmq.Socket[bytes]


class Service(typing.Protocol):
    """Something that lives on a loop; all its methods are called on the loop's thread."""

    def sockets(self) -> collections.abc.Iterable[_Socket]:
        """The sockets to wait on, see :meth:`Loop.refresh`."""

    def on_readable(self, socket: _Socket, now: float) -> None:
        """Read from *socket* a bounded number of times; what remains shows again next turn."""

    def next_deadline(self) -> float | None:
        """When :meth:`tick` has something to do next, in seconds of the monotonic clock."""

    def tick(self, now: float) -> None:
        """Do what is due and write what is to be written; called at the end of every turn."""


class Loop:
    """Runs services until :meth:`stop`; made and closed by the thread that runs it, or before.

    A service that raises is a bug: the error is logged and the loop goes on with the others.
    """

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller.register(self._wake, zmq.POLLIN)
        self._wake_lock = concurrency.native.threading.Lock()
        self._woken = False
        self._calls: collections.deque[collections.abc.Callable[[], None]] = collections.deque()
        self._services: dict[Service, list[_Socket]] = {}
        self._owners: dict[_Socket, Service] = {}
        self._stopping = False
        self.turned_at = concurrency.monotonic()
        """When a turn last began, in seconds of the monotonic clock; any thread may read it."""

    def register(self, service: Service) -> None:
        """Begin to run a service."""
        self._services[service] = []
        self.refresh(service)

    def refresh(self, service: Service) -> None:
        """Look again at the sockets of a service, which have changed."""
        before = self._services.get(service)
        if before is None:
            return
        current = list(service.sockets())
        for socket in before:
            if socket not in current:
                self._poller.unregister(socket)
                del self._owners[socket]
        for socket in current:
            if socket not in before:
                self._poller.register(socket, zmq.POLLIN)
                self._owners[socket] = service
        self._services[service] = current

    def unregister(self, service: Service) -> None:
        """Run a service no more; one that is not registered is ignored."""
        for socket in self._services.pop(service, []):
            self._poller.unregister(socket)
            del self._owners[socket]

    def call_soon_threadsafe(self, call: collections.abc.Callable[[], None]) -> None:
        """Have *call* run on the loop's thread; any thread may ask, calls keep their order.

        After :meth:`close` nothing runs any more.
        """
        self._calls.append(call)
        # One write is enough for all calls until the loop takes them. Each write gives the
        # interpreter away while the lock is held, and dozens of threads that all hand in their
        # replies would queue up behind it.
        if self._woken:
            return
        self._woken = True
        with self._wake_lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        """Make :meth:`run` return after the current turn; any thread or signal handler may ask."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        """Run turns until :meth:`stop`."""
        while not self._stopping:
            self.turn(_LONGEST_WAIT)

    def turn(self, longest_wait: float) -> None:
        """Wait for something to do, *longest_wait* seconds at most, and do it.

        Sockets are read before services look at the time, so that a loop which was held up
        does not take what waits in its sockets for silence.
        """
        ready = self._poller.poll(self._timeout(longest_wait))
        now = self.turned_at = concurrency.monotonic()
        for source, _ in ready:
            if source == self._wake:
                self._run_calls()
            elif source in self._owners:
                self._guard(self._owners[source].on_readable, source, now)
        for service in list(self._services):
            self._guard(service.tick, now)

    def close(self) -> None:
        """Give the wake descriptor back; the services' sockets are theirs to close."""
        # A thread that still calls must not write to whatever gets the descriptor's number next.
        with self._wake_lock:
            wake, self._wake = self._wake, -1
        if wake >= 0:
            self._poller.unregister(wake)
            os.close(wake)

    def _timeout(self, longest_wait: float) -> int:
        """Milliseconds to wait, rounded up so as not to spin just before a deadline."""
        if self._calls or self._stopping:
            return 0
        wait = longest_wait
        now = concurrency.monotonic()
        for service in self._services:
            deadline = service.next_deadline()
            if deadline is not None:
                wait = min(wait, deadline - now)
        return max(0, int(wait * 1000) + 1) if wait > 0 else 0

    def _run_calls(self) -> None:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            pass
        # Before the calls are taken: whoever comes later has to wake the loop anew.
        self._woken = False
        for _ in range(len(self._calls)):
            self._guard(self._calls.popleft())

    def _guard(self, call: collections.abc.Callable[..., None], *args: object) -> None:
        try:
            call(*args)
        except Exception:
            concurrency.native.time.sleep(_PAUSE_AFTER_ERROR)
            _log.error("%s failed", getattr(call, "__qualname__", call))
