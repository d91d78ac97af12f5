# SPDX-License-Identifier: Apache-2.0
"""What every test may ask for: the servers beside the project, and how hypothesis runs.

No fixture hands out a free port: between the finding and the binding another process may take it.
Bind port 0 and ask the socket which port it got (``nova-edge-bus endpoint`` does so for
``tcp://127.0.0.1:0`` and says the port).
"""

import os
import shutil
from typing import NoReturn

import amqp
import hypothesis
import pymysql
import pytest

PROBE_SECONDS = 5

LONGEST_FIRST = ("nova", "faults", "consistency", "driver", "rest_guard", "devstack")
"""The folders whose files take longest. A file that takes minutes must not be the last one that is
begun: the other workers would wait for it."""

IN_CI = os.environ.get("CI") == "true"

# Machines are shared, so no example has a deadline; CI repeats one run exactly.
hypothesis.settings.register_profile(
    "nova-edge-bus", deadline=None, print_blob=True, derandomize=IN_CI
)
hypothesis.settings.load_profile("nova-edge-bus")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; within a folder the order stays."""

    def rank(item: pytest.Item) -> int:
        folder = item.nodeid.split("/")[1]
        return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=rank)


def _missing(server: str, address: str, error: Exception) -> NoReturn:
    """Skip on a developer's machine; in CI a missing server would hide untested code."""
    reason = f"cannot use {server} on {address}: {error!r}; install and start it"
    if IN_CI:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    """The transport URL of a RabbitMQ on this machine."""
    address = "127.0.0.1:5672"
    try:
        with amqp.Connection(
            address, userid="guest", password="guest", connect_timeout=PROBE_SECONDS
        ):
            pass
    except (OSError, amqp.AMQPError) as error:
        _missing("RabbitMQ", address, error)
    return f"rabbit://guest:guest@{address}/"


@pytest.fixture(scope="session")
def mariadb_url() -> str:
    """The SQLAlchemy URL of a MariaDB on this machine, with no database in it."""
    host, port = "127.0.0.1", 3306
    try:
        pymysql.connect(
            host=host, port=port, user="root", password="", connect_timeout=PROBE_SECONDS
        ).close()
    except (OSError, pymysql.MySQLError) as error:
        _missing("MariaDB", f"{host}:{port}", error)
    return f"mysql+pymysql://root@{host}:{port}/"


@pytest.fixture(scope="session")
def chromium() -> tuple[str, str]:
    """The paths of Chromium and of its chromedriver."""
    found = [shutil.which(name) for name in ("chromium", "chromedriver")]
    browser, driver = found
    if browser is None or driver is None:
        missing = FileNotFoundError("packages chromium and chromium-driver")
        _missing("Chromium", "this machine", missing)
    return browser, driver


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of Prometheus' promtool."""
    found = shutil.which("promtool")
    if found is None:
        _missing("promtool", "this machine", FileNotFoundError("package prometheus"))
    return found
