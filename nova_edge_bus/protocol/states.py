# SPDX-License-Identifier: Apache-2.0
"""The states of a session, and every move between them, for both sides."""

import enum


class State(enum.Enum):
    """Where a session stands."""

    GREETING = "greeting"
    UP = "up"
    CLOSED = "closed"


class Event(enum.Enum):
    """What moves a session to another state."""

    WELCOME = "WELCOME heard"
    HELLO = "HELLO heard and admitted"
    REJECT = "REJECT heard or said"
    RESET = "RESET heard or said"
    GOODBYE = "GOODBYE heard"
    SILENCE = "nothing heard for too long"
    VIOLATION = "the other side broke the protocol"
    CLOSE = "closed by its owner"
    LOSS = "the connection is gone"


_ENDINGS: dict[tuple[State, Event], State] = {
    (state, event): State.CLOSED
    for state in (State.GREETING, State.UP)
    for event in (Event.GOODBYE, Event.SILENCE, Event.VIOLATION, Event.CLOSE, Event.LOSS)
}

DIAL_TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.GREETING, Event.WELCOME): State.UP,
    (State.GREETING, Event.REJECT): State.CLOSED,
    (State.GREETING, Event.RESET): State.CLOSED,
    (State.UP, Event.RESET): State.CLOSED,
    **_ENDINGS,
}
"""Every move of the peer's side."""

ACCEPT_TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.GREETING, Event.HELLO): State.UP,
    (State.GREETING, Event.REJECT): State.CLOSED,
    (State.GREETING, Event.RESET): State.CLOSED,
    **_ENDINGS,
}
"""Every move of the endpoint's side."""
