# SPDX-License-Identifier: Apache-2.0
"""The pages for operators name commands that there are, and the runbook every alarm."""

from __future__ import annotations

import pathlib
import re
import shlex
from collections.abc import Iterator

import pytest

from nova_edge_bus.cli import main
from nova_edge_bus.journal import slots
from tests.unit.cli import example
from tests.unit.journal import make

Capture = pytest.CaptureFixture[str]
DOCS = make.ROOT / "doc" / "source"
ALERTS = make.ROOT / "etc" / "prometheus" / "edge-bus-alerts.yml"
PAGES = ("runbook", "upgrading", "installing", "sizing", "security", "exactly-once", "endpoint")
_BLOCK = re.compile(r"::\n\n((?: +.*\n|\n)+)")
_INLINE = re.compile(r"``(nova-edge-bus [^`]+)``")
_NUMBERS = re.compile(r"\bSEQ\b")


def text(page: str) -> str:
    return (DOCS / f"{page}.rst").read_text()


def typed(page: str) -> list[str]:
    """The command lines in the literal blocks of a page, those over several lines put together."""
    found = []
    for block in _BLOCK.findall(text(page)):
        for line in re.sub(r"\\\n\s+", " ", block).splitlines():
            line = line.strip().removeprefix("$ ")
            if line.startswith("nova-edge-bus "):
                found.append(line)
    return found


def named(page: str) -> list[str]:
    """The commands that are named in the running text."""
    running = re.sub(r"\n *", " ", _BLOCK.sub("", text(page)))
    return [_NUMBERS.sub("1", line) for line in _INLINE.findall(running)]


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_are_there(page: str, capsys: Capture) -> None:
    assert typed(page) + named(page)
    for line in typed(page) + named(page):
        try:
            main.make_parser().parse_args(shlex.split(line)[1:])
        except SystemExit:
            # One that is merely named leaves out what has to be given.
            said = capsys.readouterr().err.splitlines()[-1]
            assert line in named(page), line
            assert "required" in said, (line, said)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    with slots.take(tmp_path, example.HOST, example.SERVICE):
        example.journal(tmp_path)
        yield tmp_path


def test_what_the_runbook_has_one_type_runs(
    folder: pathlib.Path, capsys: Capture, tmp_path: pathlib.Path
) -> None:
    nova_conf = tmp_path / "nova.conf"
    nova_conf.write_text(f"[edge_bus]\njournal_dir = {folder}\n")
    lines = typed("runbook")
    assert len(lines) > 8
    for line in lines:
        words = shlex.split(line.replace("/etc/nova/nova.conf", str(nova_conf)))[1:]
        if "rescued" in words:
            words[words.index("rescued")] = str(folder)
        elif str(nova_conf) not in words:
            words += ["--journal-dir", str(folder)]
        assert main.main(words) == 0, (line, capsys.readouterr().err)
        out, err = capsys.readouterr()
        assert out, line
        assert err == "", line


def test_there_is_a_section_for_each_alarm() -> None:
    if not ALERTS.exists():
        pytest.skip("no alarms are shipped")
    alarms = set(re.findall(r"^\s*-?\s*alert: *(\w+)", ALERTS.read_text(), re.MULTILINE))
    sections = set(re.findall(r"^(EdgeBus\w+)\n=+$", text("runbook"), re.MULTILINE))
    assert alarms == sections
