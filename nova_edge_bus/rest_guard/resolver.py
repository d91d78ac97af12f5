# SPDX-License-Identifier: Apache-2.0
"""Name lookups in threads that nobody waits for."""

import asyncio
import contextlib
import socket
import threading
import typing

from aiohttp import abc

_AddressInfo = tuple[int, int, int, str, tuple[typing.Any, ...]]


class Resolver(abc.AbstractResolver):
    """The system's resolver.

    A lookup can take half a minute where the name servers are out of reach. In a thread of
    asyncio's pool it would hold up the end of the process for as long.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[abc.ResolveResult]:
        """The addresses of *host*.

        :raises OSError: when there are none
        """
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[_AddressInfo]] = loop.create_future()

        def settle(addresses: list[_AddressInfo], error: OSError | None) -> None:
            if found.cancelled():
                return
            if error is None:
                found.set_result(addresses)
            else:
                found.set_exception(error)

        def look_up() -> None:
            addresses: list[_AddressInfo] = []
            error: OSError | None = None
            try:
                addresses = list(
                    socket.getaddrinfo(
                        host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                    )
                )
            except OSError as exc:
                error = exc
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, addresses, error)

        threading.Thread(target=look_up, name=f"resolve-{host}", daemon=True).start()
        return [
            {
                "hostname": host,
                "host": address[0],
                "port": address[1],
                "family": found_family,
                "proto": protocol,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for found_family, _, protocol, _, address in await found
        ]

    async def close(self) -> None:
        """Do nothing: what is under way ends by itself."""
