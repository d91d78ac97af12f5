# SPDX-License-Identifier: Apache-2.0
"""Reads tables of the documentation as docutils does."""

from __future__ import annotations

from docutils import core
from docutils import nodes
from docutils.parsers.rst import roles

from tests.unit.journal import make


def rows(name: str, heading: str) -> list[list[str]]:
    """The rows of all tables of a page whose first column has this heading, as plain text."""
    roles.register_generic_role("doc", nodes.inline)
    text = (make.ROOT / "doc" / "source" / name).read_text()
    # Sphinx's own directives are unknown here, and no matter.
    page = core.publish_doctree(text, settings_overrides={"report_level": 5})
    found: list[list[str]] = []
    for table in page.findall(nodes.table):
        read = [
            [" ".join(entry.astext().split()) for entry in row.findall(nodes.entry)]
            for row in table.findall(nodes.row)
        ]
        if read[0][0] == heading:
            found += read[1:]
    return found
