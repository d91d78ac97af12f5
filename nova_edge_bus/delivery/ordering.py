# SPDX-License-Identifier: Apache-2.0
"""Order within groups, on the sender's side.

The rules, with their reasons:

- records of a group are applied in the order of their seqs; the receiver sees to it, provided that
  they all go to one inbox, so one is shipped only after its predecessor, and to the same inbox;
- commands of a group to one address are dispatched in order, in the same way;
- a command or a call waits for the records of its group that came before it: whoever gets it reads
  the database that those records change;
- nothing waits for a command to another address: that one may be cut off for hours.
"""

import collections

from nova_edge_bus.delivery import streams
from nova_edge_bus.protocol import messages


class _Group:
    """One group: its unsettled records, in memory or on disk, and the items that wait for them."""

    __slots__ = ("last_command", "parked", "records")

    def __init__(self) -> None:
        self.records: collections.OrderedDict[int, None] = collections.OrderedDict()
        self.parked: list[streams.Item] = []
        self.last_command: dict[str, int] = {}

    @property
    def unused(self) -> bool:
        return not (self.records or self.parked or self.last_command)


class Ordering:
    """The groups of one sender."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}

    def register_record(self, seq: int, group: str) -> None:
        """An unsettled record exists, in memory or on disk; called in the order of the seqs."""
        if group:
            self._group(group).records[seq] = None

    def enter(self, item: streams.Item) -> bool:
        """Take *item* up; False when it is parked behind a record of its group."""
        if not item.group or item.kind == messages.Kind.RECORD:
            return True
        group = self._group(item.group)
        item.held_by = self._record_before(group, None if item.is_call else item.number)
        if item.held_by:
            item.state = streams.State.PARKED
            group.parked.append(item)
        if item.kind == messages.Kind.COMMAND:
            item.follows = group.last_command.get(item.key, 0)
            group.last_command[item.key] = item.number
        return not item.held_by

    def leave(self, item: streams.Item) -> list[streams.Item]:
        """*item* is settled; return the parked items that are free now, oldest first."""
        group = self._groups.get(item.group)
        if group is None:
            return []
        if item.kind == messages.Kind.RECORD:
            group.records.pop(item.number, None)
        if group.last_command.get(item.key) == item.number and not item.is_call:
            del group.last_command[item.key]
        oldest = next(iter(group.records), None)
        free = [
            parked
            for parked in group.parked
            if parked.state is streams.State.PARKED and (oldest is None or oldest > parked.held_by)
        ]
        group.parked = [
            parked
            for parked in group.parked
            if parked.state is streams.State.PARKED and parked not in free
        ]
        if group.unused:
            del self._groups[item.group]
        return free

    def predecessor(self, stream: streams.Stream, item: streams.Item) -> int:
        """The unsettled entry that must be done before *item* may be, or 0."""
        if not item.group or item.is_call:
            return 0
        if item.kind == messages.Kind.RECORD:
            group = self._groups.get(item.group)
            return self._record_before(group, item.number) if group else 0
        return item.follows if item.follows in stream.items else 0

    def may_ship(
        self, stream: streams.Stream, item: streams.Item, consumer: messages.Consumer
    ) -> bool:
        """Whether the predecessor of *item* is on its way to the same inbox."""
        number = self.predecessor(stream, item)
        if not number:
            return True
        earlier = stream.items.get(number)
        return (
            earlier is not None
            and earlier.state is streams.State.IN_FLIGHT
            and earlier.consumer is not None
            and earlier.consumer.inbox == consumer.inbox
        )

    @staticmethod
    def _record_before(group: _Group, number: int | None) -> int:
        for seq in reversed(group.records):
            if number is None or seq < number:
                return seq
        return 0

    def _group(self, name: str) -> _Group:
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Group()
        return group
