# SPDX-License-Identifier: Apache-2.0
"""What becomes of an edge's writes at the heal, where the centre cannot or must not apply them."""

from __future__ import annotations

import concurrent.futures
import contextlib
import pathlib
import sqlite3
from typing import Any

import pytest
import sqlalchemy
from nova import objects
from sqlalchemy import exc

from nova_edge_bus.cell import sync
from nova_edge_bus.journal import schema
from nova_edge_bus.runtime import registry
from nova_edge_bus.runtime.figures import Figures
from tests.driver.autonomy.roles import LINK_TIMEOUT
from tests.driver.autonomy.roles import Conductor
from tests.driver.autonomy.roles import Edge
from tests.driver.peers import WAIT_SECONDS
from tests.nova import relay as relays
from tests.nova.processes import wait_until
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot import rows
from tests.unit.snapshot.edge import HOST


@pytest.fixture(autouse=True)
def _inbox(centre: centres.Centre) -> None:
    """The centre's database has the table of the bus."""
    sync.sync(centre.url)


def dead_letters(journal: pathlib.Path) -> list[str]:
    """Why entries became dead letters, in their order."""
    query = (
        "SELECT reason FROM outbox LEFT JOIN reasons USING (seq) "
        "WHERE state = ? ORDER BY outbox.seq"
    )
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as reader:
        return [row[0] for row in reader.execute(query, (int(schema.State.DEAD),))]


def stored(centre: centres.Centre, uuid: str) -> Any:
    with centres.direct():
        return objects.Instance.get_by_uuid(centre.context(read_deleted="yes"), uuid)


def cut(relay: relays.Relay, edge: Edge, uuid: str) -> None:
    """Silence the link, and wait until the edge has noticed."""
    relay.silence()
    assert edge.field(uuid) is not None


def heal(relay: relays.Relay, edge: Edge) -> None:
    relay.resume()
    edge.await_drained()
    edge.await_linked()


def figures(conductor: Conductor) -> Figures:
    """What the process has counted that the conductor is."""
    (found,) = (
        runtime.figures
        for (_, folder), runtime in registry._runtimes.items()
        if folder == str(conductor.peer.journal_dir)
    )
    return found


def test_a_database_in_trouble_loses_nothing(
    edge: Edge, conductor: Conductor, centre: centres.Centre, relay: relays.Relay, uuid: str
) -> None:
    cut(relay, edge, uuid)
    edge.save(uuid, power_state=4)
    edge.save(uuid, power_state=1, vm_state="paused")
    failures: list[str] = []

    @sqlalchemy.event.listens_for(centre._connection.writer.get_engine(), "before_execute")
    def fail(connection: Any, clause: Any, *_: Any) -> None:
        if len(failures) < 3 and str(clause).startswith("UPDATE"):
            failures.append(str(clause))
            raise exc.OperationalError("UPDATE", {}, Exception("the server has gone away"))

    heal(relay, edge)
    assert len(failures) == 3
    assert figures(conductor).put_off == 3
    found = stored(centre, uuid)
    assert (found.power_state, found.vm_state) == (1, "paused")
    assert dead_letters(edge.journal) == []


def test_what_was_written_for_an_evacuated_instance_is_a_dead_letter(
    edge: Edge, conductor: Conductor, centre: centres.Centre, relay: relays.Relay, uuid: str
) -> None:
    other = rows.instance(centre).uuid
    assert edge.field(other) is not None
    cut(relay, edge, uuid)
    edge.save(uuid, power_state=4)
    edge.save(other, power_state=4)
    with centres.direct():
        moved = stored(centre, uuid)
        moved.host = "another"
        moved.save()
    heal(relay, edge)
    wait_until(lambda: len(dead_letters(edge.journal)) == 1, WAIT_SECONDS, "the dead letter")
    (reason,) = dead_letters(edge.journal)
    assert "Fenced" in reason
    assert "is on host another at the centre" in reason
    counted = figures(conductor)
    assert (counted.conflicts, counted.denied) == (1, 1)
    assert counted.recorded >= 1
    assert stored(centre, uuid).power_state != 4
    assert stored(centre, other).power_state == 4


def test_what_was_in_flight_at_the_cut_is_fenced_as_well(
    edge: Edge,
    conductor: Conductor,
    centre: centres.Centre,
    relay: relays.Relay,
    uuid: str,
    callers: Any,
) -> None:
    conductor.server.stop()
    conductor.server.wait()
    saving = callers.submit(edge.save, uuid, power_state=4)
    wait_until(lambda: edge.pending() == 1, WAIT_SECONDS, "it to be journaled")
    assert saving.result(WAIT_SECONDS) == [{"obj_what_changed": []}, None]
    with centres.direct():
        moved = stored(centre, uuid)
        moved.host = "another"
        moved.save()
    conductor.server = conductor.peer.serve(edge.topic, "centre", conductor, threads=4)
    edge.await_drained()
    wait_until(lambda: len(dead_letters(edge.journal)) == 1, WAIT_SECONDS, "the dead letter")
    assert stored(centre, uuid).power_state != 4


def test_a_comparison_that_the_centre_has_overtaken_is_a_dead_letter(
    edge: Edge, centre: centres.Centre, relay: relays.Relay, uuid: str
) -> None:
    cut(relay, edge, uuid)
    edge.compare_and_set(uuid, [None], "powering-off")
    with centres.direct():
        deleting = stored(centre, uuid)
        deleting.task_state = "deleting"
        deleting.save()
    heal(relay, edge)
    wait_until(lambda: len(dead_letters(edge.journal)) == 1, WAIT_SECONDS, "the dead letter")
    assert dead_letters(edge.journal)[0].startswith("UnexpectedDeletingTaskStateError: ")
    assert stored(centre, uuid).task_state == "deleting"


def test_what_was_written_for_a_deleted_instance_is_a_dead_letter(
    edge: Edge, centre: centres.Centre, relay: relays.Relay, uuid: str
) -> None:
    cut(relay, edge, uuid)
    edge.save(uuid, power_state=4)
    with centres.direct():
        stored(centre, uuid).destroy()
    heal(relay, edge)
    wait_until(lambda: len(dead_letters(edge.journal)) == 1, WAIT_SECONDS, "the dead letter")
    assert "was deleted at the centre" in dead_letters(edge.journal)[0]
    assert stored(centre, uuid).deleted


def test_a_failure_that_the_caller_was_told_of_is_no_dead_letter(
    edge: Edge, centre: centres.Centre, uuid: str
) -> None:
    with pytest.raises(Exception, match="Conflict updating instance"):
        edge.compare_and_set(uuid, ["rebooting"], None)
    edge.await_drained()
    assert dead_letters(edge.journal) == []


def test_evacuations_are_asked_of_the_centre_once_it_is_back(
    edge: Edge,
    conductor: Conductor,
    centre: centres.Centre,
    relay: relays.Relay,
    uuid: str,
    callers: concurrent.futures.ThreadPoolExecutor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """nova-compute asks at its start, and destroys the guests that are not its own any more."""

    def evacuated() -> int:
        filters = {
            "source_compute": HOST,
            "status": ["accepted", "pre-migrating", "done"],
            "migration_type": "evacuation",
        }
        reply = edge.ask("MigrationList", "get_by_filters", filters=filters)
        return len(reply["nova_object.data"]["objects"])

    assert evacuated() == 0
    cut(relay, edge, uuid)
    edge.save(uuid, power_state=4)
    assert evacuated() == 0, "what was known is all there is to say"
    rows.migration(
        centre, instance_uuid=uuid, source_compute=HOST, status="done", migration_type="evacuation"
    )
    conductor.gate.clear()
    caplog.set_level("INFO")
    relay.resume()
    wait_until(lambda: "catches up" in caplog.text, WAIT_SECONDS, "the link to be back")
    asking = callers.submit(evacuated)
    with pytest.raises(TimeoutError):
        asking.result(LINK_TIMEOUT)
    assert edge.field(uuid) == 4, "other reads do not wait"
    conductor.gate.set()
    assert asking.result(WAIT_SECONDS) == 1
