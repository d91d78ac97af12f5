# SPDX-License-Identifier: Apache-2.0
"""How many sessions those who hold a key have at an endpoint, and how often they begin one."""

import dataclasses

from nova_edge_bus.protocol import allowance
from nova_edge_bus.protocol import identity


@dataclasses.dataclass(slots=True)
class _Guest:
    greetings: allowance.Allowance
    sessions: int = 0


class Guests:
    """Bounds the sessions of each identity.

    It goes by who somebody is and not by where he comes from: a thousand sites may share one
    address. Where nothing is authenticated it bounds nothing.
    """

    def __init__(self) -> None:
        self._guests: dict[identity.Identity, _Guest] = {}

    def is_heard(self, visitor: identity.Visitor | None, now: float) -> bool:
        """Whether to look at what somebody without a session says; it counts as one beginning.

        Who has begun too many is still told so, for a while.
        """
        guest = self._guest(visitor, now)
        if guest is None or visitor is None:
            return True
        if guest.greetings.left(now) < -allowance.bounds_of(visitor.identity).greetings:
            return False
        guest.greetings.spend(1, now)
        return True

    def objection_to(self, visitor: identity.Visitor | None, freed: int, now: float) -> str:
        """Why there is to be no further session; empty when there may be.

        :param freed: how many sessions the new one replaces
        """
        guest = self._guest(visitor, now)
        if guest is None or visitor is None:
            return ""
        bounds = allowance.bounds_of(visitor.identity)
        if guest.greetings.left(now) < 0:
            return (
                f"{visitor.text} begins more than {bounds.greetings} sessions at once and "
                f"{bounds.greeting_rate:g} a second"
            )
        if guest.sessions - freed >= bounds.sessions:
            return f"{visitor.text} has as many sessions as it may, {bounds.sessions}"
        return ""

    def entered(self, visitor: identity.Visitor | None, now: float) -> None:
        """There is one more session of this identity."""
        if guest := self._guest(visitor, now):
            guest.sessions += 1

    def left(self, visitor: identity.Visitor | None) -> None:
        """There is one less."""
        if visitor and visitor.identity:
            self._guests[visitor.identity].sessions -= 1

    def _guest(self, visitor: identity.Visitor | None, now: float) -> _Guest | None:
        if visitor is None or visitor.identity is None:
            return None
        guest = self._guests.get(visitor.identity)
        if guest is None:
            bounds = allowance.bounds_of(visitor.identity)
            greetings = allowance.Allowance(bounds.greetings, bounds.greeting_rate, now)
            guest = self._guests[visitor.identity] = _Guest(greetings)
        return guest
