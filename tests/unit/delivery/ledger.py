# SPDX-License-Identifier: Apache-2.0
"""What has truly happened in a model world, and the promises it is held to as it happens."""

import collections
import dataclasses

from nova_edge_bus import addressing
from nova_edge_bus.delivery import origins
from nova_edge_bus.delivery import streams
from nova_edge_bus.protocol import messages
from tests.unit.delivery import journals

Name = tuple[bytes, int]


@dataclasses.dataclass
class Fact:
    """An entry, and what became of it.

    :ivar registered: whether its sender has been told that it is in the journal
    :ivar expanded: whether copies for listener pools have taken its place
    :ivar applied: how often a record was dispatched
    :ivar taken: the inboxes that have accepted a command, in order
    :ivar dispatched: the inboxes that have dispatched it, in order
    """

    kind: messages.Kind
    key: str
    group: str
    registered: bool = False
    expanded: bool = False
    applied: int = 0
    taken: list[bytes] = dataclasses.field(default_factory=list)
    dispatched: list[bytes] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Call:
    """A call and what became of it; ``behind`` are the records that it has to wait for."""

    repeatable: bool
    behind: list[Name]
    sent_to: set[bytes] = dataclasses.field(default_factory=set)
    executed: int = 0
    answered: bool = False
    cancelled: bool = False


class Ledger:
    """Told of everything, before or as it takes effect; a broken promise is an AssertionError.

    :param second_inbox: whether a command may be dispatched from another inbox as well, because
        its consumer stayed away longer than the grace
    """

    def __init__(self, *, second_inbox: bool) -> None:
        self.second_inbox = second_inbox
        self.memory_lost = False
        self.dead: set[bytes] = set()
        self.inboxes: dict[bytes, bytes] = {}
        self.facts: dict[Name, Fact] = {}
        self.calls: dict[bytes, Call] = {}
        self._records: dict[tuple[bytes, str], list[int]] = collections.defaultdict(list)
        self._commands: dict[tuple[bytes, str, str], list[int]] = collections.defaultdict(list)
        self._last: dict[tuple[bytes, bytes, str, str], int] = {}

    # At the sender

    def appended(self, outbox: bytes, seq: int, kind: messages.Kind, key: str, group: str) -> None:
        self.facts[(outbox, seq)] = Fact(kind, key, group)
        if group and kind == messages.Kind.RECORD:
            self._records[(outbox, group)].append(seq)
        elif group:
            self._commands[(outbox, key, group)].append(seq)

    def registered(self, outbox: bytes, seq: int) -> None:
        self.facts[(outbox, seq)].registered = True

    def expanded(self, outbox: bytes, seq: int) -> None:
        fact = self.facts[(outbox, seq)]
        assert not fact.taken, "a notification was copied after it had arrived"
        fact.expanded = True

    def called(self, name: bytes, outbox: bytes, group: str, *, repeatable: bool) -> None:
        seqs = self._records[(outbox, group)] if group else []
        behind = [(outbox, seq) for seq in seqs if self.facts[(outbox, seq)].registered]
        self.calls[name] = Call(repeatable, behind)

    def cancelled(self, name: bytes) -> None:
        self.calls[name].cancelled = True

    def answered(self, name: bytes) -> None:
        call = self.calls[name]
        assert call.executed, "a call was answered that was never executed"
        assert not call.answered, "a call was answered twice"
        call.answered = True

    def shipped(self, message: messages.Deliver, journal: journals.Journal) -> None:
        """A delivery leaves: its journal must say the same."""
        if message.kind == messages.Kind.REQUEST:
            self.calls[message.body].sent_to.add(message.to)
            return
        entry = journal.pending.get(message.number)
        assert entry is not None, f"entry {message.number} is shipped and yet settled"
        lowest = journal.lowest_pending(message.address)
        assert message.floor <= lowest, f"floor {message.floor} above pending {lowest}"
        address = streams.split_key(message.address)[0]
        if not addressing.is_server_directed(address):
            inbox = self.inboxes[message.to]
            assert entry.pin == inbox, f"entry {message.number} is shipped without its pin"

    # At the receiver

    def accepted(self, item: origins.Inbound, inbox: bytes) -> None:
        name = (item.origin, item.number)
        fact = self.facts[name]
        assert inbox not in fact.taken, f"command {name} was accepted twice by one inbox"
        if fact.taken:
            assert self.second_inbox, f"command {name} was accepted by a second inbox"
        else:
            self._check_commands_before(name, fact)
            self._check_records_before(name, fact)
        fact.taken.append(inbox)

    def withdrawn(self, item: origins.Inbound, inbox: bytes) -> None:
        self.facts[(item.origin, item.number)].taken.remove(inbox)

    def dispatched(self, item: origins.Inbound, inbox: bytes) -> None:
        name = (item.origin, item.number)
        fact = self.facts[name]
        assert inbox in fact.taken, f"command {name} was dispatched before it was accepted"
        assert inbox not in fact.dispatched, f"command {name} was dispatched twice by one inbox"
        assert self.second_inbox or not fact.dispatched, f"command {name} was dispatched twice"
        fact.dispatched.append(inbox)
        if fact.group:
            place = (inbox, item.origin, fact.key, fact.group)
            assert self._last.get(place, 0) < item.number, f"command {name} overtook another"
            self._last[place] = item.number

    def executed(self, item: origins.Inbound) -> None:
        """A record or a call is handed to the service."""
        if item.kind == messages.Kind.REQUEST:
            call = self.calls[item.body]
            assert call.repeatable or not call.executed, "a call was executed twice"
            for name in call.behind:
                assert self.facts[name].applied, f"a call overtook record {name}"
            call.executed += 1
            return
        name = (item.origin, item.number)
        fact = self.facts[name]
        if not self.memory_lost and not self.second_inbox:
            assert not fact.applied, f"record {name} was applied twice"
        if not fact.applied:
            self._check_records_before(name, fact)
        fact.applied += 1

    def _check_records_before(self, name: Name, fact: Fact) -> None:
        for seq in self._records[(name[0], fact.group)] if fact.group else ():
            if seq >= name[1]:
                break
            assert self.facts[(name[0], seq)].applied, f"entry {name} overtook record {seq}"

    def _check_commands_before(self, name: Name, fact: Fact) -> None:
        for seq in self._commands[(name[0], fact.key, fact.group)] if fact.group else ():
            if seq >= name[1]:
                break
            assert self.facts[(name[0], seq)].taken, f"command {name} overtook command {seq}"

    def died(self, peer: bytes) -> None:
        """A process lost its memory: what it received, and that its calls have callers."""
        self.memory_lost = True
        self.dead.add(peer)
        for name, call in self.calls.items():
            call.cancelled = call.cancelled or name.startswith(peer)

    def awaited_calls(self) -> list[bytes]:
        """The calls that have to be answered yet.

        One that was shipped to a process which died is made again only if it is repeatable, and
        only when the grace is over.
        """
        return [
            name
            for name, call in self.calls.items()
            if not (call.cancelled or call.answered)
            and not (call.sent_to & self.dead and not (call.repeatable and self.second_inbox))
        ]

    # At the end

    def check_all_done(self) -> None:
        for name, fact in self.facts.items():
            if fact.kind == messages.Kind.RECORD:
                assert fact.applied, f"record {name} was never applied"
            elif not fact.expanded:
                assert fact.dispatched, f"command {name} was never dispatched"
        assert not self.awaited_calls(), "a call was never answered"
