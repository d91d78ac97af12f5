# SPDX-License-Identifier: Apache-2.0
"""The fleet as JSON: made at most every few seconds however many ask, in short steps.

Several thousand rows in one go would keep the interpreter from the loop's thread for a tenth of a
second, and with it every message.
"""

import collections.abc
import gzip
import json
import time
import typing

from nova_edge_bus import concurrency
from nova_edge_bus.endpoint import fleet

FORMAT = 1
"""The version of the document; columns may be added at the end of it without a new one."""
FRESH_SECONDS = 4.0
"""How old a document may be that is given to somebody who asks."""
REST_FACTOR = 4.0
"""What making it took times this is waited before the next, so that many rows cost no more."""
ROWS_A_STEP = 256
PAUSE = 0.0005
"""Seconds between two steps, in which the loop's thread has the interpreter."""
_LEVEL = 6

COLUMNS = (
    "host", "service", "outbox", "state", "since", "pending", "oldest_at", "dead_letters",
    "conflicts", "fenced", "fill", "version", "connected_at", "heard_at", "turned_away",
)  # fmt: skip
_NOT_TOLD = (None, None, None, None, None, None, None)

_STATES = {word: number for number, word in enumerate(fleet.STATES)}


class Document(typing.NamedTuple):
    """The same bytes twice; ``made_at`` is in seconds of the monotonic clock."""

    plain: bytes
    packed: bytes
    made_at: float


class FleetJson:
    """Gives the document; any number of threads may ask, one of them makes it.

    :param table: what is shown
    :param endpoint: names the endpoint, so that a reader sees when it was another one
    """

    def __init__(self, table: fleet.Fleet, endpoint: str) -> None:
        self._table = table
        self._endpoint = endpoint
        self._lock = concurrency.native.threading.Lock()
        self._last: Document | None = None
        self._fresh_until = 0.0

    def document(self) -> Document:
        """The newest document, at most :data:`FRESH_SECONDS` old unless making one takes long."""
        last = self._last
        if last is not None and concurrency.monotonic() < self._fresh_until:
            return last
        # Who comes while another makes it need not wait for that: the last one will do.
        if not self._lock.acquire(blocking=last is None):
            assert last is not None
            return last
        try:
            if self._last is last or self._last is None:
                self._last = self._make()
            return self._last
        finally:
            self._lock.release()

    def _make(self) -> Document:
        began = concurrency.monotonic()
        now = time.time()
        offset = now - began
        counts = dict.fromkeys(fleet.STATES, 0)
        pieces: list[bytes] = []
        rows = self._table.rows()
        for first in range(0, len(rows), ROWS_A_STEP):
            cells = [_cells(row, now, offset) for row in rows[first : first + ROWS_A_STEP]]
            for each in cells:
                counts[fleet.STATES[each[3]]] += 1
            pieces.append(json.dumps(cells, separators=(",", ":"))[1:-1].encode())
            concurrency.native.time.sleep(PAUSE)
        head = {
            "format": FORMAT,
            "endpoint": self._endpoint,
            "made_at": round(now, 3),
            "columns": COLUMNS,
            "states": fleet.STATES,
            "counts": counts,
        }
        opening = json.dumps(head, separators=(",", ":"))[:-1].encode()
        plain = b"".join((opening, b',"rows":[', b",\n".join(pieces), b"]}\n"))
        # zlib works without the interpreter's lock.
        packed = gzip.compress(plain, _LEVEL, mtime=0)
        ended = concurrency.monotonic()
        self._fresh_until = ended + max(FRESH_SECONDS, REST_FACTOR * (ended - began))
        return Document(plain, packed, ended)


def _cells(row: fleet.Row, now: float, offset: float) -> tuple[typing.Any, ...]:
    figures = row.current(now)
    told: collections.abc.Sequence[object] = _NOT_TOLD
    if figures is not None:
        told = (
            figures.pending,
            int(figures.oldest_at),
            figures.dead,
            figures.conflicts,
            figures.fenced,
            figures.fill,
            figures.version,
        )
    return (
        row.host,
        row.service,
        row.outbox.hex(),
        _STATES[row.state(now)],
        int(row.changed_at),
        *told,
        int(row.opened_at),
        int(row.heard_at(offset)),
        row.turned_away,
    )
