# SPDX-License-Identifier: Apache-2.0
"""The database is in trouble under the apply: each effect comes once, in order, none is lost."""

from __future__ import annotations

import itertools
import pathlib
import sys
import threading
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from nova import objects

from nova_edge_bus.cell import sync
from tests.driver import endpoints
from tests.driver import peers
from tests.faults import conductor
from tests.faults import mariadb
from tests.faults.effects import Effects
from tests.faults.effects import watch
from tests.faults.stage import rounds
from tests.nova import journals as nova_journals
from tests.nova import processes
from tests.unit.snapshot import centre as centres

INSTANCES = 3
HOST = "edge-1"
NEVER = 1 << 30
CALL_SECONDS = 60


@pytest.fixture
def server(tmp_path: pathlib.Path) -> Iterator[mariadb.Server]:
    """A private MariaDB with nova's tables and those of the bus."""
    centres.prepare()
    made = mariadb.Server(tmp_path)
    try:
        centre = centres.Centre(pathlib.Path("unused"), made.url)
        centre.create()
        centre.close()
        sync.sync(made.url)
        watch(made.url)
        yield made
    finally:
        made.stop()


class Edge:
    """Writes of several instances, answered from the journal, until :meth:`finish`."""

    def __init__(self, url: str, directory: pathlib.Path, effects: Effects) -> None:
        self._directory = directory
        self._effects = effects
        self.peer = peers.Peer(
            url,
            directory,
            prog="nova-compute",
            host=HOST,
            exmods=["nova.exception"],
            link_timeout=1.0,
            write_behind=True,
        )
        self.peer.serve("compute", HOST, object())
        client = self.peer.client(conductor.TOPIC, timeout=CALL_SECONDS, version="3.0")
        self._ask = lambda context, message: client.call(
            context, message["method"], **message["args"]
        )
        self._expected: dict[str, list[str]] = {effects.add_group(): [] for _ in range(INSTANCES)}

    @property
    def groups(self) -> list[str]:
        return list(self._expected)

    def write(self, context: Callable[[], Any], times: int) -> None:
        """Save each instance and note a fault of it, in turns."""
        with centres.over(self._ask):
            for uuid, expected in self._expected.items():
                instance = objects.Instance.get_by_uuid(
                    context(), uuid, ["info_cache", "flavor", "metadata"]
                )
                for _ in range(times):
                    number = len(expected)
                    instance.display_name = f"name {number}"
                    # Nova writes one that the centre has loaded again, and none that the edge has.
                    if "flavor" in instance.obj_what_changed():
                        expected.append("flavor")
                    instance.save()
                    fault = objects.InstanceFault(instance._context, instance_uuid=uuid, code=500)
                    fault.message, fault.host, fault.details = f"fault {number}", HOST, ""
                    fault.create()
                    expected += [f"name {number}", f"fault {number}"]

    def finish(self) -> dict[str, tuple[list[str], list[str]]]:
        """Wait until all is applied; where they differ, what was to happen and what has."""
        processes.wait_until(
            lambda: not nova_journals.entries_pending(self._directory), 90, "the journal to drain"
        )
        told = {uuid: (wanted, self._effects.of(uuid)) for uuid, wanted in self._expected.items()}
        return {uuid: pair for uuid, pair in told.items() if pair[0] != pair[1]}


class Locker:
    """Locks rows in the wrong order, so that the conductor's transactions are its victims."""

    def __init__(self, server: mariadb.Server, groups: list[str]) -> None:
        self._server = server
        self._groups = groups
        self._done = threading.Event()
        server.execute(f"CREATE TABLE IF NOT EXISTS {mariadb.DATABASE}.heavy (number INT)")
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        with self._server.connect(mariadb.DATABASE) as session, session.cursor() as cursor:
            while not self._done.is_set():
                for group in self._groups:
                    self._lock(session, cursor, group)

    def _lock(self, session: Any, cursor: Any, group: str) -> None:
        session.begin()
        try:
            # The victim of a deadlock is who has changed less.
            cursor.execute("INSERT INTO heavy SELECT seq FROM seq_1_to_200")
            for table in ("effects", "instance_faults", "instances"):
                column = {"instances": "uuid", "effects": "instance"}.get(table, "instance_uuid")
                cursor.execute(
                    f"SELECT {column} FROM {table} WHERE {column} = %s FOR UPDATE", [group]
                )
                self._done.wait(0.05)
        except mariadb.pymysql.err.OperationalError:
            pass
        session.rollback()


@pytest.fixture
def endpoint(tmp_path: pathlib.Path) -> Iterator[endpoints.Endpoint]:
    made = endpoints.Endpoint(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("times", rounds(1, 20))
def test_each_effect_comes_once(
    server: mariadb.Server,
    times: int,
    endpoint: endpoints.Endpoint,
    tmp_path: pathlib.Path,
) -> None:
    effects = Effects(server.url)
    centre = centres.Centre(pathlib.Path("unused"), server.url)
    program = [sys.executable, "-m", "tests.faults.conductor", endpoint.url]
    arguments = [str(tmp_path / "centre"), server.url, "1", str(NEVER)]
    process = processes.Process("conductor", [*program, *arguments], tmp_path / "conductor.log")
    process.start()
    edge = Edge(endpoint.url, tmp_path / "edge", effects)
    try:
        for _ in range(times):
            for _ in range(2):
                edge.write(centre.context, 2)
                server.kill_connections()
            with Locker(server, edge.groups):
                processes.wait_until(lambda: _locked_out(server, edge, centre), 60, "a deadlock")
            edge.write(centre.context, 4)
            server.kill()
            server.start()
            edge.write(centre.context, 2)
        differing = edge.finish()
        assert not [_first_difference(*pair) for pair in differing.values()]
        assert not nova_journals.settled(tmp_path / "edge", nova_journals.entries.Outcome.DEAD)
    finally:
        process.terminate()
        process.stop()
        edge.peer.close()
        effects.close()
        centre.close()


def _locked_out(server: mariadb.Server, edge: Edge, centre: centres.Centre) -> bool:
    """Write some more, and tell whether there has been a deadlock since the server's start."""
    edge.write(centre.context, 2)
    return server.deadlocks() > 0


def _first_difference(wanted: list[str], found: list[str]) -> str:
    pairs = itertools.zip_longest(wanted, found)
    same = next(number for number, (one, other) in enumerate(pairs) if one != other)
    return f"after {same}: wanted {wanted[same : same + 4]}, found {found[same : same + 4]}"
