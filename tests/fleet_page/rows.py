# SPDX-License-Identifier: Apache-2.0
"""A fleet for the page, of the messages that peers send."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator

from nova_edge_bus import listening
from nova_edge_bus.endpoint import fleet
from nova_edge_bus.endpoint import fleet_pages
from nova_edge_bus.monitoring import server
from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import session

CODEC = codec.Codec()
LINKED = messages.Report(messages.PeerState.LINKED, 0, 0, 0, 0, 0, 3, "0.1.0")


def hello(number: int, host: str, service: str = "nova-compute") -> messages.Hello:
    """The HELLO of the process with this number."""
    identity = number.to_bytes(8, "big")
    return messages.Hello(1, 1, identity, identity, 1, b"nonce", host, service, 64, 1 << 20)


def join(table: fleet.Fleet, said: messages.Hello) -> None:
    """Let a process have a session."""
    table.opened(
        said, session.DialSession(said, link_timeout=5, now=time.monotonic(), codec=CODEC)
    )


def fill(table: fleet.Fleet, count: int, seed: int = 7) -> None:
    """Make a fleet of so many hosts: most linked, some in each other state."""
    chance = random.Random(seed)
    # A session of its own for each takes longer than all the rest.
    shared = session.DialSession(hello(0, ""), link_timeout=5, now=time.monotonic(), codec=CODEC)
    for number in range(count):
        service = "nova-conductor" if number % 1000 == 0 else "nova-compute"
        host = f"{'ctl' if service == 'nova-conductor' else 'edge'}-{number}.site-{number // 40}"
        said = hello(number, host, service)
        table.opened(said, shared)
        kind = chance.random()
        if kind > 0.999:
            continue
        report = LINKED._replace(fill=chance.randrange(1, 9))
        if kind < 0.03:
            state = messages.PeerState.CUT_OFF if kind < 0.02 else messages.PeerState.CATCHING_UP
            report = report._replace(
                state=state,
                pending=chance.randrange(1, 4000),
                oldest=chance.randrange(1000, 90_000_000),
                fill=chance.randrange(3, 99),
                dead=chance.choice([0, 0, 0, 2]),
            )
        elif kind < 0.04:
            dead = chance.randrange(1, 30)
            report = report._replace(dead=dead, conflicts=dead // 2, fenced=dead // 3)
        table.reported(said, report)
        if 0.04 < kind < 0.05:
            table.closed(said)


@contextlib.contextmanager
def served(table: fleet.Fleet) -> Iterator[str]:
    """Serve the page of a table, and give its address."""
    pages = server.Server(listening.Address("127.0.0.1", 0), fleet_pages.routes(table, "test"))
    address = pages.start()
    try:
        yield f"http://{address}"
    finally:
        pages.stop()
