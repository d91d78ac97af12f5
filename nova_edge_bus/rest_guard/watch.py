# SPDX-License-Identifier: Apache-2.0
"""Watches over one upstream: probes it, tells when it is out of reach, ends what waits in vain."""

import asyncio
import collections.abc
import contextlib
import logging
import time

from nova_edge_bus.rest_guard import addresses
from nova_edge_bus.rest_guard import client
from nova_edge_bus.rest_guard import documents
from nova_edge_bus.rest_guard import errors
from nova_edge_bus.rest_guard import reach
from nova_edge_bus.rest_guard import settings as times

_log = logging.getLogger(__name__)

_MAX_LINKED_DOCUMENTS = 8

_PATIENCE_SECONDS = 0.5
"""How long a request waits for the probe that it has caused: a round trip or two on a WAN."""


class Exchange:
    """One request that waits for its upstream.

    :ivar progress_at: when it last saw something move
    :ivar answered: whether the client has been sent the head of the answer
    :ivar ended: whether it has been told to stop waiting
    """

    def __init__(
        self,
        knowledge: reach.Reach,
        bound: asyncio.Timeout,
        on_move: collections.abc.Callable[[float], None],
    ) -> None:
        self._reach = knowledge
        self._bound = bound
        self._on_move = on_move
        self.progress_at = time.monotonic()
        self.answered = False
        self.ended = False

    def heard(self) -> None:
        """Note that something of the answer has come."""
        self.moved()
        self._reach.heard(self.progress_at)

    def moved(self) -> None:
        """Note that some of the request has gone; buffers take it too, so it proves little."""
        before, self.progress_at = self.progress_at, time.monotonic()
        self._on_move(before)

    def end(self) -> None:
        """Stop waiting: the block that opened the exchange raises Silent."""
        if not self.ended:
            self.ended = True
            self._bound.reschedule(asyncio.get_running_loop().time())


class Watch:
    """What is known of an upstream, and the task that keeps it true while :meth:`run` runs."""

    def __init__(
        self,
        upstream: addresses.Upstream,
        settings: times.Settings,
        way: client.UpstreamClient,
        library: documents.Documents,
    ) -> None:
        self._upstream = upstream
        self._interval = settings.probe_interval
        self._client = way
        self._documents = library
        self._reach = reach.Reach(settings, time.monotonic())
        self._why = ""
        self._finishing = False
        self._exchanges: set[Exchange] = set()
        self._wake = asyncio.Event()
        self._wakes_by_itself = False
        self._back = asyncio.Event()
        self._back.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._probe: asyncio.Task[None] | None = None
        self._learning: asyncio.Task[None] | None = None

    @property
    def out_of_reach(self) -> str | None:
        """Why no request should wait for the upstream; None while it is in reach."""
        in_reach = self._reach.out_since is None and not self._finishing
        return None if in_reach else self._why

    async def look_again(self) -> str | None:
        """Why the upstream is out of reach, after a new probe if there was none of late.

        What the bus brings right after a cut comes before the next probe would.
        """
        if self._probe is None and self._reach.wanted(time.monotonic()):
            self._wake.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._back.wait()
        return self.out_of_reach

    @property
    def retry_after(self) -> int:
        """Whole seconds until asking again may be worth it."""
        return self._reach.retry_after(time.monotonic())

    @contextlib.asynccontextmanager
    async def exchange(self) -> collections.abc.AsyncIterator[Exchange]:
        """Let a request wait for the upstream, no longer than that is worth it.

        :raises Silent: when the upstream is out of reach and the request has seen no progress for
            the link time-out
        """
        bound = asyncio.timeout(None)
        exchange = Exchange(self._reach, bound, self._reconsider)
        asked_at = exchange.progress_at
        self._exchanges.add(exchange)
        self._idle.clear()
        if not self._wakes_by_itself:
            self._wake.set()
        try:
            async with bound:
                yield exchange
        except TimeoutError:
            if bound.expired():
                raise errors.Silent(self._why) from None
            raise
        except errors.Unreachable as exc:
            certain = not isinstance(exc, errors.NotConnected)
            news = self._reach.lost(time.monotonic(), asked_at, certain=certain)
            self._note_lost(news, str(exc))
            raise
        except errors.Broken:
            self._reach.doubt(time.monotonic())
            self._wake.set()
            raise
        finally:
            self._exchanges.discard(exchange)
            self._reconsider(exchange.progress_at)
            if not self._exchanges:
                self._idle.set()

    def _reconsider(self, waited_since: float) -> None:
        """Plan anew once the one that waited waits no more: the pause grew with its patience."""
        if time.monotonic() - waited_since > self._interval:
            self._wake.set()

    async def finish(self, seconds: float) -> None:
        """Take no more requests, give those under way so much time, then end what is left."""
        self._finishing = True
        self._why = "the guard is stopping"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        for exchange in self._exchanges:
            exchange.end()

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            while True:
                self._wake.clear()
                now = time.monotonic()
                self._end_exchanges(now)
                due = self._reach.next_probe(self._owed_since())
                if self._probe is None and due is not None and due <= now:
                    self._probe = asyncio.create_task(self._ask())
                    self._probe.add_done_callback(self._probed)
                await self._sleep(now, due)
        finally:
            for task in (self._probe, self._learning):
                if task is not None:
                    task.cancel()
                    await asyncio.wait([task])

    async def _sleep(self, now: float, probe_due: float | None) -> None:
        waiting = [each for each in self._exchanges if not each.ended]
        deadlines = [self._reach.give_up_at(each.progress_at) for each in waiting]
        if self._probe is None:
            deadlines.append(probe_due)
        soonest = min((each for each in deadlines if each is not None), default=None)
        # A request that begins now calls for nothing sooner than those before it.
        self._wakes_by_itself = soonest is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if soonest is None else max(0, soonest - now)):
                await self._wake.wait()

    def _owed_since(self) -> float | None:
        return min((each.progress_at for each in self._exchanges), default=None)

    def _end_exchanges(self, now: float) -> None:
        for exchange in list(self._exchanges):
            deadline = self._reach.give_up_at(exchange.progress_at)
            if deadline is not None and deadline <= now:
                exchange.end()

    async def _ask(self) -> None:
        asked_at = time.monotonic()
        target = self._upstream.path or "/"
        try:
            await self._read(target)
        except (errors.UpstreamError, TimeoutError) as exc:
            certain = not isinstance(exc, errors.NotConnected | TimeoutError)
            news = self._reach.probe_failed(time.monotonic(), asked_at, certain=certain)
            self._note_lost(news, str(exc) or f"no answer from {self._upstream.netloc}")
            return
        lasted = self._reach.back(time.monotonic())
        self._back.set()
        if lasted is not None:
            _log.info("upstream %s is back after %.1f s", self._upstream.name, lasted)
        if lasted is not None or self._learning is None:
            self._learning = asyncio.create_task(self._learn_linked(target))
            self._learning.add_done_callback(self._log_failure)

    async def _read(self, target: str) -> None:
        document = self._documents.at("GET", target)
        max_bytes = 0 if document is None else document.max_bytes
        status, body = await self._client.read_document(target, max_bytes + 1)
        if document is not None and len(body) <= max_bytes:
            document.keep(status, body, "")

    async def _learn_linked(self, target: str) -> None:
        """Fetch the documents that the upstream's own points to.

        A client may ask for them for the first time when the upstream is out of reach.
        """
        for href in self._documents.linked(target)[:_MAX_LINKED_DOCUMENTS]:
            with contextlib.suppress(errors.UpstreamError, TimeoutError):
                await self._read(href)

    def _probed(self, probe: asyncio.Task[None]) -> None:
        self._probe = None
        self._wake.set()
        self._log_failure(probe)

    def _log_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.error("probing %s failed", self._upstream.name, exc_info=task.exception())

    def _note_lost(self, news: bool, why: str) -> None:
        if not self._finishing:
            self._why = why
        self._wake.set()
        if self._reach.out_since is not None:
            self._back.clear()
        if news:
            _log.info("upstream %s is out of reach: %s", self._upstream.name, why)
