# SPDX-License-Identifier: Apache-2.0
"""A conductor killed between its commit and its answer, and between the parts of a write.

Checked in nova's tables: no effect is doubled, none is lost, and no caller is told of a failure
that is only the echo of its own write.
"""

from __future__ import annotations

import os
import pathlib
import secrets
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from nova import objects
from nova.db.main import models

from nova_edge_bus.cell import sync
from tests.driver import endpoints
from tests.driver import peers
from tests.faults import conductor
from tests.faults import stage
from tests.nova.database import MariadbDatabases
from tests.nova.processes import Process
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot import rows

INSTANCES = 3
MOST_COMMITS = 4
CALL_SECONDS = 60


@pytest.fixture(params=["sqlite", "mariadb"])
def database(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[str]:
    """The URL of a nova cell database with the table of the bus."""
    centres.prepare()
    if request.param == "mariadb":
        request.getfixturevalue("mariadb_url")
        databases = MariadbDatabases()
        databases.create("none:///")
        yield databases.url("nova_cell1")
        databases.drop()
        return
    url = f"sqlite:///{tmp_path / 'cell.sqlite'}"
    centre = centres.Centre(pathlib.Path("unused"), url)
    centre.create()
    centre.close()
    sync.sync(url)
    yield url


class Edge:
    """Nova's objects over the bus; every call waits until it is applied."""

    def __init__(self, url: str, journal_dir: pathlib.Path) -> None:
        self.peer = peers.Peer(url, journal_dir, exmods=["nova.exception"], link_timeout=1.0)
        self._client = self.peer.client(conductor.TOPIC, timeout=CALL_SECONDS, version="3.0")

    def __call__(self, context: Any, message: Any) -> Any:
        return self._client.call(context, message["method"], **message["args"])


def write_round(instance: Any, number: int) -> None:
    """What nova-compute writes around one operation: history, states, a fault, the network."""
    context = instance._context
    instance.task_state = "powering-off"
    instance.save(expected_task_state=[None])
    fault = objects.InstanceFault(
        context, instance_uuid=instance.uuid, code=500, message=f"round {number}", host="edge-1"
    )
    fault.details = ""
    fault.create()
    instance.info_cache.network_info = "[]"
    instance.display_name = f"round {number}"
    instance.flavor.extra_specs = {"round": str(number)}
    instance.task_state = None
    instance.save(expected_task_state=["powering-off"])


@pytest.fixture
def endpoint(tmp_path: pathlib.Path) -> Iterator[endpoints.Endpoint]:
    made = endpoints.Endpoint(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("rounds", stage.rounds(8, 100))
def test_no_effect_is_doubled_or_lost(
    database: str,
    rounds: int,
    endpoint: endpoints.Endpoint,
    tmp_path: pathlib.Path,
) -> None:
    seed = os.environ.get("FAULTS_SEED") or str(secrets.randbits(32))
    print(f"FAULTS_SEED={seed}")
    centre = centres.Centre(pathlib.Path("unused"), database)
    uuids = [rows.instance(centre, task_state=None).uuid for _ in range(INSTANCES)]
    process = Process(
        "conductor",
        [
            sys.executable,
            "-m",
            "tests.faults.conductor",
            endpoint.url,
            str(tmp_path / "centre"),
            database,
            seed,
            str(MOST_COMMITS),
        ],
        tmp_path / "conductor.log",
    )
    process.start()
    edge = Edge(endpoint.url, tmp_path / "edge")
    number = 0
    try:
        while process.log_text().count(conductor.KILLED) < rounds:
            number += 1
            for uuid in uuids:
                with centres.over(edge):
                    context = centre.context()
                    instance = objects.Instance.get_by_uuid(
                        context, uuid, ["info_cache", "flavor", "metadata"]
                    )
                    write_round(instance, number)
    finally:
        process.terminate()
        process.stop()
        edge.peer.close()
    told = written(database)
    assert told == dict.fromkeys(uuids, (number, number, None, f"round {number}"))
    centre.close()


def written(url: str) -> dict[str, tuple[int, int, str | None, str]]:
    """By instance: its faults, how many of them differ, its task state and name."""
    engine = sqlalchemy.create_engine(url)
    fault, instance = models.InstanceFault, models.Instance
    query = (
        sqlalchemy.select(
            instance.uuid,
            sqlalchemy.func.count(fault.id),
            sqlalchemy.func.count(sqlalchemy.distinct(fault.message)),
            instance.task_state,
            instance.display_name,
        )
        .join(fault, fault.instance_uuid == instance.uuid)
        .group_by(instance.uuid, instance.task_state, instance.display_name)
    )
    with engine.connect() as connection:
        found = {row[0]: tuple(row[1:]) for row in connection.execute(query)}
    engine.dispose()
    return found
