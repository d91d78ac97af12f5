# SPDX-License-Identifier: Apache-2.0
"""The contracts, what a row of their table says, and what one message gets from it."""

import dataclasses
import enum


class Contract(enum.Enum):
    """What becomes of a message; see the table in the documentation."""

    RECORD = "record"
    """A journaled change of state; answered when it has been applied."""
    MERGE = "merge"
    """A record of which only the newest state matters."""
    RELAY = "relay"
    """A call that only the other side answers; the reads among them may be repeated."""
    REFUSE = "refuse"
    """A call that cannot be answered locally and must not be repeated."""
    COMMAND = "command"
    """A journaled cast or notification."""
    DROP = "drop"
    """Sent to whoever listens now, and not kept."""


JOURNALED = frozenset({Contract.RECORD, Contract.MERGE, Contract.COMMAND})
"""The contracts whose messages go through the outbox."""


class Kind(enum.Enum):
    """How a message is sent."""

    CALL = "call"
    CAST = "cast"
    FANOUT = "fanout"
    NOTIFY = "notify"


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """The contract of one message, the group it must stay in order with, and its name in lists.

    ``repeatable`` tells that a call may be made again when nobody knows whether it was made.
    ``last`` tells that it goes only after everything older has been applied.
    """

    contract: Contract
    group: str
    method: str
    repeatable: bool = False
    last: bool = False

    @property
    def journaled(self) -> bool:
        """Whether the message goes through the outbox."""
        return self.contract in JOURNALED


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row of the published table.

    ``name`` is ``OBJECT.METHOD`` or ``INTERFACE.METHOD``, the interface being the class of nova's
    RPC client; ``OBJECT.*`` is every method of an object that has no row and does not read, and a
    name that begins with ``<`` is a default. ``group`` is the kind of group: ``instance``,
    ``host``, ``node``, empty for none, and :data:`ANY` for whichever the arguments name.
    """

    name: str
    kind: Kind
    contract: Contract
    group: str
    remark: str
    repeatable: bool = False
    last: bool = False

    @property
    def is_default(self) -> bool:
        """Whether the row stands for what no other row names."""
        return self.name.startswith("<")


ANY = "any"
"""The kind of group of a row that stands for several methods."""
