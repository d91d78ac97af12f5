# SPDX-License-Identifier: Apache-2.0
"""The checker: does a history keep to all rules, and which operations break one?

It is pure: it reads no clock, no file and no database. ``python -m tests.consistency.checker
HISTORY`` checks a file that a run has left.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable
from collections.abc import Iterator

from tests.consistency import effects
from tests.consistency import sessions
from tests.consistency.history import History
from tests.consistency.index import Index
from tests.consistency.index import Violation

RULES: tuple[Callable[[Index], Iterator[Violation]], ...] = (
    effects.durability,
    effects.once,
    effects.order,
    sessions.read_your_writes,
    sessions.monotonic_reads,
    sessions.monotonic_writes,
    sessions.writes_follow_reads,
    effects.fencing,
    effects.convergence,
    effects.drain,
)


def check(history: History) -> list[Violation]:
    """Return all violations, in the order of the rules."""
    index = Index(history)
    return [violation for rule in RULES for violation in rule(index)]


def report(history: History, violations: list[Violation], most: int = 20) -> str:
    """What is wrong, for people: each violation with the operations that make it."""
    shown = [violation.told(history) for violation in violations[:most]]
    if len(violations) > most:
        shown.append(f"and {len(violations) - most} more")
    return "\n".join(shown)


def main(paths: list[str]) -> int:
    """Check files; 1 when one of them breaks a rule."""
    status = 0
    for path in paths:
        history = History.load(pathlib.Path(path))
        violations = check(history)
        print(f"{path}: {len(history.operations)} operations, {len(violations)} violations")
        if violations:
            print(report(history, violations))
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
