# SPDX-License-Identifier: Apache-2.0
"""The two sides of a JetStream: ``python -m bench.jetstream``, commanded by lines of JSON."""

import asyncio
import collections.abc
import importlib
import threading
import time
import typing

from bench import serving

STREAM, SUBJECT = "BENCH", "bench"
_CONTROL_SECONDS = 60.0
_NUMBER_BYTES = 8


class Peer:
    """A client of the server, which publishes or consumes."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._counts: dict[int, int] = {}
        self._last_at = 0.0

    def open(self, url: str, consume: bool) -> dict[str, typing.Any]:
        """Connect; make the stream if need be, in files; and consume it from now on, or not."""
        self._do(self._open(url, consume))
        return {}

    def run(self, size: int, callers: int, seconds: float) -> dict[str, typing.Any]:
        """Publish for *seconds* from *callers* tasks, each its next when the last one is kept.

        :returns: as :meth:`bench.sender.Sender.run`
        """
        return self._do(self._run(size, callers, seconds), seconds)

    def tally(self) -> dict[str, typing.Any]:
        """How many messages have come, how many of them again, and when the last one did."""
        repeated = sum(count > 1 for count in self._counts.values())
        return {"received": len(self._counts), "repeated": repeated, "last_at": self._last_at}

    def _do(
        self, action: collections.abc.Coroutine[object, object, typing.Any], seconds: float = 0.0
    ) -> typing.Any:
        future = asyncio.run_coroutine_threadsafe(action, self._loop)
        return future.result(seconds + _CONTROL_SECONDS)

    async def _open(self, url: str, consume: bool) -> None:
        nats = importlib.import_module("nats")
        self._client = await nats.connect(url)
        self._stream = self._client.jetstream()
        await self._stream.add_stream(name=STREAM, subjects=[SUBJECT], storage="file")
        if consume:
            await self._stream.subscribe(
                SUBJECT, durable="consumer", stream=STREAM, manual_ack=True, cb=self._take
            )

    async def _take(self, message: typing.Any) -> None:
        number = int.from_bytes(message.data[:_NUMBER_BYTES], "big")
        self._counts[number] = self._counts.get(number, 0) + 1
        self._last_at = time.monotonic()
        await message.ack()

    async def _run(self, size: int, callers: int, seconds: float) -> dict[str, typing.Any]:
        rest = bytes(index % 251 for index in range(size - _NUMBER_BYTES))
        times: list[int] = []
        numbers = 0
        began = time.monotonic()

        async def publish() -> None:
            nonlocal numbers
            while time.monotonic() < began + seconds:
                body = numbers.to_bytes(_NUMBER_BYTES, "big") + rest
                numbers += 1
                before = time.perf_counter_ns()
                await self._stream.publish(SUBJECT, body)
                times.append(time.perf_counter_ns() - before)

        await asyncio.gather(*(publish() for _ in range(callers)))
        return {
            "began_at": began,
            "ended_at": time.monotonic(),
            "numbers": numbers,
            "times": times,
        }


if __name__ == "__main__":
    serving.serve(Peer, frozenset({"open", "run", "tally"}))
