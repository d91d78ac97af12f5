# SPDX-License-Identifier: Apache-2.0
"""Admission: how much of its senders' backlogs a consumer lets come, and works on at a time.

After the cut of a whole region thousands of senders have hundreds of entries each. A consumer
that took them as they come would answer no call for minutes. So senders ask, see
:class:`~nova_edge_bus.protocol.messages.Want`, and stand in line; some entries are granted to the
first of them, which then goes to the end of the line. Of what has come, a few are worked on and
the rest waits here. What is no backlog passes by all this.

Here, with the consumer, is the one place where a bound can hold: senders do not know of each
other, and endpoints know neither of each other nor of how far a consumer has come. How much that
is follows from how fast the consumer is, see :class:`~nova_edge_bus.delivery.pace.Pace`: what is
here or on its way is always enough to go on with, so that the work does not stand still while the
next is asked for.
"""

import collections
import dataclasses
from collections.abc import Iterator

from nova_edge_bus.delivery import origins
from nova_edge_bus.delivery import pace
from nova_edge_bus.protocol import messages

TURN = 4
"""Entries that a sender is granted before it is the turn of the next one, at least."""
MOST_BYTES = 16 << 20
"""Bytes of entries of backlogs that may wait here; nothing is granted beyond that."""
GRANT_SECONDS = 5.0
"""Seconds after which what was granted and did not come is granted to somebody else."""
MIN_PATIENCE = 5.0
"""Seconds for which a sender need not ask again, at least."""
LINES_OF_A_PEER = 64
"""Streams that one process may stand in line with."""
QUESTIONS_PER_SECOND = 1000
"""How many of those who stand in line may ask again in a second."""

_Key = tuple[bytes, str]


@dataclasses.dataclass(slots=True)
class _Line:
    """A stream with a backlog: up to which seq, how much is asked for, and how much may come."""

    reply_to: bytes
    via: object
    through: int
    wanted: int = 0
    granted: int = 0
    granted_at: float = 0.0
    was_heard: bool = True
    is_idle: bool = False


class Admission:
    """The backlogs that a receiver is asked to take.

    :param slots: entries of backlogs that are worked on at a time where each takes long; 0 lets
        everything come
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._pace = pace.Pace(slots)
        self._pace_of_work = pace.Pace(slots)
        self._lines: dict[_Key, _Line] = {}
        self._counts: collections.Counter[bytes] = collections.Counter()
        self._queue: collections.OrderedDict[_Key, _Line] = collections.OrderedDict()
        self._asked: dict[_Key, None] = {}
        self._granted: dict[_Key, None] = {}
        self._on_the_way = 0
        self._here: dict[origins.Inbound, int] = {}
        self._bytes = 0
        self._at_work: set[origins.Inbound] = set()
        self._resting: set[origins.Inbound] = set()
        self._ready: collections.OrderedDict[origins.Inbound, None] = collections.OrderedDict()

    @property
    def in_flight(self) -> int:
        """Entries that have been granted and are not done: never more than there is room for.

        What rests counts, for else all would come to rest here where the database is down; but
        not so that nothing else could come.
        """
        resting = min(len(self._resting), self._pace.room // 2)
        return self._on_the_way + len(self._here) - resting

    @property
    def slots(self) -> int:
        """Entries of backlogs that may be worked on at a time; 0 where everything may come."""
        return self._pace_of_work.at_once if self._slots else 0

    @property
    def at_work(self) -> int:
        """Entries that are worked on now."""
        return len(self._at_work)

    @property
    def waiting(self) -> int:
        """Senders that stand in line, each with one destination."""
        return len(self._queue)

    # Senders.

    def want(self, message: messages.Want, via: object) -> bool:
        """A sender says how much of a backlog it could ship now, and what it gives back.

        False when it gets no place in the line.
        """
        if not self._slots:
            return True
        key = (message.outbox or b"", message.address)
        peer = message.reply_to or b""
        line = self._lines.get(key)
        if line is None:
            if not message.entries or self._counts[peer] >= LINES_OF_A_PEER:
                return not message.entries
            line = self._lines[key] = _Line(peer, via, message.through)
            self._counts[peer] += 1
        elif line.reply_to != peer:
            self._leave(line)
            self._counts[peer] += 1
        line.reply_to, line.via = peer, via
        line.through, line.wanted, line.was_heard = message.through, message.entries, True
        line.is_idle = False
        self._take_back(key, line, min(line.granted, max(0, message.unused)))
        if message.entries:
            self._asked[key] = None
            self._queue.setdefault(key, line)
        else:
            self._queue.pop(key, None)
            self._asked.pop(key, None)
        return True

    def _forget(self, key: _Key, line: _Line) -> None:
        self._take_back(key, line, line.granted)
        self._leave(self._lines.pop(key))
        self._queue.pop(key, None)
        self._asked.pop(key, None)

    def _leave(self, line: _Line) -> None:
        self._counts[line.reply_to] -= 1
        if not self._counts[line.reply_to]:
            del self._counts[line.reply_to]

    def _take_back(self, key: _Key, line: _Line, entries: int) -> None:
        self._on_the_way -= entries
        line.granted -= entries
        if not line.granted:
            self._granted.pop(key, None)

    def grants(self, now: float) -> Iterator[tuple[object, messages.Grant]]:
        """What to tell senders now, each with the endpoint that it goes by.

        Room is granted when there is enough for a turn, so that senders are not told of single
        entries.
        """
        self._pace.look(now)
        self._pace_of_work.look(now)
        told = dict.fromkeys(self._asked, 0)
        self._asked.clear()
        free = self._pace.room - self.in_flight
        if free >= TURN and self._bytes < MOST_BYTES:
            turn = max(TURN, free // max(1, len(self._queue)))
            while self._queue and free:
                key, line = self._queue.popitem(last=False)
                entries = min(turn, line.wanted, free)
                free -= entries
                self._grant(key, line, entries, now)
                told[key] = told.get(key, 0) + entries
        patience = round(1000 * max(MIN_PATIENCE, len(self._queue) / QUESTIONS_PER_SECOND))
        for key, entries in told.items():
            line = self._lines[key]
            yield line.via, messages.Grant(line.reply_to, None, *key, entries, patience)

    def _grant(self, key: _Key, line: _Line, entries: int, now: float) -> None:
        line.wanted -= entries
        line.granted += entries
        line.granted_at, line.was_heard = now, False
        self._granted[key] = None
        self._on_the_way += entries
        if line.wanted:
            self._queue[key] = line

    def tick(self, now: float) -> None:
        """Take back what was granted to those who do not come."""
        for key in list(self._granted):
            line = self._lines[key]
            if now - line.granted_at <= GRANT_SECONDS:
                continue
            if line.was_heard:
                self._take_back(key, line, line.granted)
            else:
                self._forget(key, line)

    def sweep(self) -> None:
        """Forget the streams of which nothing is wanted any more; call it about once a minute."""
        for key, line in list(self._lines.items()):
            if line.is_idle:
                self._forget(key, line)
            else:
                line.is_idle = not (line.wanted or line.granted)

    # What comes.

    def arrived(self, item: origins.Inbound) -> bool | None:
        """A delivery has come: whether it was granted; None when it is of no backlog."""
        key = (item.origin, item.address)
        line = self._lines.get(key)
        if line is None or item.kind == messages.Kind.REQUEST or item.number > line.through:
            return None
        line.was_heard = True
        if not line.granted:
            return False
        self._take_back(key, line, 1)
        return True

    def admit(self, item: origins.Inbound, granted: bool | None) -> bool:
        """Whether *item*, which is new here, may be taken; what :meth:`arrived` said of it."""
        if granted is None:
            return True
        if not granted and self.in_flight >= self._pace.room:
            return False
        self._here[item] = len(item.body)
        self._bytes += len(item.body)
        return True

    def holds(self, item: origins.Inbound) -> bool:
        """Whether *item* is of a backlog and not done with."""
        return item in self._here

    def leave(self, item: origins.Inbound) -> None:
        """*item* is done with here, whatever became of it."""
        size = self._here.pop(item, None)
        if size is None:
            return
        self._bytes -= size
        self._pace.done()
        if item in self._at_work:
            self._at_work.remove(item)
            self._pace_of_work.done()
        self._ready.pop(item, None)
        self._resting.discard(item)

    # What is worked on.

    def begin(self, item: origins.Inbound) -> bool:
        """Whether *item* may be worked on now; else :meth:`next_ready` gives it later."""
        if item not in self._here:
            return True
        if len(self._at_work) < self._pace_of_work.at_once and not self._ready:
            self._at_work.add(item)
            return True
        self._ready[item] = None
        return False

    def rest(self, item: origins.Inbound) -> None:
        """*item* is not worked on for a while."""
        self._at_work.discard(item)
        if item in self._here:
            self._resting.add(item)

    def next_ready(self) -> Iterator[origins.Inbound]:
        """Those whose turn has come."""
        while self._ready and len(self._at_work) < self._pace_of_work.at_once:
            item, _ = self._ready.popitem(last=False)
            self._at_work.add(item)
            yield item
