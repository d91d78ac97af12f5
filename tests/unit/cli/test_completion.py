# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus completion``: what bash makes of the script."""

from __future__ import annotations

import pathlib
import shlex
import subprocess

import pytest

from nova_edge_bus.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def script(capsys: Capture, tmp_path: pathlib.Path) -> pathlib.Path:
    assert main.main(["completion", "bash"]) == 0
    path = tmp_path / "completion"
    path.write_text(capsys.readouterr().out)
    return path


def completed(script: pathlib.Path, line: str) -> list[str]:
    """What bash offers at the end of a line."""
    words = shlex.join(["nova-edge-bus", *line.split(" ")])
    asked = f"""
        source {shlex.quote(str(script))}
        COMP_WORDS=({words})
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _nova_edge_bus
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    answered = subprocess.run(
        ["bash", "-uc", asked],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=script.parent,
    )
    assert answered.stderr == ""
    return sorted(answered.stdout.split())


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("sta", ["status"]),
        ("outbox ", ["--help", "-h", "list", "show"]),
        ("dead-letters re", ["requeue"]),
        ("outbox list --sta", ["--status"]),
        ("outbox list --status m", ["merged"]),
        ("outbox --x list --destination a --un", ["--until"]),
        ("status --journal comp", ["completion"]),
        ("outbox list --group any", []),
        ("completion ba", ["bash"]),
        ("unknown --js", []),
    ],
)
def test_what_can_come_next_is_offered(
    script: pathlib.Path, line: str, offered: list[str]
) -> None:
    assert completed(script, line) == offered


def test_every_command_is_offered(script: pathlib.Path) -> None:
    offered = completed(script, "")
    assert {name.replace("_", "-") for name in main.COMMANDS} <= set(offered)
