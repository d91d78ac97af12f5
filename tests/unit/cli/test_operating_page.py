# SPDX-License-Identifier: Apache-2.0
"""The page "Operating" shows what its commands print, and names every key of their JSON."""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from nova_edge_bus.cli import main
from nova_edge_bus.journal import checking
from nova_edge_bus.journal import selecting
from nova_edge_bus.journal import slots
from nova_edge_bus.runtime import figures
from tests.unit.cli import example
from tests.unit.cli import page

Capture = pytest.CaptureFixture[str]
COMMANDS = ("status", "outbox", "dead-letters", "replay", "verify")


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The journals of the page, with this process as the live owner."""
    with slots.take(tmp_path, example.HOST, example.SERVICE):
        example.journal(tmp_path)
        yield tmp_path


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command of the page, by its words."""
    found = {}
    for name, parser in children(main.make_parser()).items():
        if name in COMMANDS:
            verbs = children(parser)
            found |= {f"{name} {verb}": each for verb, each in verbs.items()} or {name: parser}
    return found


def children(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def keys(capsys: Capture, *command: str) -> Any:
    main.main([*command, "--json"])
    return json.loads(capsys.readouterr().out)


def test_every_example_prints_what_the_page_says(folder: pathlib.Path, capsys: Capture) -> None:
    shown = list(page.examples())
    assert shown
    for command, printed in shown:
        words = shlex.split(command.replace(page.FOLDER, str(folder)))
        assert words[0] == "nova-edge-bus"
        main.main(words[1:])
        out, err = capsys.readouterr()
        assert page.steady(out + err, str(folder)) == page.steady(printed), command


def test_every_command_is_shown(folder: pathlib.Path) -> None:
    shown = [command for command, _ in page.examples()]
    for name in parsers():
        assert any(command.startswith(f"nova-edge-bus {name} ") for command in shown), name


def test_every_option_is_told_of() -> None:
    told = set(re.findall(r"(--[\w-]+)", page.TEXT))
    for name, parser in parsers().items():
        options = {text for action in parser._actions for text in action.option_strings}
        assert options - {"-h", "--help"} <= told, name


def test_the_json_of_status_has_the_keys_of_the_page(
    folder: pathlib.Path, capsys: Capture
) -> None:
    whole = keys(capsys, "status", "--journal-dir", str(folder))
    tables = page.tables()
    assert set(whole) == set(tables["status: an object"])
    table = tables["status: each of journals"]
    (journal,) = whole["journals"]
    assert set(journal) == set(table)
    assert set(journal["entries"]) | {"count", "bytes"} == page.names(table["entries"])
    assert set(journal["bytes"]) == page.names(table["bytes"])
    states = {"linked", "not linked", "cut off", "catching up"}
    for name in ("endpoints", "destinations"):
        assert set(journal[name][0]) == page.names(table[name]) - states
    assert set(figures.Figures().read()) == page.names(table["figures"])
    assert set(journal["snapshot"]) == page.names(table["snapshot"])


def test_the_json_of_the_outbox_has_the_keys_of_the_page(
    folder: pathlib.Path, capsys: Capture
) -> None:
    tables = page.tables()
    listed = keys(capsys, "outbox", "list", "--journal-dir", str(folder))
    table = tables["outbox list: a list of objects"]
    assert all(set(row) == set(table) for row in listed)
    assert page.names(table["status"]) == set(selecting.STATUSES)
    (shown,) = keys(capsys, "outbox", "show", "3", "--journal-dir", str(folder))
    besides = tables["outbox show: a list of objects, with these keys besides"]
    assert set(shown) == set(table) | set(besides)


def test_the_json_of_dead_letters_has_the_keys_of_the_page(
    folder: pathlib.Path, capsys: Capture
) -> None:
    tables = page.tables()
    directory = ("--journal-dir", str(folder))
    base = set(tables["outbox list: a list of objects"])
    (listed,) = keys(capsys, "dead-letters", "list", *directory)
    assert set(listed) == base
    base |= set(tables["outbox show: a list of objects, with these keys besides"])
    (shown,) = keys(capsys, "dead-letters", "show", "1", *directory)
    sides = set(tables["dead-letters show: a list of objects"])
    assert set(shown) == base | sides
    changing = set(tables["dead-letters requeue and discard: an object"])
    for verb, other in (("requeue", "discarded"), ("discard", "requeued")):
        changed = keys(capsys, "dead-letters", verb, "1", "--dry-run", *directory)
        assert set(changed) == changing - {other}
        assert set(changed[f"{verb}d" if verb == "requeue" else "discarded"][0]) == {
            "journal",
            "seq",
        }


def test_the_json_of_replay_has_the_keys_of_the_page(
    folder: pathlib.Path, capsys: Capture
) -> None:
    whole = keys(capsys, "replay", "--dry-run", "--journal-dir", str(folder))
    tables = page.tables()
    assert set(whole) == set(tables["replay: an object"])
    (journal,) = whole["journals"]
    assert set(journal) == set(tables["replay: each of journals"])


def test_the_json_of_verify_has_the_keys_of_the_page(
    folder: pathlib.Path, capsys: Capture
) -> None:
    table = page.tables()["verify: a list of objects"]
    (sound,) = keys(capsys, "verify", "--journal-dir", str(folder))
    assert set(sound) == set(table)
    assert set(checking.Finding._fields) == page.names(table["findings"])


def test_every_check_of_verify_is_told_of() -> None:
    source = pathlib.Path(checking.__file__).read_text()
    made = set(re.findall(r'Finding\(\s*"(\w+)"', source))
    section = page.TEXT.partition("\nverify\n======")[2]
    assert made == set(re.findall(r"``(\w+)``", "".join(re.findall(r"\* - (.*)\n", section)))) - {
        "journal",
        "findings",
    }
