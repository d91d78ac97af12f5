# SPDX-License-Identifier: Apache-2.0
"""The page of the contracts shows the table of the code, and tells of all that the command has."""

from __future__ import annotations

import argparse
import importlib
import pathlib
import re
from typing import Any

import pytest
from docutils import core
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.parsers.rst import roles

from nova_edge_bus import contracts
from nova_edge_bus.cli import contracts as command
from nova_edge_bus.contracts import overrides
from nova_edge_bus.contracts import table

DOCS = pathlib.Path(__file__).parents[3] / "doc" / "source"
TEXT = (DOCS / "contracts.rst").read_text()


def text_of(row: nodes.row) -> list[str]:
    return [entry.astext() for entry in row.findall(nodes.entry)]


@pytest.fixture(scope="module")
def tables() -> list[list[list[str]]]:
    """The cells of each table of the page, as docutils reads it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS / "_ext"))
        extension: Any = importlib.import_module("contracts_table")
    directives.register_directive("contracts-table", extension.ContractsTable)
    roles.register_generic_role("doc", nodes.inline)
    page = core.publish_doctree(TEXT, settings_overrides={"report_level": 2, "halt_level": 2})
    found = page.findall(nodes.table)
    return [[text_of(row) for row in each.findall(nodes.row)] for each in found]


def test_the_published_table_is_the_page_s(tables: list[list[list[str]]]) -> None:
    shown = [rows for rows in tables if tuple(rows[0]) == table.HEADINGS]
    assert len(shown) == 3
    rows = [tuple(row) for part in shown for row in part[1:]]
    assert rows == [each.cells for each in table.listed({})]


def test_every_contract_is_explained(tables: list[list[list[str]]]) -> None:
    (explained,) = (rows for rows in tables if rows[0][1:2] == ["for"])
    assert [row[0] for row in explained[1:]] == [each.value for each in contracts.Contract]


def test_the_possible_overrides_are_those_of_the_page(tables: list[list[list[str]]]) -> None:
    (told,) = (rows for rows in tables if rows[0][:1] == ["published"])
    possible = {
        published.value: {each.value for each in choice - {published}}
        for published, choice in overrides.POSSIBLE.items()
    }
    assert {row[0]: set(row[1].split(", ")) for row in told[1:]} == possible


def test_the_keys_of_the_json_are_those_of_the_page(tables: list[list[list[str]]]) -> None:
    (keys,) = (rows for rows in tables if rows[0][:1] == ["key"])
    row = next(table.listed({}))
    assert [each[0] for each in keys[1:]] == list(command.as_json(row))


def test_every_option_of_the_command_is_told_of() -> None:
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    (subparsers,) = (each for each in parser._actions if isinstance(each.choices, dict))
    assert subparsers.choices is not None
    actions = dict(subparsers.choices)["contracts"]._actions
    options = {name for action in actions for name in action.option_strings} - {"-h", "--help"}
    assert options == set(re.findall(r"``(--[\w-]+)``", TEXT))
