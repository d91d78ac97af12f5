# SPDX-License-Identifier: Apache-2.0
"""The events of the log are those of the page "Operating", each logged by somebody, as it says."""

from __future__ import annotations

import ast
import re

from nova_edge_bus import events
from tests.unit.journal import make
from tests.unit.monitoring import tables

PACKAGE = make.ROOT / "nova_edge_bus"
EVENT = re.compile(r"([a-z]+(?:-[a-z]+)*)((?: [a-z]+=%s)+): \S.*")
WORDINGS = {name: text for name, text in vars(events).items() if name.isupper()}


def keys(text: str) -> list[str]:
    """The keys of an event's wording."""
    found = EVENT.fullmatch(text)
    assert found is not None, text
    return re.findall(r"([a-z]+)=%s", found[2])


def logged() -> dict[str, set[str]]:
    """The level at which each event is logged, out of the code."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr not in ("debug", "info", "warning", "error") or not node.args:
                continue
            wording = node.args[0]
            if isinstance(wording, ast.Attribute) and isinstance(wording.value, ast.Name):
                if wording.value.id == "events":
                    found.setdefault(wording.attr, set()).add(node.func.attr)
                    given = len(node.args) - 1
                    assert WORDINGS[wording.attr].count("%s") == given, path
    return found


def test_the_page_has_every_event_as_it_is_logged() -> None:
    levels = logged()
    expected = {
        text.partition(" ")[0]: (levels[name], keys(text)) for name, text in WORDINGS.items()
    }
    documented = {
        row[0]: ({row[1]}, row[2].split(", ")) for row in tables.rows("operating.rst", "Event")
    }
    assert documented == expected


def test_no_event_has_two_wordings() -> None:
    names = [text.partition(" ")[0] for text in WORDINGS.values()]
    assert len(set(names)) == len(names)
