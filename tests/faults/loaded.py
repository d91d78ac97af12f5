# SPDX-License-Identifier: Apache-2.0
"""Two clients that do everything nova does, over two servers, while something happens to both."""

from __future__ import annotations

import signal
import time
from typing import Any

from tests.faults import forker
from tests.faults import history
from tests.faults import journals
from tests.faults.stage import Stage

KINDS = ("topic cast", "server cast", "save", "read", "create", "server create")
REPEATABLE = ("read",)
CALL_TIMEOUT = 60.0
"""Seconds that callers wait; every call has to be answered in that time."""
SERVERS = ("one", "two")
CLIENTS = ("left", "right")


class Load:
    """Servers and clients at work, from :meth:`start` to :meth:`finish`.

    :param ports: those that the "clients" or the "servers" dial, if not the endpoints' own
    :param options: of all their transport URLs
    """

    def __init__(
        self, stage: Stage, ports: dict[str, list[int]] | None = None, **options: Any
    ) -> None:
        self._stage = stage
        self._ports = ports or {}
        self._options = options
        self._clients: list[forker.Child] = []
        self._rounds: list[float] = []

    def start(self) -> None:
        """Start servers and clients, and return when they are at work."""
        stage = self._stage
        for name in SERVERS:
            self.start_server(name)
        for client in CLIENTS:
            ports = self._ports.get("clients")
            url = stage.url("clients", ports, linger=CALL_TIMEOUT, **self._options)
            self._clients.append(
                stage.start_sender(
                    client, url, kinds=KINDS, threads=4, pause=0.02, timeout=CALL_TIMEOUT
                )
            )
        stage.await_operations(100)

    def start_server(self, name: str) -> None:
        """Start one of the servers, or start it again."""
        url = self._stage.url("servers", self._ports.get("servers"), **self._options)
        self._stage.start_receiver(name, url, slowness=0.02)

    def begin_round(self) -> None:
        """What happens from now on belongs to the next round."""
        self._rounds.append(time.monotonic())

    def finish(self) -> list[str]:
        """End everything, tell how long calls took, and return what was not as promised."""
        stage = self._stage
        for child in self._clients:
            child.signal(signal.SIGTERM)
        for child in self._clients:
            status = child.wait(2 * CALL_TIMEOUT)
            assert status == 0, f"client {child.name} ended with {status}\n{stage.report()}"
        stage.stop_receivers()
        returned = history.read(stage.sent, "returned")
        print(f"{len(returned)} operations returned")
        history.tell_stalls(returned, self._rounds)
        return self._violations(returned)

    def _violations(self, returned: list[history.Event]) -> list[str]:
        stage = self._stage
        commands = history.read(stage.done, "handed out")
        spans = history.read(stage.done, "begun", "ended")
        calls = [event for event in spans if event.what == "ended"]
        records = [event for event in spans if event.mark.kind == "save"]
        once = [event for event in commands + calls if event.mark.kind not in REPEATABLE]
        found = [f"failed: {event}" for event in history.read(stage.sent, "failed")]
        found += history.missing(returned, commands + calls)
        found += history.doubled(once)
        for name in SERVERS:
            handed_out = [event for event in commands if event.who == name]
            found += history.disordered(handed_out, returned)
        found += history.disordered([e for e in records if e.what == "ended"], returned)
        found += history.overlapping(records)
        found += history.overtaken(commands, [e for e in records if e.what == "ended"])
        found += [f"not drained: {path}" for path in stage.journals() if journals.has_work(path)]
        return found


def violations_of_one(stage: Stage) -> list[str]:
    """What was not as promised where senders of casts and saves have come to their end."""
    returned = history.read(stage.sent, "returned")
    commands = history.read(stage.done, "handed out")
    records = history.read(stage.done, "ended")
    found = [f"failed: {event}" for event in history.read(stage.sent, "failed")]
    found += history.missing(returned, commands + records)
    found += history.doubled(commands + records)
    for name in stage.receivers:
        found += history.disordered([each for each in commands if each.who == name], returned)
    found += history.disordered(records, returned)
    found += [f"not drained: {path}" for path in stage.journals() if journals.has_work(path)]
    return found
