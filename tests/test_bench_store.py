# SPDX-License-Identifier: Apache-2.0
"""The benchmark of keeping and passing on runs through and counts right; no time passes a test."""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
HAS_NATS = shutil.which("nats-server") and importlib.util.find_spec("nats")


def run(*arguments: str, path: str | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bench", "store", "--quick", "--callers", "1,4", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "PATH": os.environ["PATH"] if path is None else path},
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "what",
    [
        "edge,floor",
        pytest.param("nats", marks=pytest.mark.skipif(not HAS_NATS, reason="no NATS here")),
    ],
)
def test_a_quick_run_loses_nothing(tmp_path: pathlib.Path, what: str) -> None:
    json_file = tmp_path / "store.json"
    done = run("--what", what, "--json", str(json_file))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(json_file.read_text())
    lines = found["store"]
    assert len(lines) == 2 * len(what.split(","))
    for one in lines:
        assert one["exact"]
        assert one["samples"] > 0
        assert one["per_second"] > 0
        assert one["is_synced"] is (what != "nats")
    assert ("nats" in found["versions"]) is (what == "nats")


def test_without_a_server_it_says_how_to_come_by_one(tmp_path: pathlib.Path) -> None:
    done = run("--what", "nats", path=str(tmp_path))
    assert done.returncode == 2
    assert "apt-get install nats-server" in done.stderr
