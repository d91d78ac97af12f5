# SPDX-License-Identifier: Apache-2.0
"""oslo.messaging's own functional suite, run over this driver.

It skips two tests for any scheme that it does not know, test_mandatory_call and
test_monitor_long_call; ours are in test_calls.py.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys

import pytest

from tests.driver.conftest import MakeEndpoint
from tests.nova.processes import Process
from tests.nova.processes import wait_until

WORKERS = 8
TESTS = 31
"""How many there are in oslo.messaging 18.3; a later one may have more."""
SECONDS = 300
NOT_FOR_A_NEW_SCHEME = {"test_mandatory_call", "test_monitor_long_call"}


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 20)
def test_the_suite_passes(make_endpoint: MakeEndpoint, tmp_path: pathlib.Path) -> None:
    url = make_endpoint().url
    environment = {
        "RPC_TRANSPORT_URL": url,
        "NOTIFY_TRANSPORT_URL": url,
        "OS_EDGE_BUS__JOURNAL_DIR": str(tmp_path / "journals"),
        "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}",
    }
    workers = [
        Process(
            f"worker-{number}",
            [
                *(sys.executable, "-W", "ignore", "-m", "tests.driver.functional"),
                *(str(number), str(WORKERS), str(tmp_path / f"report-{number}")),
            ],
            tmp_path / f"worker-{number}.log",
            environment,
        )
        for number in range(WORKERS)
    ]
    try:
        for worker in workers:
            worker.start()
        wait_until(
            lambda: not any(worker.alive for worker in workers), SECONDS, "the suite to end"
        )
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0] * WORKERS, tmp_path
    reports = [json.loads(path.read_text()) for path in tmp_path.glob("report-*")]
    outcomes = {name: text for report in reports for name, text in report["outcomes"].items()}
    failures = {name: text for name, text in outcomes.items() if text.startswith("failed")}
    skipped = {name: text for name, text in outcomes.items() if text.startswith("skipped")}

    assert not failures, "\n".join(f"{name}\n{text}" for name, text in failures.items())
    assert {name.rpartition(".")[2] for name in skipped} == NOT_FOR_A_NEW_SCHEME, skipped
    assert {report["known"] for report in reports} == {len(outcomes)}
    assert len(outcomes) >= TESTS
