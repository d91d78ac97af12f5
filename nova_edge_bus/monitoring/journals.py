# SPDX-License-Identifier: Apache-2.0
"""The metrics of all journals in a folder, and of the processes that live in them.

Journals are read as they lie on disk, beside their owners and without them. That takes as long as
they have entries, so what was found is told again to whoever asks within :data:`READ_AGAIN`.
"""

import collections.abc
import glob
import os
import time
import typing

from nova_edge_bus import concurrency
from nova_edge_bus import errors
from nova_edge_bus.journal import reading
from nova_edge_bus.journal import slots
from nova_edge_bus.journal import status
from nova_edge_bus.monitoring import catalogue
from nova_edge_bus.monitoring import processes
from nova_edge_bus.monitoring.catalogue import Sample

READ_AGAIN = 5.0
"""Seconds for which what was read of a journal is told again."""
OUTCOMES = (
    "applied",
    "accepted",
    "merged",
    "expired",
    "dead",
    "requeued",
    "discarded",
    "forwarded",
    "damaged",
)


class _Found(typing.NamedTuple):
    """What a journal held at a time of the monotonic clock."""

    at: float
    identity: reading.Identity
    overview: reading.Overview
    counters: dict[str, int]


class Journals:
    """The journals of *folder*; threads may ask one after the other.

    :param own_path: of the journal of this process
    :param own_record: gives its record, which is newer than the one beside the journal
    """

    def __init__(
        self,
        folder: str,
        own_path: str,
        own_record: collections.abc.Callable[[], dict[str, typing.Any] | None],
    ) -> None:
        self._folder = folder
        self._own_path = os.path.abspath(own_path)
        self._own_record = own_record
        self._lock = concurrency.native.threading.Lock()
        self._found: dict[str, _Found] = {}

    def samples(self) -> list[Sample]:
        """What is so now.

        :raises OSError: when the folder cannot be read
        """
        with self._lock:
            names = sorted(name for name in os.listdir(self._folder) if slots.parse(name))
            paths = [os.path.join(os.path.abspath(self._folder), name) for name in names]
            self._found = {path: each for path, each in self._found.items() if path in paths}
            aside = glob.glob(os.path.join(glob.escape(self._folder), "*.db.corrupt-*"))
            count = sum(1 for path in aside if not path.endswith(("-wal", "-shm")))
            found = [Sample(catalogue.JOURNALS_SET_ASIDE, (), count)]
            for path in paths:
                found += self._journal(path)
            return found

    def _journal(self, path: str) -> collections.abc.Iterator[Sample]:
        name = os.path.basename(path).removesuffix(".db")
        try:
            found = self._read(path)
        except errors.EdgeBusError:
            self._found.pop(path, None)
            yield Sample(catalogue.JOURNAL_READABLE, (name,), 0)
            return
        yield Sample(catalogue.JOURNAL_READABLE, (name,), 1)
        record, current, owned = self._process(path, found.identity)
        host, service, _ = slots.parse(os.path.basename(path)) or ("", "", 0)
        outbox = found.identity.outbox_id.hex()
        yield Sample(catalogue.JOURNAL_INFO, (name, host, service, outbox), 1)
        yield Sample(catalogue.JOURNAL_OWNED, (name,), owned)
        yield Sample(catalogue.PROCESS_UP, (name,), current)
        yield from _held(name, found)
        if record is not None:
            yield Sample(catalogue.JOURNAL_MAX, (name,), record["max_bytes"])
            yield Sample(catalogue.RECORD_AGE, (name,), status.age(record))
            if current:
                yield from processes.samples(name, record)

    def _read(self, path: str) -> _Found:
        now = concurrency.monotonic()
        before = self._found.get(path)
        if before is not None and now - before.at < READ_AGAIN:
            return before
        with reading.opened(path) as reader:
            found = _Found(now, reader.identity(), reader.overview(), reader.counters())
        self._found[path] = found
        return found

    def _process(
        self, path: str, identity: reading.Identity
    ) -> tuple[dict[str, typing.Any] | None, bool, bool]:
        """The record of the journal's process, whether that is of now, and whether it is there."""
        if path == self._own_path:
            own = self._own_record()
            return own, own is not None and status.age(own) < status.STALE_SECONDS, True
        record = status.read(path)
        if record is not None and record.get("outbox") != identity.outbox_id.hex():
            # Beside a copy, or from before the journal was set aside.
            record = None
        pid, current = status.owner(path, record)
        owned = pid is not None and (record is None or record["pid"] == pid)
        return record, current, owned


def _held(name: str, found: _Found) -> collections.abc.Iterator[Sample]:
    overview = found.overview
    pending = overview.statuses["pending"]
    oldest = min((each.oldest_at for each in overview.pending), default=None)
    age = 0.0 if oldest is None else max(0.0, time.time() - oldest)
    values: dict[catalogue.Metric, float] = {
        catalogue.JOURNAL_USED: overview.live,
        catalogue.JOURNAL_DISK: overview.on_disk,
        catalogue.OUTBOX_ENTRIES: pending.entries,
        catalogue.OUTBOX_BYTES: pending.size,
        catalogue.OUTBOX_OLDEST: age,
        catalogue.INBOX_WAITING: overview.inbox_waiting,
        catalogue.DEAD_LETTERS: overview.statuses["dead"].entries,
        catalogue.RECEIVED: found.counters.get("received", 0),
    }
    for metric, value in values.items():
        yield Sample(metric, (name,), value)
    for outcome in OUTCOMES:
        yield Sample(catalogue.ENTRIES, (name, outcome), found.counters.get(outcome, 0))
    entries: dict[str, int] = {}
    for each in overview.pending:
        entries[each.address] = entries.get(each.address, 0) + each.entries
    for address, count in entries.items():
        yield Sample(catalogue.DESTINATION_ENTRIES, (name, address), count)
