# SPDX-License-Identifier: Apache-2.0
"""A way between relays and a bus on which packets are lost, by a line between two namespaces.

What dials here is on this machine's loopback, and so is the bus. Between them each connection is
a TCP connection of its own over the line, which loses what it has to send again.
"""

import asyncio
import collections.abc
import concurrent.futures
import contextlib
import socket
import threading
import types

import pytest

from tests.faults import forker
from tests.faults import packets
from tests.nova import relay

_CHUNK = 16 * 1024
_CONTROL_SECONDS = 10.0
_SEED = 1


class Unavailable(Exception):
    """This machine lets nobody make network namespaces."""


@contextlib.contextmanager
def line() -> collections.abc.Iterator[packets.Line]:
    """A line, for as long as the context is entered; the chances are the same each time.

    :raises Unavailable: when there can be none
    """
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(packets.line(_SEED))
        except (pytest.skip.Exception, pytest.fail.Exception) as error:
            raise Unavailable(str(error)) from None
        yield made


class Way:
    """Forwards what dials :attr:`addresses` over a line to the address at the same place."""

    def __init__(
        self, line: packets.Line, upstreams: collections.abc.Sequence[relay.Address]
    ) -> None:
        self._upstreams = list(upstreams)
        self._edge, self._centre = (_inside(name) for name in line.names)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self.addresses: list[relay.Address] = []

    def __enter__(self) -> "Way":
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CONTROL_SECONDS)
        self._loop.close()
        for each in (self._edge, self._centre):
            each.shutdown()

    def _run(self, action: collections.abc.Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(action, self._loop).result(_CONTROL_SECONDS)

    async def _listen(self) -> None:
        self._servers = []
        for upstream in self._upstreams:
            far = self._centre.submit(socket.create_server, (packets.CENTRE, 0)).result()
            far_address = far.getsockname()
            outward = self._forward(lambda upstream=upstream: _dial(upstream))
            inward = self._forward(lambda target=far_address: self._cross(target))
            near = await asyncio.start_server(inward, "127.0.0.1", 0)
            self._servers += [near, await asyncio.start_server(outward, sock=far)]
            self.addresses.append(near.sockets[0].getsockname()[:2])

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _cross(self, target: relay.Address) -> "_Streams":
        """A connection whose end on the near side is in the edge's namespace."""
        near = self._edge.submit(socket.socket).result()
        near.setblocking(False)
        try:
            await self._loop.sock_connect(near, target)
        except OSError:
            near.close()
            raise
        return await asyncio.open_connection(sock=near)

    def _forward(
        self, dial: collections.abc.Callable[[], collections.abc.Awaitable["_Streams"]]
    ) -> collections.abc.Callable[..., collections.abc.Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            writers = [writer]
            try:
                far_reader, far_writer = await dial()
                writers.append(far_writer)
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pump(reader, far_writer))
                    both.create_task(_pump(far_reader, writer))
            except* (OSError, asyncio.CancelledError):
                pass  # either side is gone, and the other learns it below
            finally:
                for each in writers:
                    each.close()
                self._tasks.discard(task)

        return serve


_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def _inside(namespace: str) -> concurrent.futures.ThreadPoolExecutor:
    """A thread in a namespace: the sockets that it makes stay there, whoever uses them."""
    return concurrent.futures.ThreadPoolExecutor(1, initializer=forker.enter, initargs=[namespace])


async def _dial(address: relay.Address) -> _Streams:
    return await asyncio.open_connection(*address)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
