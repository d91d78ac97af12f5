# SPDX-License-Identifier: Apache-2.0
"""What the programs do; see :mod:`tests.driver.programs`."""

from __future__ import annotations

import os
import pathlib
import threading
from typing import Any

from tests.driver import peers
from tests.driver.programs import hear
from tests.driver.programs import say


class Teller:
    """An RPC endpoint that tells the test what it is sent."""

    def __init__(self, name: str) -> None:
        self.name = name

    def put(self, ctxt: dict[str, Any], value: Any) -> None:
        say("put", value)

    def who(self, ctxt: dict[str, Any]) -> str:
        return self.name

    def echo(self, ctxt: dict[str, Any], value: Any) -> Any:
        return value


def send(
    url: str, journal_dir: pathlib.Path, topic: str, values: list[Any], **options: Any
) -> None:
    """Cast some values, then end as nova's services do: at once, without any cleanup."""
    client = peers.Peer(url, journal_dir, **options).client(topic)
    for value in values:
        client.cast({}, "put", value=value)
    say("sent")
    hear()
    os._exit(0)


def notify(
    url: str, journal_dir: pathlib.Path, topic: str, values: list[Any], **options: Any
) -> None:
    """Notify of some values, then end at once."""
    notifier = peers.Peer(url, journal_dir, **options).notifier(topic)
    for value in values:
        notifier.info({}, "event", value)
    say("sent")
    hear()
    os._exit(0)


def serve(url: str, journal_dir: pathlib.Path, topic: str, server: str, **options: Any) -> None:
    """Serve a topic until the test says a word."""
    peer = peers.Peer(url, journal_dir, **options)
    peer.serve(topic, server, Teller(server), threads=1)
    say("serving")
    hear()
    peer.close()
    say("closed")


def hold_notifications(url: str, journal_dir: pathlib.Path, topic: str, **options: Any) -> None:
    """Take a notification and never come to an end with it."""

    class Holding:
        def info(self, ctxt: Any, publisher: str, event_type: str, payload: Any, _: Any) -> None:
            say("holding", payload)
            threading.Event().wait()

    peers.Peer(url, journal_dir, **options).listen([topic], Holding())
    say("listening")
    hear()
