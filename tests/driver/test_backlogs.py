# SPDX-License-Identifier: Apache-2.0
"""Many hosts come back at once to a slow consumer, which goes on serving who is linked."""

from __future__ import annotations

import collections
import threading
from typing import Any

from tests.driver import journals
from tests.driver.conftest import MakePeer
from tests.driver.conftest import RunProgram
from tests.driver.peers import WAIT_SECONDS
from tests.driver.peers import instance
from tests.nova.processes import wait_until

EDGES = 6
ENTRIES = 50
AT_ONCE = 2
THREADS = 4
LIVE = "live"


class Conductor:
    """Saves what it is sent; what comes from the edges waits for the gate."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun: list[tuple[str, int]] = []

    def object_action(self, ctxt: Any, objinst: Any, objmethod: str, value: int) -> list[Any]:
        uuid = objinst["nova_object.data"]["uuid"]
        self.begun.append((uuid, value))
        if uuid != LIVE:
            self.gate.wait(WAIT_SECONDS)
        return [objmethod, value]

    def echo(self, ctxt: Any, value: Any) -> Any:
        return value

    def put(self, ctxt: Any, value: Any) -> None:
        """Take what each edge casts besides."""

    def of_edges(self) -> list[tuple[str, int]]:
        """What has begun of what the edges have saved."""
        return [(uuid, value) for uuid, value in self.begun if uuid != LIVE]


def test_who_is_linked_is_served_before_what_the_others_have_kept(
    make_peer: MakePeer, run_program: RunProgram, topic: str
) -> None:
    names = [f"edge-{number}" for number in range(EDGES)]
    for program in [
        run_program("save", topic=topic, journal=name, count=ENTRIES, name=name) for name in names
    ]:
        program.expect("saved")
        program.kill()
    conductor = Conductor()
    taker = make_peer(backlog_at_once=AT_ONCE)
    taker.serve(topic, "here", conductor, threads=THREADS)
    linked = make_peer()
    client = linked.client(topic)
    assert client.call({}, "echo", value="before") == "before"
    back = [run_program("save", topic=topic, journal=name, count=0, name=name) for name in names]
    for program in back:
        program.expect("saved")
    wait_until(
        lambda: len(conductor.of_edges()) >= AT_ONCE, WAIT_SECONDS, "the first of a backlog"
    )

    # The slots of the backlogs are taken and stay so; none of what follows waits for them.
    for value in range(10):
        assert client.call({}, "echo", value=value) == value
        saved = client.call(
            {}, "object_action", objinst=instance(LIVE), objmethod="save", value=value
        )
        assert saved == ["save", value]
    assert len(conductor.of_edges()) == AT_ONCE

    conductor.gate.set()
    directories = [linked.journal_dir.parent / name for name in names]
    wait_until(
        lambda: all(journals.pending(journals.only(each)) == 0 for each in directories),
        WAIT_SECONDS,
        "the drain",
    )
    by_instance = collections.defaultdict(list)
    for uuid, value in conductor.of_edges():
        by_instance[uuid].append(value)
    assert by_instance == {
        f"{name}-{number}": list(range(number, ENTRIES, 3))
        for name in names
        for number in range(3)
    }
