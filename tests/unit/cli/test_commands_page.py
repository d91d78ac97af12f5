# SPDX-License-Identifier: Apache-2.0
"""The page "Commands", and the manual page made of it, have every command and every option."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

import pytest
from docutils import core
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.parsers.rst import directives
from docutils.parsers.rst import roles

from nova_edge_bus.cli import main
from tests.unit.journal import make

DOCS = make.ROOT / "doc" / "source"


class Only(Directive):
    """Sphinx's own; what is for one format alone is left out."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        return []


@pytest.fixture(scope="module")
def extension() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS / "_ext"))
        return importlib.import_module("command_reference")


@pytest.fixture(scope="module")
def shown(extension: Any) -> dict[str, set[str]]:
    """The options of each command, as docutils reads the page."""
    directives.register_directive("command-reference", extension.CommandReference)
    directives.register_directive("only", Only)
    roles.register_generic_role("doc", nodes.inline)
    page = core.publish_doctree(
        (DOCS / "commands.rst").read_text(),
        settings_overrides={"report_level": 2, "halt_level": 2},
    )
    return {
        section["names"][0]: {each.astext() for each in section.findall(nodes.option_string)}
        for section in page.findall(nodes.section)
        if section["names"][0].startswith("nova-edge-bus")
    }


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Every command that does something, by its words."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                found |= commands(each)
    return found or {parser.prog: parser}


def test_every_command_and_option_is_on_the_page(shown: dict[str, set[str]]) -> None:
    expected = {
        name: {text for action in parser._actions for text in action.option_strings}
        - {"-h", "--help"}
        for name, parser in commands(main.make_parser()).items()
    }
    assert shown.keys() == expected.keys()
    for name, options in expected.items():
        assert options <= shown[name], name


def test_everything_has_a_help_text() -> None:
    for name, parser in commands(main.make_parser()).items():
        assert parser.description, name
        assert all(action.help for action in parser._actions), name


def test_every_command_prints_json() -> None:
    for name, parser in commands(main.make_parser()).items():
        has = any("--json" in action.option_strings for action in parser._actions)
        assert has or "completion" in name, name


def test_replay_chooses_by_whatever_an_operator_may_know() -> None:
    parser = commands(main.make_parser())["nova-edge-bus replay"]
    options = {text for action in parser._actions for text in action.option_strings}
    assert options >= {
        *("--host", "--service", "--journal", "--journal-dir"),
        *("--group", "--destination", "--method", "--seq", "--since", "--until"),
        *("--dead-letters", "--endpoint", "--dry-run", "--json"),
    }
