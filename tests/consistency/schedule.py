# SPDX-License-Identifier: Apache-2.0
"""What happens to a run, chosen by a seed alone: the same seed gives the same schedule."""

from __future__ import annotations

import random
from typing import NamedTuple

HOSTS = ("edge-1", "edge-2")
CONDUCTORS = ("one", "two")
ENDPOINTS = 2
GROUPS = 4
"""Of each host."""


class Action(NamedTuple):
    """One thing that happens, once so many operations have returned since the last one.

    ``subject`` is a host, a conductor, or the number of an endpoint.
    """

    after: int
    what: str
    subject: str = ""
    detail: str = ""


def random_schedule(seed: int, length: int) -> list[Action]:
    """A schedule of so many actions.

    An instance leaves its host only while that is cut off, as nova asks an operator to see to.
    """
    chance = random.Random(f"schedule {seed}")
    ways = (
        _kill,
        _kill,
        _cut,
        _cut,
        _cut,
        _stop,
        _die,
        _centre_writes,
        _restore,
        _leave,
        _silence,
    )
    made: list[Action] = []
    while len(made) < length:
        made += chance.choice(ways)(chance)
    return made


def _soon(chance: random.Random) -> int:
    return chance.randint(3, 40)


def _kill(chance: random.Random) -> list[Action]:
    what = chance.choice(["host", "conductor", "endpoint"])
    subject = {
        "host": chance.choice(HOSTS),
        "conductor": chance.choice(CONDUCTORS),
        "endpoint": str(chance.randrange(ENDPOINTS)),
    }[what]
    return [Action(_soon(chance), f"kill {what}", subject)]


def _cut(chance: random.Random) -> list[Action]:
    """A host is cut off, perhaps killed meanwhile, and comes back."""
    host = chance.choice(HOSTS)
    made = [Action(_soon(chance), "cut", host, chance.choice(["silence", "reset"]))]
    if chance.random() < 0.5:
        made.append(Action(_soon(chance), "kill host", host))
    if chance.random() < 0.4:
        made.append(Action(_soon(chance), "kill conductor", chance.choice(CONDUCTORS)))
    return [*made, Action(_soon(chance), "heal", host)]


def _silence(chance: random.Random) -> list[Action]:
    """One of a host's two ways is silent for a while."""
    host, way = chance.choice(HOSTS), str(chance.randrange(ENDPOINTS))
    return [Action(_soon(chance), "silence", host, way), Action(_soon(chance), "heal", host)]


def _stop(chance: random.Random) -> list[Action]:
    """A conductor or an endpoint is stopped (SIGSTOP) and goes on."""
    what, subject = chance.choice(
        [("conductor", chance.choice(CONDUCTORS)), ("endpoint", str(chance.randrange(ENDPOINTS)))]
    )
    return [
        Action(_soon(chance), f"stop {what}", subject),
        Action(_soon(chance), f"continue {what}", subject),
    ]


def _die(chance: random.Random) -> list[Action]:
    """A conductor ends right at one of its next commits."""
    death = f"{chance.choice(['before', 'after'])} {chance.randint(1, 20)}"
    return [Action(_soon(chance), "kill conductor", chance.choice(CONDUCTORS), death)]


def _centre_writes(chance: random.Random) -> list[Action]:
    return [
        Action(_soon(chance), "centre writes", chance.choice(HOSTS), str(chance.randrange(GROUPS)))
        for _ in range(3)
    ]


def _restore(chance: random.Random) -> list[Action]:
    host = chance.choice(HOSTS)
    return [Action(_soon(chance), "copy", host), Action(_soon(chance), "restore", host)]


def _leave(chance: random.Random) -> list[Action]:
    """An instance is evacuated from a host that is cut off, or deleted meanwhile."""
    host, what = chance.choice(HOSTS), chance.choice(["evacuate", "delete"])
    return [
        Action(_soon(chance), "cut", host, "silence"),
        Action(30, what, host, str(chance.randrange(GROUPS))),
        Action(30, "heal", host),
    ]
