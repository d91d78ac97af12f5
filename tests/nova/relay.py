# SPDX-License-Identifier: Apache-2.0
"""A TCP relay on loopback that stands for the WAN between one compute and the centre."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import struct
import threading
from collections.abc import Callable
from collections.abc import Coroutine
from collections.abc import Hashable
from collections.abc import Sequence
from typing import Any

Address = tuple[str, int]
Tap = Callable[[Hashable, bool, bytes], None]
"""Given a connection, whether it is towards the centre, and what was delivered on it."""

_CHUNK = 16 * 1024
_CHUNKS_UNDER_WAY = 64
_CONTROL_SECONDS = 10.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Bytes of payload delivered so far: `up` towards the centre, `down` towards the compute."""

    up: int
    down: int

    def __sub__(self, earlier: Traffic) -> Traffic:
        return Traffic(self.up - earlier.up, self.down - earlier.down)

    @property
    def total(self) -> int:
        """Both directions together."""
        return self.up + self.down


class _Direction:
    """One direction of the link, shared by all its connections as a line's bandwidth is."""

    def __init__(self) -> None:
        self.delivered = 0
        self.bytes_per_second: float | None = None
        self._free_at = 0.0

    async def take_turn(self, size: int) -> None:
        """Wait until the line has carried `size` bytes."""
        if self.bytes_per_second:
            now = asyncio.get_running_loop().time()
            self._free_at = max(self._free_at, now) + size / self.bytes_per_second
            await asyncio.sleep(self._free_at - now)


class Relay:
    """Forwards TCP connections, one listening port per upstream, and misbehaves on demand.

    All methods may be called from any thread and return when the change is in force.
    """

    def __init__(self, upstreams: Sequence[Address]) -> None:
        """Prepare to forward to each of the upstreams; start() listens."""
        self._upstreams = list(upstreams)
        self.tap: Tap | None = None
        """Is told of all that is delivered, in the relay's thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._audible = asyncio.Event()
        self._audible.set()
        self._delay = 0.0
        self._up = _Direction()
        self._down = _Direction()
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def addresses(self) -> list[Address]:
        """The loopback address that stands for each upstream, in the same order."""
        return [server.sockets[0].getsockname()[:2] for server in self._servers]

    @property
    def traffic(self) -> Traffic:
        """What has been delivered so far."""
        return Traffic(self._up.delivered, self._down.delivered)

    @property
    def open_connections(self) -> int:
        """How many connections the compute has, swallowed ones included."""
        return len(self._connections)

    def start(self) -> None:
        """Listen on a free port per upstream, and forward."""
        self._thread.start()
        self._run(self._listen())

    def stop(self) -> None:
        """Reset all connections, close the ports and end the thread."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CONTROL_SECONDS)
        self._loop.close()

    def delay(self, seconds: float) -> None:
        """Deliver what comes in from now on later by `seconds`, in each direction."""
        self._delay = seconds

    def throttle(self, bytes_per_second: float | None) -> None:
        """Limit each direction; None lifts the limit."""
        self._up.bytes_per_second = bytes_per_second
        self._down.bytes_per_second = bytes_per_second

    def reroute(self, upstreams: Sequence[Address]) -> None:
        """Forward what is dialled from now on to these instead, and break what there is."""
        self._upstreams[:] = upstreams
        self.reset()

    def silence(self) -> None:
        """Deliver nothing any more without closing anything, as a link that drops packets.

        New connections are accepted and get no answer. What is under way is held.
        """
        self._run(self._set_audible(False))

    def resume(self) -> None:
        """End the silence: what was held is delivered, swallowed connections go through."""
        self._run(self._set_audible(True))

    def reset(self) -> None:
        """Break all connections with a TCP reset; what they held is lost, new ones are taken."""
        self._run(self._reset())

    def _run(self, action: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(action, self._loop).result(_CONTROL_SECONDS)

    async def _listen(self) -> None:
        for place in range(len(self._upstreams)):

            async def accept(
                reader: asyncio.StreamReader,
                writer: asyncio.StreamWriter,
                place: int = place,
            ) -> None:
                await self._serve(reader, writer, place)

            self._servers.append(await asyncio.start_server(accept, "127.0.0.1", 0, limit=_CHUNK))

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        await self._reset()
        # A connection may have been accepted so late that nothing knows of it yet.
        while late := asyncio.all_tasks() - {asyncio.current_task()}:
            for each in late:
                each.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _set_audible(self, audible: bool) -> None:
        if audible:
            self._audible.set()
        else:
            self._audible.clear()

    async def _reset(self) -> None:
        for writer in self._writers:
            connection = writer.get_extra_info("socket")
            if connection.fileno() != -1:  # the other side may have broken it already
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            writer.transport.abort()
        connections = list(self._connections)
        for connection_task in connections:
            connection_task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, place: int
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self._writers.add(writer)
        far_writer: asyncio.StreamWriter | None = None
        try:
            await self._audible.wait()
            far_reader, far_writer = await asyncio.open_connection(
                *self._upstreams[place], limit=_CHUNK
            )
            self._writers.add(far_writer)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, far_writer, self._up))
                pumps.create_task(self._pump(far_reader, writer, self._down))
        except* OSError:
            pass  # either side broke the connection: the other side learns it below
        except* asyncio.CancelledError:
            pass  # a reset
        finally:
            for each in filter(None, (writer, far_writer)):
                self._writers.discard(each)
                each.close()
            self._connections.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: _Direction
    ) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_UNDER_WAY)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._read(reader, under_way))
            both.create_task(self._deliver(under_way, writer, direction))

    async def _read(
        self, reader: asyncio.StreamReader, under_way: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        chunk = b"first"
        while chunk:
            await self._audible.wait()
            chunk = await reader.read(_CHUNK)
            await under_way.put((self._loop.time() + self._delay, chunk))

    async def _deliver(
        self,
        under_way: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
        direction: _Direction,
    ) -> None:
        while True:
            due, chunk = await under_way.get()
            await asyncio.sleep(due - self._loop.time())
            await direction.take_turn(len(chunk))
            await self._audible.wait()
            if not chunk:
                break
            direction.delivered += len(chunk)
            if self.tap is not None:
                self.tap(writer, direction is self._up, chunk)
            writer.write(chunk)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()
