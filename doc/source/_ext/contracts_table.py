# SPDX-License-Identifier: Apache-2.0
"""The directive ``contracts-table``: a part of the published table, out of the code."""

from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

from nova_edge_bus.contracts import objects
from nova_edge_bus.contracts import services
from nova_edge_bus.contracts import table

PARTS = {"objects": objects.ROWS, "services": services.ROWS, "defaults": table.DEFAULTS}
WIDTHS = (44, 8, 10, 10, 28)
LITERAL = {"method", "contract"}
"""The columns whose text is what is typed."""


class ContractsTable(Directive):
    """``.. contracts-table:: objects``, ``services`` or ``defaults``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        part = self.arguments[0]
        if part not in PARTS:
            raise self.error(f"no part {part!r} of the table, but {', '.join(PARTS)}")
        rows = [table.Listed(row, row.contract).cells for row in PARTS[part]]
        group = nodes.tgroup(cols=len(WIDTHS))
        group += [nodes.colspec(colwidth=width) for width in WIDTHS]
        group += nodes.thead("", make_row(table.HEADINGS, literal=False))
        group += nodes.tbody("", *(make_row(cells, literal=True) for cells in rows))
        return [nodes.table("", group)]


def make_row(cells: tuple[str, ...], *, literal: bool) -> nodes.row:
    row = nodes.row()
    for heading, text in zip(table.HEADINGS, cells, strict=True):
        kind = nodes.literal if literal and heading in LITERAL else nodes.inline
        row += nodes.entry("", nodes.paragraph("", "", kind(text, text)))
    return row


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("contracts-table", ContractsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
