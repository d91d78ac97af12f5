# SPDX-License-Identifier: Apache-2.0
"""The guard of one service: forward while it answers, say so at once when it does not."""

import asyncio
import contextlib
import logging
import pathlib
import ssl
import time

from aiohttp import web

from nova_edge_bus.rest_guard import addresses
from nova_edge_bus.rest_guard import answers
from nova_edge_bus.rest_guard import client
from nova_edge_bus.rest_guard import documents
from nova_edge_bus.rest_guard import errors
from nova_edge_bus.rest_guard import forwarding
from nova_edge_bus.rest_guard import known as knowledge
from nova_edge_bus.rest_guard import settings as times
from nova_edge_bus.rest_guard import tokens
from nova_edge_bus.rest_guard import watch

_log = logging.getLogger(__name__)


class Guard:
    """Answers the requests for one upstream; made on a running event loop.

    503 is said only where the request has had no effect, so that it may be repeated. Where the
    effect is unknown, it is 502 or 504.

    :param tls: for an upstream at https
    :param keep_tokens: see :mod:`nova_edge_bus.rest_guard.tokens`
    :raises RestGuardError: when the cache directory cannot be made
    """

    def __init__(
        self,
        upstream: addresses.Upstream,
        settings: times.Settings,
        cache_directory: pathlib.Path,
        *,
        tls: ssl.SSLContext | None,
        keep_tokens: bool,
    ) -> None:
        self.upstream = upstream
        self._documents = documents.Documents(cache_directory, upstream)
        self._tokens = tokens.Tokens(cache_directory, upstream) if keep_tokens else None
        self._client = client.UpstreamClient(upstream, settings, tls)
        self._watch = watch.Watch(upstream, settings, self._client, self._documents)
        self._forwarder = forwarding.Forwarder(upstream, settings, self._client)
        self._watching: asyncio.Task[None] | None = None
        _log.info(
            "upstream %s is %s, %s version documents kept",
            upstream.name,
            upstream.url,
            len(self._documents),
        )

    @property
    def status(self) -> str:
        """The upstream, and whether it is in reach."""
        word = "out of reach" if self._watch.out_of_reach else "in reach"
        return f"{self.upstream.name} {word}"

    def start(self) -> asyncio.Task[None]:
        """Watch over the upstream from now on.

        :return: what does so; it ends by itself only if it fails
        """
        self._watching = asyncio.create_task(self._watch.run())
        return self._watching

    async def finish(self, seconds: float) -> None:
        """Take no more requests, give those under way so much time, then answer what is left."""
        await self._watch.finish(seconds)

    async def stop(self) -> None:
        """Watch no more, and close all connections to the upstream."""
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        await self._client.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        began = time.monotonic()
        status: int | str = "cut"
        try:
            response = await self._answer(request)
            status = response.status
            if forwarding.expects_continue(request):
                # No body will come, and what comes could be taken for it.
                response.force_close()
                request.content.feed_eof()
            return response
        finally:
            _log.debug(
                "%s %s %s: %s in %.1f ms",
                self.upstream.name,
                request.method,
                # A query can hold what a log must not.
                request.raw_path.partition("?")[0],
                status,
                (time.monotonic() - began) * 1000,
            )

    async def _answer(self, received: web.BaseRequest) -> web.StreamResponse:
        target = _target(received)
        if target is None:
            return self._failure(501, f"{received.method} needs a path of the service")
        request = await self._understand(received, target)
        why = self._watch.out_of_reach and await self._watch.look_again()
        if why is not None:
            return self._instead(request, 503, f"out of reach: {why}")
        exchange = None
        try:
            async with self._watch.exchange() as exchange:
                return await self._forwarder.forward(request, exchange)
        except forwarding.ExpectationFailed:
            return self._failure(417, "the service did not say 100 Continue")
        except errors.UpstreamError as exc:
            if exchange is not None and exchange.answered:
                raise forwarding.ClientGone("the answer was cut") from exc
            status = _status(exc, received.method)
            return self._instead(request, status, f"the service did not answer: {exc}")

    async def _understand(self, received: web.BaseRequest, target: str) -> forwarding.Request:
        """Find out what may be known of the answer; about a token that hangs on the body."""
        origin = forwarding.client_origin(received)
        known: knowledge.Known | None = self._documents.at(received.method, target)
        body = None
        if (
            self._tokens is not None
            and self._tokens.expected(received.method, target)
            and 0 < (received.content_length or 0) <= tokens.MAX_REQUEST_BYTES
            and not forwarding.expects_continue(received)
        ):
            body = await received.content.read()
            known = self._tokens.of(target, body)
        return forwarding.Request(received, target, origin, known, body)

    def _instead(self, request: forwarding.Request, status: int, detail: str) -> web.Response:
        """Speak in the upstream's place: an answer that is known, else the error."""
        kept = None if request.known is None else request.known.answer(request.origin)
        return self._failure(status, detail) if kept is None else kept

    def _failure(self, status: int, detail: str) -> web.Response:
        retry_after = self._watch.retry_after if status == 503 else None
        return answers.failure(self.upstream.name, status, detail, retry_after)


def _status(error: errors.UpstreamError, method: str) -> int:
    if isinstance(error, errors.Unreachable) or method in client.SAFE_METHODS:
        return 503
    return 504 if isinstance(error, errors.Silent) else 502


def _target(request: web.BaseRequest) -> str | None:
    """The request target as a path and query; None where a gateway has nowhere to send it."""
    target = request.raw_path
    if target.startswith(("http://", "https://")):
        _, slash, rest = target.partition("://")[2].partition("/")
        target = slash + rest
    return target if target.startswith("/") and request.method != "CONNECT" else None
