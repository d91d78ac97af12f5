# SPDX-License-Identifier: Apache-2.0
"""What the commands print: columns, JSON, and the texts of times and sizes.

What came from elsewhere, such as a group's name or a reason, is printed with its control
characters written out, so that it cannot steer a terminal.
"""

import itertools
import json
import shutil
import sys
import time
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

GAP = "  "
LOOK_AHEAD = 200
"""Rows that are looked at before the first is printed; they settle the widths of the columns."""
_MEBIBYTE = 1 << 20


def print_json(value: Any) -> None:
    """Print one JSON document, indented."""
    print(json.dumps(value, indent=2))


def print_json_list(rows: Iterable[Any]) -> int:
    """Print a JSON list, one row a line, as the rows come; return how many there were."""
    count = 0
    for row in rows:
        print("[\n" if count == 0 else ",\n", json.dumps(row), sep="", end="")
        count += 1
    print("\n]" if count else "[]")
    return count


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Print rows in columns under their headings, as the rows come; return how many there were.

    On a terminal a line is cut at its width; elsewhere nothing is. Without rows nothing is
    printed.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    count = 0
    for line in table_lines(headings, rows):
        if width is not None and len(line) > width:
            line = line[: max(1, width - 1)] + "…"
        print(line)
        count += 1
    return max(0, count - 1)


def table_lines(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table; a cell that comes late and is wider shifts what follows it."""
    following = iter(rows)
    first = list(itertools.islice(following, LOOK_AHEAD))
    if not first:
        return
    shown = [tuple(headings), *(tuple(map(clean, row)) for row in first)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in itertools.chain(shown, (tuple(map(clean, row)) for row in following)):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield GAP.join(cells).rstrip()


def clean(text: str) -> str:
    """Return *text* on one line, with what is not printable written out."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def moment(seconds: float | None) -> str | None:
    """Return wall clock seconds as ISO 8601 in UTC, to the second; None for None."""
    if seconds is None:
        return None
    try:
        year, month, day, hour, minute, second, *_ = time.gmtime(seconds)
    except (OverflowError, ValueError, OSError):
        return str(seconds)
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"


def duration(seconds: float) -> str:
    """Return a length of time for a reader, in its two largest units."""
    whole = max(0, int(seconds))
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for (name, size), (next_name, next_size) in itertools.pairwise(units):
        if whole >= size:
            rest = whole % size // next_size
            return f"{whole // size} {name}" + (f" {rest} {next_name}" if rest else "")
    return f"{whole} s"


def size(count: int) -> str:
    """Return a number of bytes for a reader."""
    if count < 1024:
        return f"{count} B"
    if count < _MEBIBYTE:
        return f"{count / 1024:.4g} KiB"
    return f"{count / _MEBIBYTE:.4g} MiB"
