# SPDX-License-Identifier: Apache-2.0
"""The way to one upstream: requests on connections that are safe to use for them."""

import asyncio
import collections.abc
import contextlib
import os
import socket
import ssl

import aiohttp
import multidict
import yarl

from nova_edge_bus.rest_guard import addresses
from nova_edge_bus.rest_guard import errors
from nova_edge_bus.rest_guard import resolver
from nova_edge_bus.rest_guard import settings as times

MAX_FIELD_BYTES = 64 * 1024
"""Tokens, and what services say about them, can be long."""

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
"""They have no effect, so they may be repeated."""

_IDLE_SECONDS = 1.5
"""How long an idle connection is kept: less than the shortest keep-alive of common servers
(gunicorn, 2 s), so that a server seldom closes a connection just as it is used again."""

Body = collections.abc.AsyncIterable[bytes] | bytes


class UpstreamClient:
    """Sends requests; made and closed on a running event loop.

    A request that has a body, or a method that is not safe, gets a connection of its own: it is
    sent once and never again. Others share connections, and are repeated when one that was idle
    turns out to be closed.

    :param tls: for an upstream at https
    """

    def __init__(
        self, upstream: addresses.Upstream, settings: times.Settings, tls: ssl.SSLContext | None
    ) -> None:
        self._upstream = upstream
        self._settings = settings
        self._tls = tls
        names = resolver.Resolver()
        self._shared = self._session(
            aiohttp.TCPConnector(limit=0, resolver=names, keepalive_timeout=_IDLE_SECONDS)
        )
        self._single = self._session(
            aiohttp.TCPConnector(limit=0, resolver=names, force_close=True), _send_once
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._shared.close()
        await self._single.close()

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        target: str,
        fields: multidict.CIMultiDict[str],
        body: Body | None = None,
        *,
        expect_continue: bool = False,
    ) -> collections.abc.AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and give the answer once its head is here; it is read within the context.

        :param target: the request target, beginning with a slash, sent as it stands
        :raises Unreachable: when no connection could be made; nothing was sent
        :raises Broken: when the connection ended or what came was not HTTP, here or in the context
        """
        alone = body is not None or method not in SAFE_METHODS
        session = self._single if alone else self._shared
        with self._translated():
            async with session.request(
                method,
                yarl.URL(self._upstream.origin + target, encoded=True),
                headers=fields,
                data=body,
                expect100=expect_continue,
                allow_redirects=False,
                ssl=self._tls if self._tls is not None else True,
            ) as answer:
                yield answer

    async def read_document(self, target: str, max_bytes: int) -> tuple[int, bytes]:
        """Ask for a version document: status, and at most so much of the body.

        It goes over a connection of its own, which shows that one can be made.

        :raises Unreachable: when no connection could be made
        :raises Broken: when the connection ended before the answer
        :raises TimeoutError: when the answer took longer than connect and probe time-out
        """
        fields = multidict.CIMultiDict({"Accept": "application/json", "Connection": "close"})
        url = yarl.URL(self._upstream.origin + target, encoded=True)
        limit = self._settings.connect_timeout + self._settings.probe_timeout
        with self._translated():
            async with (
                asyncio.timeout(limit),
                self._single.get(
                    url,
                    headers=fields,
                    allow_redirects=False,
                    ssl=self._tls if self._tls is not None else True,
                ) as answer,
            ):
                return answer.status, await read_at_most(answer, max_bytes)

    def _session(
        self, connector: aiohttp.TCPConnector, *middlewares: aiohttp.ClientMiddlewareType
    ) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            middlewares=middlewares,
            # One client's cookies must not go out with another's requests.
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=self._settings.connect_timeout),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            auto_decompress=False,
            max_line_size=MAX_FIELD_BYTES,
            max_field_size=MAX_FIELD_BYTES,
        )

    @contextlib.contextmanager
    def _translated(self) -> collections.abc.Iterator[None]:
        netloc = self._upstream.netloc
        try:
            yield
        except aiohttp.ConnectionTimeoutError:
            seconds = self._settings.connect_timeout
            raise errors.NotConnected(f"no connection to {netloc} within {seconds:g} s") from None
        except aiohttp.ClientConnectorError as exc:
            raise errors.Unreachable(f"cannot connect to {netloc}: {_reason(exc)}") from None
        except aiohttp.ClientError as exc:
            raise errors.Broken(f"{netloc} {_broken(exc)}") from None
        except _SentOnce as exc:
            raise errors.Broken(f"{netloc} {_broken(exc.cause)}") from None


async def read_at_most(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """The first *limit* bytes of a body, or all if there are fewer."""
    body = bytearray()
    while len(body) < limit:
        chunk = await answer.content.read(limit - len(body))
        if not chunk:
            break
        body += chunk
    return bytes(body)


class _SentOnce(Exception):
    """What aiohttp would take for a reason to send PUT and DELETE again, in another guise."""

    def __init__(self, cause: aiohttp.ClientError) -> None:
        super().__init__(cause)
        self.cause = cause


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as exc:
        raise _SentOnce(exc) from None


def _broken(error: aiohttp.ClientError) -> str:
    # Their own texts can hold what the upstream sent.
    match error:
        case aiohttp.ServerDisconnectedError():
            return "closed the connection before the answer"
        case aiohttp.ClientPayloadError():
            return "closed the connection within the answer"
        case aiohttp.ClientResponseError():
            return "answered with something that is not HTTP"
        case OSError() if error.errno:
            return f"broke the connection: {os.strerror(error.errno).lower()}"
        case _:
            return f"broke the connection: {type(error).__name__}"


def _reason(error: aiohttp.ClientConnectorError) -> str:
    cause = error.os_error
    if isinstance(cause, socket.gaierror | ssl.SSLError) or not cause.errno:
        return cause.strerror or str(cause)
    # asyncio puts a sentence of its own into strerror.
    return os.strerror(cause.errno).lower()
