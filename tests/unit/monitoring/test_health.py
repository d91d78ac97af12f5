# SPDX-License-Identifier: Apache-2.0
"""Readiness of an endpoint, which follows what its loop has seen."""

from __future__ import annotations

import json
import pathlib

from nova_edge_bus.keys import enrolment
from tests.driver import keyrings
from tests.nova.processes import wait_until
from tests.unit.endpoint import peers
from tests.unit.endpoint.test_command import process
from tests.unit.monitoring import reading


def test_an_endpoint_that_can_admit_nobody_is_not_ready(tmp_path: pathlib.Path) -> None:
    keyring = keyrings.Keyring(tmp_path)
    folder = keyring.endpoint_dir / enrolment.DIRECTORY
    folder.mkdir(exist_ok=True)
    arguments = ("--listen", peers.LOOPBACK, "--metrics", "0", "--json")
    with process(*arguments, "--curve-dir", str(keyring.endpoint_dir)) as running:
        assert running.stdout is not None
        base = json.loads(running.stdout.readline())["metrics"]
        wait_until(lambda: reading.get(f"{base}/readyz")[0] == 200, reading.PATIENCE, "ready")
        folder.rename(tmp_path / "away")
        wait_until(lambda: reading.get(f"{base}/readyz")[0] == 503, reading.PATIENCE, "not ready")
        assert "nobody new is admitted" in reading.get(f"{base}/readyz")[1]
        assert reading.get(f"{base}/healthz")[0] == 200
