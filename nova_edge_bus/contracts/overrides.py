# SPDX-License-Identifier: Apache-2.0
"""An operator's contracts in place of the published ones, and which of them can work."""

import difflib
from collections.abc import Mapping

from nova_edge_bus import errors
from nova_edge_bus.contracts import table
from nova_edge_bus.contracts.terms import Contract
from nova_edge_bus.contracts.terms import Kind
from nova_edge_bus.contracts.terms import Row

Overrides = tuple[tuple[str, Contract], ...]

_OF_CALLS = (Contract.RECORD, Contract.MERGE, Contract.RELAY, Contract.REFUSE)
POSSIBLE = {
    Contract.RECORD: {Contract.RECORD, Contract.RELAY, Contract.REFUSE},
    Contract.MERGE: {Contract.MERGE, Contract.RECORD, Contract.RELAY, Contract.REFUSE},
    Contract.RELAY: {Contract.RELAY, Contract.REFUSE},
    Contract.REFUSE: {Contract.REFUSE, Contract.RELAY},
}
"""What a call of each published contract can be made."""


def parse(texts: Mapping[str, str]) -> Overrides:
    """Read the option ``contracts``: names as the table prints them, and names of contracts.

    :raises ConfigurationError: when a name is not in the table, a contract does not exist, or the
        message could not be carried under it
    """
    return tuple((name, _contract(name, text)) for name, text in sorted(texts.items()))


def _contract(name: str, text: str) -> Contract:
    row = _row(name)
    known = [contract.value for contract in Contract]
    if text not in known:
        raise _error(name, f"unknown contract {text!r}", f"known are {', '.join(known)}")
    contract = Contract(text)
    if row.kind is not Kind.CALL:
        raise _error(
            name,
            f"a {row.kind.value} cannot be {text}, it is always a {row.contract.value}",
            "only calls can be overridden",
        )
    if contract not in _OF_CALLS:
        raise _error(
            name,
            f"a call cannot be {text}, its caller waits for an answer",
            f"use one of {', '.join(each.value for each in _OF_CALLS)}",
        )
    if contract not in POSSIBLE[row.contract]:
        if row.contract is Contract.RECORD:
            why = "each of its entries counts, not the newest alone"
        else:
            why = "its caller needs an answer that only the other side can give"
        choice = ", ".join(each.value for each in _OF_CALLS if each in POSSIBLE[row.contract])
        raise _error(name, f"cannot be {text}: {why}", f"use one of {choice}")
    return contract


def _row(name: str) -> Row:
    """The row that an override of *name* bears on: the call, where there are several."""
    rows = [row for row in table.ROWS if row.name == name and not row.is_default]
    if rows:
        return min(rows, key=lambda row: row.kind is not Kind.CALL)
    objname, _, action = name.partition(".")
    if objname[:1].isupper() and not objname.endswith("API") and action.isidentifier():
        row = table.object_row(objname, action)
        if row.contract is Contract.RELAY:
            return row
    close = difflib.get_close_matches(name, [row.name for row in table.ROWS], n=1)
    raise _error(
        name,
        "no such method in the table of contracts",
        f"did you mean {close[0]}?" if close else "see 'nova-edge-bus contracts'",
    )


def _error(name: str, what: str, hint: str) -> errors.ConfigurationError:
    return errors.ConfigurationError(f"[edge_bus] contracts, {name}: {what}; {hint}")
