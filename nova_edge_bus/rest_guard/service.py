# SPDX-License-Identifier: Apache-2.0
"""The guards of a process, each on its own address."""

import asyncio
import collections.abc
import contextlib
import logging
import pathlib
import signal
import ssl
import typing

from aiohttp import http_exceptions
from aiohttp import web

from nova_edge_bus import listening
from nova_edge_bus import systemd
from nova_edge_bus.rest_guard import addresses
from nova_edge_bus.rest_guard import client
from nova_edge_bus.rest_guard import errors
from nova_edge_bus.rest_guard import guard
from nova_edge_bus.rest_guard import settings as times

_log = logging.getLogger(__name__)

_FINISH_SECONDS = 5.0
"""What requests under way are given at the end."""

_CLOSE_SECONDS = 5.0
"""What the last answers may take to leave."""


class Pair(typing.NamedTuple):
    """An address to listen on and the service behind it."""

    listen: listening.Address
    upstream: addresses.Upstream


async def serve(
    pairs: collections.abc.Sequence[Pair],
    settings: times.Settings,
    cache_directory: pathlib.Path,
    *,
    tls: ssl.SSLContext | None,
    keep_tokens: bool,
    on_bound: collections.abc.Callable[[list[str]], None],
) -> None:
    """Serve until SIGTERM or SIGINT, then give requests under way five seconds.

    :param tls: for upstreams at https
    :param keep_tokens: see :mod:`nova_edge_bus.rest_guard.tokens`
    :param on_bound: told the URL of each pair, in their order, once all of them are listened on
    :raises RestGuardError: when an address cannot be listened on, or the cache not be used
    """
    logging.getLogger("aiohttp.server").addFilter(_without_what_was_sent)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as undo:
        runners: list[web.ServerRunner] = []
        guards = [
            guard.Guard(pair.upstream, settings, cache_directory, tls=tls, keep_tokens=keep_tokens)
            for pair in pairs
        ]
        for one in guards:
            undo.push_async_callback(one.stop)
        undo.push_async_callback(_close, runners)
        for pair, one in zip(pairs, guards, strict=True):
            runners.append(await _listen(pair.listen, one))
        manager = systemd.Manager()
        telling = asyncio.create_task(_tell(manager, guards))
        undo.callback(telling.cancel)
        endings = [
            asyncio.create_task(stop.wait()),
            telling,
            *(one.start() for one in guards),
        ]
        on_bound(
            [
                f"http://{listening.Address(*runner.addresses[0][:2])}{pair.upstream.path}"
                for runner, pair in zip(runners, pairs, strict=True)
            ]
        )
        ended, _ = await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
        for each in ended:
            each.result()
        manager.stopping()
        _log.info("stopping")
        for site in (site for runner in runners for site in runner.sites):
            await site.stop()
        await asyncio.gather(*(one.finish(_FINISH_SECONDS) for one in guards))


async def _listen(listen: listening.Address, one: guard.Guard) -> web.ServerRunner:
    server = web.Server(
        one.handle,
        # The upstream shall not work on for a client that has gone.
        handler_cancellation=True,
        access_log=None,
        auto_decompress=False,
        max_line_size=client.MAX_FIELD_BYTES,
        max_field_size=client.MAX_FIELD_BYTES,
    )
    runner = web.ServerRunner(server, shutdown_timeout=_CLOSE_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, listen.host, listen.port).start()
    except OSError as exc:
        await runner.cleanup()
        hint = listening.hint(exc.errno or 0, exc.strerror or str(exc))
        raise errors.RestGuardError(f"cannot listen on {listen}: {hint}") from None
    return runner


async def _tell(manager: systemd.Manager, guards: list[guard.Guard]) -> None:
    """Tell the service manager that the guards serve, and from then on that they still do."""

    def status() -> str:
        return ", ".join(one.status for one in guards)

    manager.ready(status())
    while True:
        manager.alive(status())
        await asyncio.sleep(manager.interval)


def _without_what_was_sent(record: logging.LogRecord) -> bool:
    """Let a request that is not HTTP be logged without its bytes: a token may be among them."""
    if record.exc_info and isinstance(record.exc_info[1], http_exceptions.HttpProcessingError):
        record.exc_info = None
    return True


async def _close(runners: collections.abc.Iterable[web.ServerRunner]) -> None:
    await asyncio.gather(*(runner.cleanup() for runner in runners))
