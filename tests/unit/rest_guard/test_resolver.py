# SPDX-License-Identifier: Apache-2.0
"""Lookups are the system's, and one that hangs holds nothing up."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading

import pytest

from nova_edge_bus.rest_guard import resolver


def test_a_name_has_the_addresses_that_the_system_says() -> None:
    found = asyncio.run(resolver.Resolver().resolve("localhost", 80, socket.AF_INET))
    assert [(each["host"], each["port"]) for each in found] == [("127.0.0.1", 80)]


def test_an_unknown_name_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match=r"\S"):
        asyncio.run(resolver.Resolver().resolve("no-such-host.invalid"))


def test_a_lookup_that_is_given_up_may_end_when_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def slow(*_: object, **__: object) -> list[object]:
        answer.wait(30)
        return []

    async def give_up() -> None:
        async with asyncio.timeout(0.1):
            await resolver.Resolver().resolve("example")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    answer.set()


def test_a_lookup_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    program = """
import asyncio, socket, threading
from nova_edge_bus.rest_guard import resolver
socket.getaddrinfo = lambda *_, **__: threading.Event().wait()
async def give_up():
    async with asyncio.timeout(0.1):
        await resolver.Resolver().resolve("example")
try:
    asyncio.run(give_up())
except TimeoutError:
    print("given up")
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "given up\n", "")
