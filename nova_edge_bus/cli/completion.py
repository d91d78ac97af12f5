# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus completion``: what a shell needs to complete the command line.

A script made once, of the parser, and no program that is asked at each press of the key: loading
this one takes most of a second.
"""

import argparse
import shlex
import typing
from collections.abc import Iterator

from nova_edge_bus.cli import main

_SCRIPT = """\
# bash completion for nova-edge-bus; made by 'nova-edge-bus completion bash'.
_nova_edge_bus() {{
    local word={current} before={previous}
    local path="" words="" at
    for ((at = 1; at < COMP_CWORD; at++)); do
        case "$path ${{COMP_WORDS[at]}}" in
{paths}
        esac
    done
    case "$path $before" in
{values}
    esac
    case "$path" in
{words}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -F _nova_edge_bus nova-edge-bus
"""
_FILES = {"FILE": "-f", "DIR": "-d"}


def register(subparsers: typing.Any) -> None:
    """Add the subcommand's parser."""
    parser = subparsers.add_parser(
        "completion",
        help="print what a shell needs to complete command lines",
        description="Print a script that completes commands, options, and values where they are "
        "known. Put it where bash looks, such as /etc/bash_completion.d/nova-edge-bus.",
    )
    parser.add_argument("shell", choices=["bash"], help="for which shell")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    print(script(main.make_parser()), end="")
    return 0


def script(parser: argparse.ArgumentParser) -> str:
    """Return the script for a parser and all below it."""
    known = list(_parsers(parser, ""))
    return _SCRIPT.format(
        current="${COMP_WORDS[COMP_CWORD]}",
        previous="${COMP_WORDS[COMP_CWORD-1]}",
        paths=_case((path, 'path="$path ${COMP_WORDS[at]}"') for path, _ in known if path),
        values=_case(_values(known)),
        words=_case((path, f'words="{" ".join(_words(each))}"') for path, each in known),
    )


def _case(branches: typing.Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"        {shlex.quote(label)}) {action} ;;" for label, action in branches)


def _parsers(
    parser: argparse.ArgumentParser, path: str
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every parser, with the words that lead to it, each after a blank."""
    yield path, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, each in action.choices.items():
                yield from _parsers(each, f"{path} {name}")


def _words(parser: argparse.ArgumentParser) -> list[str]:
    """What can be written next: commands, values that are known, options."""
    found: list[str] = []
    for action in parser._actions:
        found += action.option_strings or [str(each) for each in action.choices or ()]
    return found


def _values(known: list[tuple[str, argparse.ArgumentParser]]) -> Iterator[tuple[str, str]]:
    """What follows an option that takes a value."""
    for path, parser in known:
        for action in parser._actions:
            for option in action.option_strings if action.nargs != 0 else ():
                reply = f'-W "{" ".join(map(str, action.choices or ()))}"'
                reply = _FILES.get(str(action.metavar), reply)
                yield (
                    f"{path} {option}",
                    f'COMPREPLY=($(compgen {reply} -- "$word")); return',
                )
