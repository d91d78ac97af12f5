# SPDX-License-Identifier: Apache-2.0
"""What the numbers in some fields of messages stand for."""

import enum


class Kind(enum.IntEnum):
    """What a delivery is, and so who owns it and what answers it."""

    REQUEST = 1
    """An unjournaled call: numbered by its peer, kept in memory, answered by REPLY."""
    RECORD = 2
    """A journaled call: the sender's until it is applied, answered by REPLY."""
    COMMAND = 3
    """A journaled cast or notification: the sender's until ACCEPT."""


class Status(enum.IntEnum):
    """What a REPLY carries."""

    OK = 0
    FAILURE = 1
    RECORDED = 2
    """OK, and the receiver's database has it on record."""


class Refusal(enum.IntEnum):
    """Why a delivery was not taken. The sender still owns it."""

    NO_ROUTE = 1
    """The endpoint has no session of the peer that the delivery names."""
    NOT_LISTENING = 2
    """The peer is there, but none of its listeners takes this address (any more)."""
    BUSY = 3
    """A bounded queue on the way is full; try again later."""
    FENCED = 4
    """The outbox has been opened again since: the sender's epoch is over."""
    EXPIRED = 5
    """The delivery's deadline passed before it could be dispatched."""


class Rejection(enum.IntEnum):
    """Why an endpoint will not hold a session with a peer."""

    VERSION = 1
    FENCED = 2
    FULL = 3
    IDENTITY = 4


class PeerState(enum.IntEnum):
    """Whether a peer reaches those whom it sends its records to."""

    LINKED = 1
    CUT_OFF = 2
    CATCHING_UP = 3
