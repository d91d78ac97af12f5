# SPDX-License-Identifier: Apache-2.0
"""Metrics and health of the processes of a host, served by one of them at a time.

Whichever process binds the address first tells what all journals hold and what all processes say
of themselves. The others look every :data:`RETRY` seconds whether it has become free. All this is
done in threads of its own; a process that cannot bind says so once and goes on without.
"""

import collections.abc
import typing

from nova_edge_bus import concurrency
from nova_edge_bus import errors
from nova_edge_bus import events
from nova_edge_bus import listening
from nova_edge_bus.journal import reading
from nova_edge_bus.monitoring import health
from nova_edge_bus.monitoring import journals
from nova_edge_bus.monitoring import pages
from nova_edge_bus.monitoring import server

LOG = concurrency.NativeLogger(__name__)

RETRY = 2.0
"""Seconds between two attempts to bind the address while another process has it."""
STOP_TIMEOUT = server.STOP_SECONDS + 1.0
IMPORT_TIMEOUT = 60.0


class Watching:
    """Serves, or waits for its turn to, until :meth:`close`.

    :param address: where to, see :func:`nova_edge_bus.listening.parse`
    :param found: the journals to tell of
    :param own_path: of the journal of this process
    :param turned_at: gives when the I/O thread last turned
    """

    def __init__(
        self,
        address: listening.Address,
        found: journals.Journals,
        own_path: str,
        turned_at: collections.abc.Callable[[], float],
    ) -> None:
        self._address = address
        self._journals = found
        self._own_path = own_path
        self._turned_at = turned_at
        self._stopping = concurrency.native.threading.Event()
        self._thread = concurrency.spawn("edge-bus-metrics", self._main)

    def close(self) -> None:
        """Give the address back, if this process has it."""
        self._stopping.set()
        if not concurrency.join(self._thread, STOP_TIMEOUT):
            LOG.warning("metrics are still being read; the address is freed when that ends")

    def _main(self) -> None:
        routes: dict[str, pages.Page] = {
            "/metrics": _Late(self._journals).page,
            "/healthz": health.page([health.turns(self._turned_at)]),
            "/readyz": health.page([health.turns(self._turned_at), self._unreadable]),
        }
        told = False
        while not self._stopping.is_set():
            serving = server.Server(self._address, routes)
            try:
                bound = serving.start()
            except server.MonitoringError as error:
                if not told:
                    LOG.info(events.METRICS_ELSEWHERE, self._address, error)
                told = True
                self._stopping.wait(RETRY)
                continue
            LOG.info(events.METRICS_SERVED, bound)
            self._stopping.wait()
            serving.stop()

    def _unreadable(self) -> str | None:
        try:
            with reading.opened(self._own_path) as reader:
                reader.identity()
        except errors.EdgeBusError as error:
            return str(error)
        return None


class _Late:
    """The page of the metrics; the library for it is loaded by its first reader."""

    def __init__(self, found: journals.Journals) -> None:
        self._journals = found
        self._lock = concurrency.native.threading.Lock()
        self._made: pages.Page | None = None

    def page(self, request: pages.Request) -> pages.Response:
        with self._lock:
            if self._made is None:
                self._made = self._make()
        return self._made(request)

    def _make(self) -> pages.Page:
        made: list[typing.Any] = []
        done = concurrency.native.threading.Event()

        def load() -> None:
            try:
                from nova_edge_bus.monitoring import exposition

                made.append(exposition.page([self._journals.samples]))
            finally:
                done.set()

        # Under eventlet the hub does it: the locks of imports are patched there.
        concurrency.post(load)
        done.wait(IMPORT_TIMEOUT)
        page: pages.Page = made[0]
        return page
