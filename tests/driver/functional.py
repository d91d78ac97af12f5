# SPDX-License-Identifier: Apache-2.0
"""One worker of oslo.messaging's own functional suite: ``python -m tests.driver.functional``.

Runs its share of the tests and writes the outcome of each to a file, as one JSON object.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
import unittest
import unittest.mock
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

MODULES = (
    "oslo_messaging.tests.functional.test_functional",
    "oslo_messaging.tests.functional.notify.test_logger",
)
# Seconds that the long ones wait for by themselves; they are dealt out first.
_LONG = {"test_logging": 16, "test_timeout_with_concurrently_queues": 12}
_SHORT = 4
_METRICS_SECONDS = 20


class Outcomes(unittest.TestResult):
    """What became of each test: "passed", "skipped: ..." or "failed: ..."."""

    def __init__(self) -> None:
        super().__init__()
        self.by_name: dict[str, str] = {}

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.by_name[test.id()] = "passed"

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.by_name[test.id()] = f"skipped: {reason}"

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self.by_name[test.id()] = f"failed: {self._exc_info_to_string(err, test)}"

    addError = addFailure


def tests_in(suite: Iterable[Any]) -> Iterator[unittest.TestCase]:
    """The single tests of a suite."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_in(test)
        else:
            yield test


def share(tests: Iterable[unittest.TestCase], worker: int, workers: int) -> list[Any]:
    """The tests of one worker, so that all take about as long."""

    def seconds(test: unittest.TestCase) -> int:
        return max([_SHORT, *(cost for name, cost in _LONG.items() if name in test.id())])

    loads = [0] * workers
    mine = []
    for test in sorted(tests, key=lambda test: (-seconds(test), test.id())):
        idlest = loads.index(min(loads))
        loads[idlest] += seconds(test)
        if idlest == worker:
            mine.append(test)
    return mine


@contextlib.contextmanager
def metrics_on_a_port_of_their_own() -> Iterator[None]:
    """Have oslo.metrics, which one test starts, choose a free port, and read it from there.

    The test asks port 3000, which may be anybody's.
    """
    import requests

    started: list[subprocess.Popen[bytes]] = []
    get = requests.get

    class Started(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    def get_there(url: str, **kwargs: Any) -> Any:
        return get(url.replace("3000", str(listening_port(started[-1].pid))), **kwargs)

    with (
        unittest.mock.patch.dict(os.environ, OS_OSLO_METRICS__PROMETHEUS_PORT="0"),
        unittest.mock.patch.object(subprocess, "Popen", Started),
        unittest.mock.patch.object(requests, "get", get_there),
    ):
        yield


def listening_port(pid: int) -> int:
    """Wait until a process listens on a TCP port, and return the port."""
    deadline = time.monotonic() + _METRICS_SECONDS
    while time.monotonic() < deadline:
        sockets = {
            os.readlink(link)
            for link in pathlib.Path(f"/proc/{pid}/fd").iterdir()
            if link.is_symlink()
        }
        for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                return int(fields[1].rpartition(":")[2], 16)
        time.sleep(0.1)
    raise TimeoutError(f"process {pid} listens on no port")


def main(worker: int, workers: int, report: pathlib.Path) -> None:
    """Run the tests of one worker."""
    loader = unittest.defaultTestLoader
    tests = list(tests_in(loader.loadTestsFromNames(MODULES)))
    outcomes = Outcomes()
    with metrics_on_a_port_of_their_own():
        for test in share(tests, worker, workers):
            test.run(outcomes)
    report.write_text(json.dumps({"known": len(tests), "outcomes": outcomes.by_name}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3]))
