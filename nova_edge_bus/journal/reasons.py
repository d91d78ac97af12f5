# SPDX-License-Identifier: Apache-2.0
"""Why an entry ended as it did: one line for people, and perhaps one with what was found."""

import json
from collections.abc import Mapping
from typing import Any

MAX_REASON = 1000
"""Characters of a reason that are kept: it comes from the other side, and is written when full."""
_LEAST_TEXT = 300
"""Characters that the text keeps, whatever the rest takes."""


def refusal(text: str, found: Mapping[str, Any]) -> str:
    """Return the reason for what the other side refused.

    :param text: what it said
    :param found: the parameters of its exception, by name, such as what was expected and what was
        there; left out when they take too much room
    """
    if not found:
        return text
    details = json.dumps(found, default=str)
    room = MAX_REASON - len(details) - 1
    if room < _LEAST_TEXT:
        return text
    return f"{text.rstrip()[:room]}\n{details}"


def read(reason: str) -> tuple[str, dict[str, Any] | None]:
    """Return the text of a reason, and what was found, if it says."""
    text, _, last = reason.rpartition("\n")
    if text and last.startswith("{"):
        try:
            found = json.loads(last)
        except ValueError:
            return reason, None
        if isinstance(found, dict):
            return text, found
    return reason, None


def after(word: str, reason: str | None) -> str:
    """Return the reason for what happened to a dead letter that had *reason*."""
    return f"{word}; it was dead because: {reason}" if reason else word
