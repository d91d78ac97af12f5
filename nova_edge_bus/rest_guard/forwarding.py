# SPDX-License-Identifier: Apache-2.0
"""One request through the guard, and its answer back; what is long is never held as a whole."""

import asyncio
import collections.abc
import dataclasses
import socket
import struct

import aiohttp
import multidict
from aiohttp import web

from nova_edge_bus import listening
from nova_edge_bus.rest_guard import addresses
from nova_edge_bus.rest_guard import client
from nova_edge_bus.rest_guard import discovery
from nova_edge_bus.rest_guard import errors
from nova_edge_bus.rest_guard import headers
from nova_edge_bus.rest_guard import known as knowledge
from nova_edge_bus.rest_guard import settings as times
from nova_edge_bus.rest_guard import watch

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CONTINUED = "continued"
_CONTINUE_SECONDS = 5.0
"""How long an upstream may take to say 100 Continue, or anything else."""

_SHORT_BYTES = 64 * 1024
_BODYLESS_STATUSES = (204, 304)
_GATEWAY_STATUSES = (502, 503, 504)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclasses.dataclass(frozen=True)
class Request:
    """A request to be passed on.

    :param target: the request target, beginning with a slash
    :param origin: where the client sees the guard
    :param known: what may be known of the answer
    :param body: the body, if it has been read
    """

    received: web.BaseRequest
    target: str
    origin: str
    known: knowledge.Known | None
    body: bytes | None = None


class ExpectationFailed(Exception):
    """The upstream did not say whether it wants the body."""


class ClientGone(ConnectionResetError):
    """Nobody is left to answer: the client went, or was sent part of an answer that was cut."""


class Forwarder:
    """Passes requests to one upstream."""

    def __init__(
        self,
        upstream: addresses.Upstream,
        settings: times.Settings,
        way: client.UpstreamClient,
    ) -> None:
        self._upstream = upstream
        self._patience = settings.connect_timeout + settings.probe_timeout
        self._client = way

    async def forward(self, request: Request, exchange: watch.Exchange) -> web.StreamResponse:
        """Pass the request on and give its answer; a long one has been sent to the client already.

        Where this raises, the client has been sent either nothing, or part of an answer on a
        connection that is then reset, so that it cannot take the part for the whole.

        :raises UpstreamError: see :class:`~nova_edge_bus.rest_guard.client.UpstreamClient`; Silent
            when an answer that is known takes longer than a probe may
        :raises ExpectationFailed: when the upstream did not take up ``Expect: 100-continue``
        :raises ClientGone: when the client did not send its request to the end
        """
        received = request.received
        expects = expects_continue(received)
        limit = asyncio.timeout(self._seconds_to_head(request, expects=expects))
        body = None
        if request.body is None and received.body_exists:
            body = _Body(received, exchange, limit, expects=expects)
        try:
            async with (
                limit,
                self._client.request(
                    received.method,
                    request.target,
                    self._fields_for_upstream(request),
                    body if request.body is None else request.body,
                    expect_continue=expects,
                ) as answer,
            ):
                _lift(limit)
                exchange.heard()
                return await self._pass_answer(request, answer, exchange)
        except TimeoutError:
            if not limit.expired():
                raise
            if expects:
                raise ExpectationFailed from None
            raise errors.Silent(f"{self._upstream.netloc} is slow to answer") from None
        except Exception as exc:
            if body is not None and body.lost:
                raise ClientGone("the client did not send the request to the end") from exc
            raise

    def _seconds_to_head(self, request: Request, *, expects: bool) -> float | None:
        if expects:
            return _CONTINUE_SECONDS
        known = request.known
        if known is None or known.patience or known.answer(request.origin) is None:
            return None
        return self._patience

    def _fields_for_upstream(self, request: Request) -> multidict.CIMultiDict[str]:
        received = request.received
        fields = headers.for_upstream(
            received.headers, http="{}.{}".format(*received.version), client=received.remote
        )
        if request.known is not None:
            # It is read here, so it must come as it is.
            fields.popall("Accept-Encoding", None)
        return fields

    async def _pass_answer(
        self,
        request: Request,
        answer: aiohttp.ClientResponse,
        exchange: watch.Exchange,
    ) -> web.StreamResponse:
        known, origin = request.known, request.origin
        if answer.status in _GATEWAY_STATUSES and known is not None:
            # The service is out of its own gateway's reach.
            kept = known.answer(origin)
            if kept is not None:
                return kept
        fields = headers.for_client(answer.headers)
        for name in ("Location", "Content-Location"):
            if name in fields:
                path = discovery.relative(fields[name], [self._upstream.netloc])
                fields[name] = path if path == fields[name] else origin + path
        first = b""
        limit = _bytes_to_hold(answer, known)
        if limit is not None:
            first = await client.read_at_most(answer, limit + 1)
            if len(first) <= limit:
                exchange.heard()
                kept_body = None if known is None else known.keep(answer.status, first, origin)
                fields.popall("Content-Length", None)
                if kept_body is not None:
                    fields.popall("ETag", None)
                return web.Response(
                    status=answer.status,
                    reason=answer.reason,
                    headers=fields,
                    body=first if kept_body is None else kept_body,
                )
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=fields)
        await _stream(request.received, response, answer, exchange, first)
        return response


class _Body:
    """The body of a request, as it comes from the client.

    :ivar lost: whether the client ended before the body did
    """

    def __init__(
        self,
        request: web.BaseRequest,
        exchange: watch.Exchange,
        limit: asyncio.Timeout,
        *,
        expects: bool,
    ) -> None:
        self._request = request
        self._exchange = exchange
        self._limit = limit
        self._expects = expects
        self.lost = False

    async def __aiter__(self) -> collections.abc.AsyncIterator[bytes]:
        if self._expects:
            _lift(self._limit)
            writer = self._request.writer
            await writer.write(_CONTINUE)
            # What is counted here is the answer, and that has not begun.
            writer.output_size = 0
            self._request[_CONTINUED] = True
        chunks = self._request.content.iter_any()
        while True:
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except Exception:
                self.lost = True
                raise
            self._exchange.moved()
            yield chunk
            self._exchange.moved()


async def _stream(
    request: web.BaseRequest,
    response: web.StreamResponse,
    answer: aiohttp.ClientResponse,
    exchange: watch.Exchange,
    first: bytes,
) -> None:
    """Send the answer to the client as it comes.

    :param first: what has been read of it before
    """
    exchange.answered = True
    try:
        await response.prepare(request)
        if first:
            await response.write(first)
        async for chunk in answer.content.iter_any():
            exchange.heard()
            await response.write(chunk)
        await response.write_eof()
    except BaseException:
        _reset(request)
        raise


def _reset(request: web.BaseRequest) -> None:
    """Break the client's connection so that even HTTP/1.0 cannot take its end for the answer's."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.fileno() != -1:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()


def _lift(limit: asyncio.Timeout) -> None:
    if not limit.expired():
        limit.reschedule(None)


def client_origin(request: web.BaseRequest) -> str:
    """Where the client sees the guard: ``http://HOST[:PORT]``."""
    host = request.headers.get("Host")
    if not host:
        transport = request.transport
        address = transport.get_extra_info("sockname") if transport else ("127.0.0.1", 80)
        host = str(listening.Address(address[0], address[1]))
    return f"http://{host}"


def expects_continue(request: web.BaseRequest) -> bool:
    """Tell whether the client holds the body back until it is told 100 Continue."""
    if _CONTINUED in request:
        return False
    expects = request.headers.get("Expect", "").lower() == "100-continue"
    return expects and request.version >= aiohttp.HttpVersion11 and request.body_exists


def _bytes_to_hold(answer: aiohttp.ClientResponse, known: knowledge.Known | None) -> int | None:
    """How much of an answer to read before it is passed on; None to pass it on as it comes."""
    length = answer.content_length
    if answer.method == "HEAD" or answer.status in _BODYLESS_STATUSES:
        return None
    if (
        known is not None
        and answer.content_type == "application/json"
        and "Content-Encoding" not in answer.headers
        and (length or 0) <= known.max_bytes
    ):
        return known.max_bytes
    # A short answer costs less whole than in pieces, and can still be replaced if it is cut.
    return _SHORT_BYTES if length is not None and length <= _SHORT_BYTES else None
