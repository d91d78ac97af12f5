# SPDX-License-Identifier: Apache-2.0
"""The tables of bounds on the page on security say what the code does."""

import pathlib
from typing import Any

from nova_edge_bus.delivery import admission
from nova_edge_bus.delivery import holdings
from nova_edge_bus.delivery import receiver
from nova_edge_bus.delivery import senders
from nova_edge_bus.endpoint import refusals
from nova_edge_bus.endpoint import server
from nova_edge_bus.protocol import accepted
from nova_edge_bus.protocol import allowance
from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import compression
from nova_edge_bus.protocol import session
from nova_edge_bus.protocol import settings as limits
from nova_edge_bus.runtime import mailbox

DOCUMENT = pathlib.Path(__file__).resolve().parents[3] / "doc" / "source" / "security.rst"
TEXT = DOCUMENT.read_text()
COMPUTE, CENTRE = allowance.OF_A_COMPUTE, allowance.OF_A_CENTRE
SETTINGS = limits.Settings()


def table(title: str, *rows: tuple[Any, ...]) -> str:
    lines = [f".. csv-table:: {title}", "   :header-rows: 1", ""]
    for row in (("what", "at most", "what happens beyond"), *rows):
        lines.append("   " + ", ".join(f'"{cell}"' for cell in row))
    return "\n".join(lines) + "\n"


def mib(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


CLOSED = "the session ends, with the reason"
KEY = "with a compute's key, else"
AT_AN_ENDPOINT = table(
    "Bounds at an endpoint",
    ("a ZeroMQ frame", mib(compression.MAX_PACKET), "ZeroMQ closes the connection"),
    (
        "a connection until it has proved a key",
        f"{server._HANDSHAKE_LIMIT // 1000} s",
        "it is closed",
    ),
    ("a packet before HELLO, unpacked", mib(accepted.MAX_GREETING), "RESET; it is not read"),
    (
        f"sessions of a key's host and role, {KEY}",
        f"{COMPUTE.sessions}, {CENTRE.sessions:,}",
        "rejected as FULL",
    ),
    (
        f"sessions that it begins at once and a second, {KEY}",
        f"{COMPUTE.greetings} and {COMPUTE.greeting_rate:g}, "
        f"{CENTRE.greetings:,} and {CENTRE.greeting_rate:g}",
        "rejected as FULL; after as many more, not answered",
    ),
    ("sessions", f"{SETTINGS.max_sessions:,} (``--max-sessions``)", "rejected as FULL"),
    (
        "a compressed packet, unpacked",
        f"{mib(compression.FREE_EXPANSION)}, or {compression.MAX_RATIO} times its size",
        CLOSED,
    ),
    ("a packet beside bodies, where it is large", mib(codec.MAX_BESIDE_BODIES), CLOSED),
    (
        "messages and bytes on their way to an endpoint",
        f"{SETTINGS.window_messages:,} and {mib(SETTINGS.window_bytes)}",
        CLOSED,
    ),
    (
        f"what is said without credit, at once and a second, {KEY}",
        f"{mib(COMPUTE.burst)} and {mib(int(COMPUTE.rate))}, "
        f"{mib(CENTRE.burst)} and {mib(int(CENTRE.rate))}",
        CLOSED,
    ),
    (
        f"addresses entered and looked up, {KEY}",
        f"{mib(COMPUTE.directory)}, {mib(CENTRE.directory)}",
        CLOSED,
    ),
    (
        "listeners, their addresses, addresses looked up",
        f"{SETTINGS.max_listeners}, {SETTINGS.max_addresses:,}, {SETTINGS.max_interests:,}",
        CLOSED,
    ),
    (
        "messages and bytes on their way to a peer",
        f"{session.MAX_WINDOW:,} and {mib(session.MAX_WINDOW_BYTES)}, whatever it announces",
        "what is more waits",
    ),
    (
        "what waits for a peer",
        f"{SETTINGS.pending_messages:,} messages and {mib(SETTINGS.pending_bytes)}",
        "refused to the sender as BUSY",
    ),
    (
        "what waits for all peers",
        mib(SETTINGS.pending_bytes_total),
        "the same, for those with more than their part of it",
    ),
    (
        "routes that a peer has not read",
        mib(allowance.MAX_UNREAD),
        "it is told no more until it reads",
    ),
    (
        "time of reading before what was read is passed on",
        f"{1000 * server._TURN_SECONDS:g} ms",
        "the rest waits for the next turn",
    ),
    (
        "lines in the log on those who are refused",
        f"{refusals.LINES_A_MINUTE} a minute, one an hour of a kind",
        "they are counted",
    ),
)
BUSY = "refused as BUSY; the sender keeps it"
AT_A_PEER = table(
    "Bounds at a peer, of one identity",
    (
        f"bytes held in memory, {KEY}",
        f"{mib(holdings.MOST_OF_A_COMPUTE)}, {mib(holdings.MOST_OF_A_CENTRE)}",
        BUSY,
    ),
    (
        "bytes held of all senders",
        f"{mib(holdings.MOST_BYTES)}, but {mib(holdings.FAIR_SHARE)} of each",
        BUSY,
    ),
    ("of these, answers that are kept", "half", "the oldest are forgotten"),
    (
        "messages that wait for a worker",
        f"{mailbox.LIMIT_OF_AN_IDENTITY:,} of {mailbox.LIMIT:,}, "
        f"which are {mib(mailbox.LIMIT_BYTES)}",
        f"{BUSY}, but {mailbox.FAIR_SHARE} of each; senders take turns",
    ),
    ("messages of a stream that wait for others", f"{receiver.MAX_PARKED:,}", BUSY),
    ("entries done above one that is not settled", f"{receiver.MAX_DONE:,}", BUSY),
    (
        "streams and epochs that are remembered",
        f"{senders.MOST_OF_AN_IDENTITY:,} each",
        "the oldest are forgotten",
    ),
    (
        "streams that a process stands in line with",
        f"{admission.LINES_OF_A_PEER}",
        "a GRANT of nothing",
    ),
)


def test_the_bounds_at_an_endpoint() -> None:
    assert AT_AN_ENDPOINT in TEXT


def test_the_bounds_at_a_peer() -> None:
    assert AT_A_PEER in TEXT
