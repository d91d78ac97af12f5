# SPDX-License-Identifier: Apache-2.0
"""``python -m bench drain``: that it drains and counts, not how fast."""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_a_quick_run_drains_everything_once(tmp_path: pathlib.Path) -> None:
    json_file = tmp_path / "drain.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "drain", "--quick", "--json", str(json_file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads(json_file.read_text())["drain"]

    assert (found["entries"], found["lost"], found["repeated"]) == (200, 0, 0)
    assert found["exact"]
    assert 0 < found["share_of_limit"] == found["per_second"] / found["limit_per_second"]
    assert found["cpu_us"].keys() == {"drainer", "endpoint", "receiver"}


def test_what_cannot_be_measured_ends_with_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "drain", "--directory", "/dev/shm"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 2
    assert "bench drain: /dev/shm is on tmpfs" in done.stderr
