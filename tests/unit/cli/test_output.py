# SPDX-License-Identifier: Apache-2.0
"""What the commands print: columns, JSON, times and sizes."""

from __future__ import annotations

import io
import json
import os
import sys

import pytest

from nova_edge_bus.cli import output

Capture = pytest.CaptureFixture[str]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_columns_stand_under_their_headings(capsys: Capture) -> None:
    assert output.print_table(["a", "long"], [("one", "1"), ("four", "")]) == 2
    assert capsys.readouterr().out == "a     long\none   1\nfour\n"


def test_a_table_without_rows_is_nothing(capsys: Capture) -> None:
    assert output.print_table(["a"], []) == 0
    assert capsys.readouterr().out == ""


def test_a_late_wide_cell_is_whole() -> None:
    rows = [("x", "y")] * output.LOOK_AHEAD + [("x" * 30, "y")]
    *_, last = output.table_lines(["a", "b"], rows)
    assert last == "x" * 30 + "  y"


def test_the_first_rows_are_printed_before_the_last_one_comes() -> None:
    taken = []

    def rows() -> object:
        for number in range(10 * output.LOOK_AHEAD):
            taken.append(number)
            yield (str(number),)

    lines = output.table_lines(["number"], rows())  # type: ignore[arg-type]
    assert next(lines) == "number"
    assert len(taken) == output.LOOK_AHEAD


def test_a_terminal_gets_lines_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_: os.terminal_size((10, 5)))
    output.print_table(["reason"], [("x" * 30,)])
    assert terminal.getvalue().splitlines() == ["reason", "x" * 9 + "…"]


def test_a_pipe_gets_whole_lines(capsys: Capture) -> None:
    output.print_table(["reason"], [("x" * 300,)])
    assert "x" * 300 in capsys.readouterr().out


def test_what_could_steer_a_terminal_is_written_out() -> None:
    assert output.clean("a\x1b[2Jb\nc\u202e") == "a\\x1b[2Jb\\nc\\u202e"
    assert output.clean("Grüße 7") == "Grüße 7"


@pytest.mark.parametrize("rows", [[], [{"a": 1}], [{"a": 1}, {"b": None}]])
def test_a_streamed_list_is_json(capsys: Capture, rows: list[dict[str, object]]) -> None:
    assert output.print_json_list(iter(rows)) == len(rows)
    assert json.loads(capsys.readouterr().out) == rows


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (-3.0, "0 s"),
        (59.9, "59 s"),
        (60.0, "1 min"),
        (3725.0, "1 h 2 min"),
        (86400.0, "1 d"),
        (90000.0, "1 d 1 h"),
    ],
)
def test_a_length_of_time_is_told_in_two_units(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text


def test_a_moment_is_told_in_utc() -> None:
    assert output.moment(86400.9) == "1970-01-02T00:00:00Z"
    assert output.moment(None) is None
    assert output.moment(1e300) == "1e+300"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 20, "3 MiB")]
)
def test_a_size_is_told_in_its_unit(count: int, text: str) -> None:
    assert output.size(count) == text
