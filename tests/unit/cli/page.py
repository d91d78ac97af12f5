# SPDX-License-Identifier: Apache-2.0
"""Reads the page "Operating": its examples, its tables of JSON keys, and what differs by run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.unit.journal import make

TEXT = (make.ROOT / "doc" / "source" / "operating.rst").read_text()
FOLDER = "/var/lib/nova/edge-bus"
_CONSOLE = re.compile(r"^\.\. code-block:: console\n\n((?:(?:   .*)?\n)+)", re.MULTILINE)
_TABLE = re.compile(r"^\.\. list-table:: JSON of (.*)\n((?:(?:   .*)?\n)+)", re.MULTILINE)
_KEYS = re.compile(r"^   \* - (``.*?)\n     - (.*?)(?=^   \* -|\Z)", re.MULTILINE | re.DOTALL)
_VARYING = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    (r"(pid|process) \d+", r"\1 N"),
    (r"\d+ s old", "N s old"),
    (r"\b[0-9a-f]{16}\b", "ID"),
    (r"[\d.]+ (KiB|MiB) (of|on disk)", r"SIZE \2"),
)


class Example(NamedTuple):
    """A command line and what it prints."""

    command: str
    output: str


def examples() -> Iterator[Example]:
    """The examples of the page, in order; a block may hold several commands."""
    for block in _CONSOLE.findall(TEXT):
        lines = [line[3:] for line in block.rstrip().split("\n")]
        text = "\n".join(lines).replace(" \\\n", " ")
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            yield Example(" ".join(command.split()), printed.strip("\n"))


def tables() -> dict[str, dict[str, str]]:
    """The keys and their meanings, by the first words of each table's title."""
    found = {}
    for title, body in _TABLE.findall(TEXT):
        rows = {}
        for cell, meaning in _KEYS.findall(body):
            for key in re.findall(r"``(\w+)``", cell):
                rows[key] = " ".join(meaning.split())
        found[title.replace("`", "").partition(";")[0]] = rows
    return found


def names(text: str) -> set[str]:
    """The words that a text shows as code."""
    return set(re.findall(r"``([\w ]+)``", text))


def steady(text: str, folder: str = FOLDER) -> str:
    """*text* without what differs from run to run, its journals where the page has them."""
    text = text.replace(folder, FOLDER)
    for pattern, put in _VARYING:
        text = re.sub(pattern, put, text)
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n"))
