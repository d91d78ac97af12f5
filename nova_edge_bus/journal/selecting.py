# SPDX-License-Identifier: Apache-2.0
"""Which entries of a journal an operator means."""

import dataclasses
from collections.abc import Iterator

from sqlalchemy import ColumnElement
from sqlalchemy import func
from sqlalchemy import literal_column
from sqlalchemy import or_
from sqlalchemy import select

from nova_edge_bus.journal import entries
from nova_edge_bus.journal import schema

PENDING = "pending"
STATES = {
    schema.State.PENDING: PENDING,
    schema.State.APPLIED: str(entries.Outcome.APPLIED),
    schema.State.RECORDED: str(entries.Outcome.APPLIED),
    schema.State.EXPIRED: str(entries.Outcome.EXPIRED),
    schema.State.MERGED: str(entries.Outcome.MERGED),
    schema.State.DEAD: str(entries.Outcome.DEAD),
    schema.State.ASKED: "requeueing",
    schema.State.LOST: "forwarding",
    schema.State.DISCARDED: str(entries.Outcome.DISCARDED),
}
"""What an operator calls the states of an entry that can be in a journal."""
STATUSES = tuple(dict.fromkeys(STATES.values()))

_c = schema.outbox.c
_s = schema.streams.c


@dataclasses.dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are meant: those that meet every condition that is given.

    :param statuses: of :data:`STATUSES`
    :param seqs: inclusive ranges ``(first, last)``; None for an open end
    :param groups: names of groups, or what follows the colon in them, such as an instance's uuid
    :param methods: names of methods; one that ends in ``*`` stands for all that begin so
    :param destinations: addresses, or the topic in them
    :param since: appended then or later; wall clock seconds
    :param until: appended before that; wall clock seconds
    """

    statuses: tuple[str, ...] = ()
    seqs: tuple[tuple[int | None, int | None], ...] = ()
    groups: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """What has to hold for a row."""
        if self.statuses:
            numbers = [int(state) for state, name in STATES.items() if name in self.statuses]
            yield _c.state.in_(numbers)
        if self.seqs:
            yield or_(*(_between(first, last) for first, last in self.seqs))
        if self.groups:
            yield or_(*(_group(name) for name in self.groups))
        if self.methods:
            yield or_(*(_method(name) for name in self.methods))
        if self.destinations:
            matching = or_(*(_destination(name) for name in self.destinations))
            yield _c.stream.in_(select(_s.id).where(matching))
        if self.since is not None:
            yield _c.created_at >= self.since
        if self.until is not None:
            yield _c.created_at < self.until


EVERYTHING = Filter()
"""Meets every entry."""


def _between(first: int | None, last: int | None) -> ColumnElement[bool]:
    return _c.seq.between(first or 0, last if last is not None else (1 << 63) - 1)


def _group(name: str) -> ColumnElement[bool]:
    # A group is KIND:IDENTITY, and who asks mostly has the identity alone.
    identity = func.substr(_c.group, func.instr(_c.group, ":") + 1)
    return or_(_c.group == name, identity == name)


def _method(name: str) -> ColumnElement[bool]:
    if name.endswith("*"):
        return func.substr(_c.method, 1, len(name) - 1) == name[:-1]
    return _c.method == name


def _destination(name: str) -> ColumnElement[bool]:
    # An address is VHOST/EXCHANGE/TOPIC[/SERVER] and may end in #POOL.
    slashed: ColumnElement[str] = literal_column("'/' || replace(address, '#', '/') || '/'")
    return or_(_s.address == name, func.instr(slashed, f"/{name}/") > 0)
