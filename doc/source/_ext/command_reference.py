# SPDX-License-Identifier: Apache-2.0
"""The directive ``command-reference``: every command with its options, out of the parser."""

import argparse
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

from nova_edge_bus.cli import main

WIDTH = 78


class CommandReference(Directive):
    """``.. command-reference::``, at the end of a page."""

    def run(self) -> list[nodes.Node]:
        return [section(parser) for parser in leaves(main.make_parser())]


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of the commands that do something."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from leaves(each)
            return
    yield parser


def section(parser: argparse.ArgumentParser) -> nodes.section:
    """What one command is for, how it is written and what its options mean."""
    name = parser.prog
    made = nodes.section(ids=[nodes.make_id(name)], names=[nodes.fully_normalize_name(name)])
    made += nodes.title("", name.removeprefix("nova-edge-bus "))
    usage = formatter(parser)
    usage.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    text = usage.format_help().strip()
    made += nodes.literal_block(text, text)
    described = " ".join((parser.description or "").split())
    made += nodes.paragraph(described, described)
    options = nodes.option_list()
    options += [item(parser, action) for action in parser._actions if action.dest != "help"]
    made += options
    return made


def item(parser: argparse.ArgumentParser, action: argparse.Action) -> nodes.option_list_item:
    """One option or argument."""
    its_formatter = formatter(parser)
    default = action.dest.upper() if action.option_strings else action.dest
    value = "" if action.nargs == 0 else its_formatter._format_args(action, default)
    group = nodes.option_group()
    for string in action.option_strings or [value]:
        option = nodes.option()
        option += nodes.option_string(string, string)
        if action.option_strings and value:
            option += nodes.option_argument(value, value, delimiter=" ")
        group += option
    text = its_formatter._expand_help(action) if action.help else ""
    description = nodes.description("", nodes.paragraph(text, text))
    return nodes.option_list_item("", group, description)


def formatter(parser: argparse.ArgumentParser) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(parser.prog, width=WIDTH)


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("command-reference", CommandReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
