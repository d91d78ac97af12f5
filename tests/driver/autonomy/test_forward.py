# SPDX-License-Identifier: Apache-2.0
"""One side goes back in time: a database is restored, or a journal is put back from a copy."""

from __future__ import annotations

import concurrent.futures
import contextlib
import pathlib
import shutil
import sqlite3
from typing import Any

import pytest
from nova import objects

from nova_edge_bus.cell import databases
from nova_edge_bus.cell import sync
from nova_edge_bus.cell import table
from nova_edge_bus.journal import schema
from nova_edge_bus.runtime import auditor
from tests.driver.autonomy.conftest import MakeEdge
from tests.driver.autonomy.roles import Conductor
from tests.driver.autonomy.roles import Edge
from tests.driver.peers import WAIT_SECONDS
from tests.nova.processes import wait_until
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot import rows


@pytest.fixture(autouse=True)
def _inbox(centre: centres.Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    """The centre's database has the tables of the bus, and is the only one of this process.

    Other tests have left engines behind, of databases that are gone.
    """
    sync.sync(centre.url)
    engine = centre._connection.writer.get_engine()
    monkeypatch.setattr(databases, "engines", lambda: [engine])


@pytest.fixture
def edge(edge: Edge) -> Edge:
    """One that has written something."""
    edge.beat(1)
    return edge


_STREAMS = "SELECT stream FROM edge_bus_floor"


class Restores:
    """Copies of the centre's database, and the way back to them, under the running centre."""

    def __init__(self, centre: centres.Centre, directory: pathlib.Path) -> None:
        self._centre = centre
        self._copy = directory / "dump.sqlite"

    def dump(self) -> None:
        """Copy it once the edge has asked for the first time."""
        wait_until(self._is_audited, WAIT_SECONDS, "the edge to ask what is there")
        _copy(self._centre.path, self._copy)

    def _is_audited(self) -> bool:
        with contextlib.closing(sqlite3.connect(self._centre.path)) as connection:
            streams = [stream for (stream,) in connection.execute(_STREAMS)]
        # The others are there from the first effect on.
        return any(each != table.EPOCHS and each[0] != table.UNAUDITED for each in streams)

    def restore(self) -> None:
        _copy(self._copy, self._centre.path)


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(source)) as reader,
        contextlib.closing(sqlite3.connect(target)) as writer,
    ):
        reader.backup(writer)


@pytest.fixture
def restores(centre: centres.Centre, tmp_path: pathlib.Path) -> Restores:
    return Restores(centre, tmp_path)


def stored(centre: centres.Centre, uuid: str) -> Any:
    with centres.direct():
        return objects.Instance.get_by_uuid(centre.context(), uuid)


def restart(conductor: Conductor, edge: Edge) -> None:
    """What an operator does after a restore, as seen from the edge: somebody new answers."""
    conductor.server.stop()
    conductor.server.wait()
    conductor.server = conductor.peer.serve(edge.topic, "centre", conductor, threads=4)


def states(journal: pathlib.Path) -> dict[str, int]:
    query = "SELECT state, COUNT(*) FROM outbox GROUP BY state"
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as reader:
        return {schema.State(state).name: count for state, count in reader.execute(query)}


def await_state(centre: centres.Centre, uuid: str, **values: Any) -> None:
    def is_there() -> bool:
        found = stored(centre, uuid)
        return all(getattr(found, name) == value for name, value in values.items())

    wait_until(is_there, WAIT_SECONDS, f"the centre to have {values}")


@pytest.mark.parametrize("restarted", [True, False], ids=["restarted", "running"])
def test_a_restored_database_is_brought_forward(
    edge: Edge,
    conductor: Conductor,
    centre: centres.Centre,
    restores: Restores,
    uuid: str,
    restarted: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not restarted:
        monkeypatch.setattr(auditor, "INTERVAL", 0.2)
    edge.save(uuid, power_state=3, progress=5)
    restores.dump()
    edge.save(uuid, power_state=4)
    edge.save(uuid, vm_state="stopped", progress=7)
    edge.await_drained()
    restores.restore()
    assert stored(centre, uuid).power_state == 3
    if restarted:
        restart(conductor, edge)
    await_state(centre, uuid, power_state=4, vm_state="stopped", progress=7)
    edge.await_drained()
    edge.await_linked()
    assert edge.field(uuid) == 4


def test_what_was_saved_after_the_restore_stays(
    edge: Edge, conductor: Conductor, centre: centres.Centre, restores: Restores, uuid: str
) -> None:
    restores.dump()
    edge.save(uuid, power_state=4, progress=7)
    edge.await_drained()
    restores.restore()
    edge.save(uuid, power_state=1)
    restart(conductor, edge)
    await_state(centre, uuid, progress=7)
    edge.await_drained()
    assert stored(centre, uuid).power_state == 1


def test_reads_do_not_go_back_while_it_catches_up(
    edge: Edge,
    conductor: Conductor,
    centre: centres.Centre,
    restores: Restores,
    uuid: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    restores.dump()
    edge.save(uuid, power_state=4)
    assert edge.field(uuid) == 4
    edge.await_drained()
    restores.restore()
    conductor.gate.clear()
    restart(conductor, edge)
    wait_until(lambda: "brought forward by" in caplog.text, WAIT_SECONDS, "the loss to be noticed")
    assert edge.field(uuid) == 4, "the centre would say otherwise"
    conductor.gate.set()
    await_state(centre, uuid, power_state=4)


def test_nothing_is_brought_forward_twice(
    edge: Edge, conductor: Conductor, centre: centres.Centre, restores: Restores, uuid: str
) -> None:
    restores.dump()
    edge.save(uuid, power_state=4)
    edge.await_drained()
    for expected in (1, 2):
        restores.restore()
        restart(conductor, edge)
        await_state(centre, uuid, power_state=4)
        wait_until(lambda: edge.pending() == 0, WAIT_SECONDS, "the outbox to drain")
        assert len(conductor.saves("Instance", "power_state")) == 1 + expected
    restart(conductor, edge)
    edge.await_linked()
    edge.save(uuid, power_state=1)
    edge.await_drained()
    assert conductor.saves("Instance", "power_state")[3:] == [1]


def test_an_instance_that_is_lost_is_a_dead_letter(
    edge: Edge, conductor: Conductor, centre: centres.Centre, restores: Restores, uuid: str
) -> None:
    """The centre alone can bring it back; what the edge knows of it is kept for the operator."""
    restores.dump()
    made = rows.instance(centre).uuid
    edge.save(made, power_state=4)
    edge.save(uuid, power_state=4)
    edge.await_drained()
    restores.restore()
    restart(conductor, edge)
    await_state(centre, uuid, power_state=4)
    wait_until(lambda: states(edge.journal).get("DEAD") == 1, WAIT_SECONDS, "the dead letter")


def test_a_journal_put_back_from_a_copy_loses_and_doubles_nothing(
    make_edge: MakeEdge,
    conductor: Conductor,
    centre: centres.Centre,
    uuid: str,
    tmp_path: pathlib.Path,
    callers: concurrent.futures.ThreadPoolExecutor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = make_edge()
    first.save(uuid, power_state=3)
    conductor.gate.clear()
    saving = callers.submit(first.save, uuid, progress=9)
    wait_until(lambda: first.pending() == 1, WAIT_SECONDS, "an entry to be under way")
    journal, copy = first.journal, tmp_path / "copy.db"
    _copy(journal, copy)
    conductor.gate.set()
    saving.result(WAIT_SECONDS)
    for state in (1, 4):
        first.save(uuid, power_state=state)
    first.await_drained()
    first.peer.close()
    for leftover in journal.parent.glob(f"{journal.name}-*"):
        leftover.unlink()
    shutil.copy(copy, journal)
    caplog.set_level("INFO")
    second = make_edge(journal=journal.parent.name)
    second.save(uuid, display_name="new")
    second.await_drained()
    found = stored(centre, uuid)
    assert (found.power_state, found.progress, found.display_name) == (4, 9, "new")
    wait_until(
        lambda: "was put back from a copy" in caplog.text, WAIT_SECONDS, "the gap to be reported"
    )
