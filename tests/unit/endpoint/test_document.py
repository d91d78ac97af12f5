# SPDX-License-Identifier: Apache-2.0
"""The page on the endpoint names what the command has, and the numbers it has."""

import pathlib
import subprocess
import sys

from nova_edge_bus.protocol import settings as limits

DOCUMENT = pathlib.Path(__file__).resolve().parents[3] / "doc" / "source" / "endpoint.rst"
TEXT = DOCUMENT.read_text()


def test_every_option_is_described() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "nova_edge_bus.cli.main", "endpoint", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    options = {word.strip("[],") for word in shown.split() if word.strip("[],").startswith("--")}
    described = {line.strip("`").split()[0] for line in TEXT.splitlines() if line[:4] == "``--"}
    assert described == options - {"--help"}


def test_the_numbers_are_those_of_the_code() -> None:
    settings = limits.Settings()
    assert f"({settings.max_sessions:,} unless given)" in TEXT
    assert f"{settings.pending_messages:,} messages" in TEXT
    assert f"{settings.pending_bytes >> 20} MiB for each session" in TEXT
    assert f"{settings.pending_bytes_total >> 20} MiB for the endpoint" in TEXT
    assert limits.Settings(max_sessions=5000).heartbeat == 1.0
    assert limits.Settings(max_sessions=40_000).heartbeat == 40_000 / 5_000
