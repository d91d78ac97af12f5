# SPDX-License-Identifier: Apache-2.0
"""Order within groups, on the sender's side.

The rules, with their reasons:

- records of a group are applied in the order of their seqs; the receiver sees to it, provided that
  they all go to one inbox, so one is shipped only after its predecessor, and to the same inbox;
- commands of a group to one address are dispatched in order, in the same way;
- a command or a call waits for the records of its group that came before it: whoever gets it reads
  the database that those records change;
- what goes to a listener of this very process waits for none of that: it reads what we have
  written, applied or not;
- a record that goes last waits for all older records, of whatever group: the heartbeat of a host
  must not say that it is up while the rest of what it has to say is still on its way; after a cut,
  one that was made before the cut waits for what was written during it as well;
- nothing waits for a command to another address: that one may be cut off for hours.
"""

import bisect

from nova_edge_bus.delivery import streams
from nova_edge_bus.protocol import messages


class _Group:
    """One group: its unsettled records, in memory or on disk, and the items that wait for them.

    The seqs of records, and those of the commands in memory by stream key, are sorted.
    """

    __slots__ = ("commands", "parked", "records")

    def __init__(self) -> None:
        self.records: list[int] = []
        self.commands: dict[str, list[int]] = {}
        self.parked: list[streams.Item] = []

    @property
    def unused(self) -> bool:
        return not (self.records or self.commands or self.parked)


class Ordering:
    """The groups of one sender."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._group_of: dict[int, str] = {}
        self._records: list[int] = []
        self.after_all = False
        """Whether what goes last waits for the records of all other groups, older or not."""
        self._last: list[streams.Item] = []

    def register_record(self, seq: int, group: str) -> None:
        """An unsettled record exists, in memory or on disk."""
        bisect.insort(self._records, seq)
        self._group_of[seq] = group
        if group:
            bisect.insort(self._group(group).records, seq)

    def enter(self, item: streams.Item, *, local: bool = False) -> bool:
        """Take *item* up; False when it is parked behind records.

        :param local: whether it goes to a listener of this process
        """
        if item.kind == messages.Kind.RECORD:
            return self._enter_record(item)
        if not item.group:
            return True
        group = self._group(item.group)
        if item.is_call:
            item.held_by = group.records[-1] if group.records else 0
        else:
            item.held_by = _last_before(group.records, item.number)
            bisect.insort(group.commands.setdefault(item.key, []), item.number)
        if local:
            item.held_by = 0
        if item.held_by:
            item.state = streams.State.PARKED
            group.parked.append(item)
        elif group.unused:
            del self._groups[item.group]
        return not item.held_by

    def _enter_record(self, item: streams.Item) -> bool:
        if not item.goes_last or not self._comes_too_early(item):
            return True
        item.state = streams.State.PARKED
        self._last.append(item)
        return False

    def _comes_too_early(self, item: streams.Item) -> bool:
        """Whether a record that goes last has to wait. Within a group, the older one is first."""
        if _last_before(self._records, item.number):
            return True
        if not self.after_all:
            return False
        group = self._groups.get(item.group)
        return len(self._records) > (len(group.records) if group is not None else 1)

    def leave(self, item: streams.Item) -> list[streams.Item]:
        """*item* is settled; return the parked items that are free now, oldest first."""
        if item.kind == messages.Kind.RECORD:
            return self.record_ended(item.number)
        group = self._groups.get(item.group)
        if group is None:
            return []
        if item.kind == messages.Kind.COMMAND:
            numbers = group.commands.get(item.key, [])
            _remove(numbers, item.number)
            if not numbers:
                group.commands.pop(item.key, None)
        return self._release(item.group, group)

    def record_ended(self, seq: int) -> list[streams.Item]:
        """A record, in memory or on disk, is settled; return what is free now, oldest first."""
        _remove(self._records, seq)
        name = self._group_of.pop(seq, "")
        group = self._groups.get(name)
        if group is None:
            return self.release_last()
        _remove(group.records, seq)
        return self.release_last() + self._release(name, group)

    def unpark(self, item: streams.Item) -> bool:
        """Let *item* go although records of its group are not settled; False if it was free."""
        group = self._groups.get(item.group)
        if group is None or item not in group.parked:
            return False
        group.parked.remove(item)
        item.held_by = 0
        return True

    def first_record(self, name: str) -> int:
        """The oldest unsettled record of a group, or 0."""
        group = self._groups.get(name)
        return group.records[0] if group and group.records else 0

    def release_last(self) -> list[streams.Item]:
        """Return what goes last and does not have to wait any more."""
        free = [each for each in self._last if not self._comes_too_early(each)]
        if free:
            self._last = [each for each in self._last if each not in free]
        return [each for each in free if each.state is streams.State.PARKED]

    def _release(self, name: str, group: _Group) -> list[streams.Item]:
        free: list[streams.Item] = []
        still: list[streams.Item] = []
        oldest = group.records[0] if group.records else None
        for item in group.parked:
            if item.state is streams.State.PARKED:
                is_free = oldest is None or oldest > item.held_by
                (free if is_free else still).append(item)
        group.parked = still
        if group.unused:
            del self._groups[name]
        return free

    def predecessor(self, item: streams.Item) -> int:
        """The unsettled entry that must be done before *item* may be, or 0."""
        group = self._groups.get(item.group)
        if group is None or item.is_call:
            return 0
        if item.kind == messages.Kind.RECORD:
            return _last_before(group.records, item.number)
        return _last_before(group.commands.get(item.key, []), item.number)

    def _group(self, name: str) -> _Group:
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Group()
        return group


def _last_before(numbers: list[int], number: int) -> int:
    index = bisect.bisect_left(numbers, number)
    return numbers[index - 1] if index else 0


def _remove(numbers: list[int], number: int) -> None:
    index = bisect.bisect_left(numbers, number)
    if index < len(numbers) and numbers[index] == number:
        del numbers[index]
