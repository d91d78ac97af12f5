# SPDX-License-Identifier: Apache-2.0
"""The published table as a whole: its order, its defaults, and how a row is found."""

import dataclasses
from collections.abc import Iterator
from collections.abc import Mapping

from nova_edge_bus.contracts import objects
from nova_edge_bus.contracts import services
from nova_edge_bus.contracts.terms import ANY
from nova_edge_bus.contracts.terms import JOURNALED
from nova_edge_bus.contracts.terms import Contract
from nova_edge_bus.contracts.terms import Kind
from nova_edge_bus.contracts.terms import Row

READ_PREFIXES = ("get", "_get", "refresh", "_load")
"""How the names of object methods begin that change nothing; any other is taken for a write."""

_READ = Contract.RELAY
_READS = tuple(
    Row(f"<object>.{prefix}*", Kind.CALL, _READ, ANY, "reads of an object", repeatable=True)
    for prefix in READ_PREFIXES
)
_OTHER_OBJECT_METHOD = Row("<object>.*", Kind.CALL, Contract.REFUSE, ANY, "may be a write")
_OTHERS = {
    Kind.CALL: Row("<any>", Kind.CALL, Contract.RELAY, ANY, "waits, never repeated"),
    Kind.CAST: Row("<any>", Kind.CAST, Contract.COMMAND, ANY, "kept until it is taken"),
    Kind.FANOUT: Row("<any>", Kind.FANOUT, Contract.DROP, "", "for who listens now"),
    Kind.NOTIFY: Row("<any>", Kind.NOTIFY, Contract.COMMAND, "", "for notification_ttl"),
}
DEFAULTS: tuple[Row, ...] = (*_READS, _OTHER_OBJECT_METHOD, *_OTHERS.values())
"""What holds for a message that no row names; the first that fits."""

ROWS: tuple[Row, ...] = (*objects.ROWS, *services.ROWS, *DEFAULTS)
"""The whole table, in the order in which it is published."""

_BY_OBJECT_METHOD = {row.name: row for row in objects.ROWS}
_BY_SERVICE_METHOD = {
    (services.NAMESPACES[interface], method, row.kind): row
    for row in services.ROWS
    for interface, _, method in [row.name.partition(".")]
}


def object_row(name: str, action: str) -> Row:
    """Find the row of a method of an object; the object's own comes before any default."""
    row = _BY_OBJECT_METHOD.get(f"{name}.{action}")
    if row is not None:
        return row
    for prefix, read in zip(READ_PREFIXES, _READS, strict=True):
        if action.startswith(prefix):
            return read
    return _BY_OBJECT_METHOD.get(f"{name}.*", _OTHER_OBJECT_METHOD)


def service_row(namespace: str, method: str, kind: Kind) -> Row:
    """Find the row of a method of a service, or the default of its kind."""
    return _BY_SERVICE_METHOD.get((namespace, method, kind), _OTHERS[kind])


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """A row as it is shown: with an operator's overrides applied, and what is published."""

    row: Row
    published: Contract

    @property
    def overridden(self) -> bool:
        """Whether the operator's contract is another one than the published."""
        return self.row.contract is not self.published

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """Name, kind, contract, group and remark, for people to read."""
        row = self.row
        remark = row.remark
        if self.overridden:
            remark = f"overridden, was {self.published.value}"
        return (row.name, row.kind.value, row.contract.value, row.group or "-", remark)


HEADINGS = ("method", "kind", "contract", "group", "why")
"""What stands above :attr:`Listed.cells`."""


def listed(overrides: Mapping[str, Contract]) -> Iterator[Listed]:
    """The table in its order, with what *overrides* says, checked as they are.

    A read that has no row of its own gets one where it is overridden.
    """
    unnamed = sorted(overrides.keys() - {row.name for row in ROWS})
    reads = [dataclasses.replace(object_row(*name.split(".")), name=name) for name in unnamed]
    for row in (*objects.ROWS, *reads, *services.ROWS, *DEFAULTS):
        contract = overrides.get(row.name) if row.kind is Kind.CALL else None
        changed = row if contract is None else with_contract(row, contract)
        yield Listed(changed, row.contract)


def with_contract(row: Row, contract: Contract) -> Row:
    """The row under another contract; only a relay is repeatable, only what is kept is last."""
    return dataclasses.replace(
        row,
        contract=contract,
        repeatable=row.repeatable and contract is Contract.RELAY,
        last=row.last and contract in JOURNALED,
    )
