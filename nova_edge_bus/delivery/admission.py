# SPDX-License-Identifier: Apache-2.0
"""Admission: how much of its senders' backlogs a consumer lets come, and works on at a time.

After the cut of a whole region thousands of senders have hundreds of entries each. A consumer
that took them as they come would answer no call for minutes. So senders ask, see
:class:`~nova_edge_bus.protocol.messages.Want`, and stand in line; a few entries are granted to the
first of them, which then goes to the end of the line. Of what has come, some are worked on and the
rest waits here, so that the work does not stand still for the length of a round trip. What is no
backlog passes by all this.

Here, with the consumer, is the one place where a bound can hold: senders do not know of each
other, and endpoints know neither of each other nor of how far a consumer has come.
"""

import collections
import dataclasses
from collections.abc import Iterator

from nova_edge_bus.delivery import origins
from nova_edge_bus.protocol import messages

GRANTED_PER_SLOT = 8
"""Entries that may be on their way, or wait here, for each one that may be worked on."""
TURN = 4
"""Entries that a sender is granted before it is the turn of the next one."""
GRANT_SECONDS = 5.0
"""Seconds after which what was granted and did not come is granted to somebody else."""
MIN_PATIENCE = 5.0
"""Seconds for which a sender need not ask again, at least."""
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

    :param slots: entries of backlogs worked on at a time; 0 lets everything come
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._room = slots * GRANTED_PER_SLOT
        self._lines: dict[_Key, _Line] = {}
        self._queue: collections.OrderedDict[_Key, _Line] = collections.OrderedDict()
        self._asked: dict[_Key, None] = {}
        self._granted: dict[_Key, None] = {}
        self._on_the_way = 0
        self._here: dict[origins.Inbound, None] = {}
        self._at_work: set[origins.Inbound] = set()
        self._ready: collections.OrderedDict[origins.Inbound, None] = collections.OrderedDict()

    @property
    def in_flight(self) -> int:
        """Entries that have been granted and are not done: never more than there is room for."""
        return self._on_the_way + len(self._here)

    # Senders.

    def want(self, message: messages.Want, via: object) -> None:
        """A sender says how much of a backlog it could ship now."""
        if not self._slots:
            return
        key = (message.outbox or b"", message.address)
        line = self._lines.get(key)
        if line is None:
            if not message.entries:
                return
            line = self._lines[key] = _Line(message.reply_to or b"", via, message.through)
        line.reply_to, line.via = message.reply_to or b"", via
        line.through, line.wanted, line.was_heard = message.through, message.entries, True
        line.is_idle = False
        if message.entries:
            self._asked[key] = None
            self._queue.setdefault(key, line)
        else:
            self._forget(key, line)

    def _forget(self, key: _Key, line: _Line) -> None:
        self._take_back(key, line)
        del self._lines[key]
        self._queue.pop(key, None)
        self._asked.pop(key, None)

    def _take_back(self, key: _Key, line: _Line) -> None:
        self._on_the_way -= line.granted
        line.granted = 0
        self._granted.pop(key, None)

    def grants(self, now: float) -> Iterator[tuple[object, messages.Grant]]:
        """What to tell senders now, each with the endpoint that it goes by."""
        told = dict.fromkeys(self._asked, 0)
        self._asked.clear()
        while self._queue and self.in_flight < self._room:
            key, line = self._queue.popitem(last=False)
            entries = min(TURN, line.wanted, self._room - self.in_flight)
            line.wanted -= entries
            line.granted += entries
            line.granted_at, line.was_heard = now, False
            self._granted[key] = None
            self._on_the_way += entries
            told[key] = told.get(key, 0) + entries
            if line.wanted:
                self._queue[key] = line
        patience = round(1000 * max(MIN_PATIENCE, len(self._queue) / QUESTIONS_PER_SECOND))
        for key, entries in told.items():
            line = self._lines[key]
            yield line.via, messages.Grant(line.reply_to, None, *key, entries, patience)

    def tick(self, now: float) -> None:
        """Take back what was granted to those who do not come."""
        for key in list(self._granted):
            line = self._lines[key]
            if now - line.granted_at <= GRANT_SECONDS:
                continue
            if line.was_heard:
                self._take_back(key, line)
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
        line.granted -= 1
        self._on_the_way -= 1
        if not line.granted:
            del self._granted[key]
        return True

    def admit(self, item: origins.Inbound, granted: bool | None) -> bool:
        """Whether *item*, which is new here, may be taken; what :meth:`arrived` said of it."""
        if granted is None:
            return True
        if not granted and self.in_flight >= self._room:
            return False
        self._here[item] = None
        return True

    def holds(self, item: origins.Inbound) -> bool:
        """Whether *item* is of a backlog and not done with."""
        return item in self._here

    def leave(self, item: origins.Inbound) -> None:
        """*item* is done with here, whatever became of it."""
        if item in self._here:
            del self._here[item]
            self._at_work.discard(item)
            self._ready.pop(item, None)

    # What is worked on.

    def begin(self, item: origins.Inbound) -> bool:
        """Whether *item* may be worked on now; else :meth:`next_ready` gives it later."""
        if item not in self._here:
            return True
        if len(self._at_work) < self._slots and not self._ready:
            self._at_work.add(item)
            return True
        self._ready[item] = None
        return False

    def rest(self, item: origins.Inbound) -> None:
        """*item* is not worked on for a while."""
        self._at_work.discard(item)

    def next_ready(self) -> Iterator[origins.Inbound]:
        """Those whose turn has come."""
        while self._ready and len(self._at_work) < self._slots:
            item, _ = self._ready.popitem(last=False)
            self._at_work.add(item)
            yield item
