# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus replay``: what has no process is shipped, and what was lost is shipped again."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from nova import objects

from nova_edge_bus.cell import sync
from nova_edge_bus.journal import schema
from tests.driver import endpoints
from tests.driver.autonomy.roles import Conductor
from tests.driver.autonomy.roles import Edge
from tests.driver.peers import WAIT_SECONDS
from tests.nova import relay as relays
from tests.nova.processes import wait_until
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot import rows

Replay = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _inbox(centre: centres.Centre) -> None:
    """The centre's database has the tables of the bus."""
    sync.sync(centre.url)


def command(*arguments: object) -> list[str]:
    return ["nova-edge-bus", "replay", *map(str, arguments)]


@pytest.fixture
def replay(shared_endpoint: endpoints.Endpoint) -> Replay:
    """Runs the command, by the shared endpoint if not told otherwise."""

    def run(*arguments: object, endpoint: str = "") -> subprocess.CompletedProcess[str]:
        where = endpoint or f"{shared_endpoint.host}:{shared_endpoint.port}"
        return subprocess.run(
            command(*arguments, "--endpoint", where),
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS * 2,
        )

    return run


def stored(centre: centres.Centre, uuid: str) -> Any:
    with centres.direct():
        return objects.Instance.get_by_uuid(centre.context(), uuid)


def states(journal: pathlib.Path) -> dict[str, int]:
    query = "SELECT state, COUNT(*) FROM outbox GROUP BY state"
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as reader:
        return {schema.State(state).name: count for state, count in reader.execute(query)}


def copied(source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    with (
        contextlib.closing(sqlite3.connect(source)) as reader,
        contextlib.closing(sqlite3.connect(target)) as writer,
    ):
        reader.backup(writer)
    return target


@pytest.fixture
def dead_host(edge: Edge, relay: relays.Relay, uuid: str) -> pathlib.Path:
    """The journal of a host that was cut off, wrote three saves, and died."""
    relay.silence()
    for state in (3, 4, 1):
        edge.save(uuid, power_state=state)
    edge.save(uuid, progress=7)
    edge.peer.close()
    return edge.journal


def test_a_dead_host_s_disk_is_shipped_once(
    dead_host: pathlib.Path,
    conductor: Conductor,
    centre: centres.Centre,
    replay: Replay,
    uuid: str,
    tmp_path: pathlib.Path,
) -> None:
    disk = copied(dead_host, tmp_path / "rescued from the disk.sqlite")
    planned = replay("--journal", disk, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.splitlines()[1].split()[-4:] == ["4", "0", "0", "none"]
    assert conductor.applied == []
    for expected in ("shipped 4", "nothing to ship"):
        done = replay("--journal", disk)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{disk}: {expected}\n"
    found = stored(centre, uuid)
    assert (found.power_state, found.progress) == (1, 7)
    again = replay("--journal", copied(dead_host, tmp_path / "again.db"), "--json")
    assert again.returncode == 0, again.stderr
    (report,) = json.loads(again.stdout)["journals"]
    assert (report["pending"], report["left"], report["refused"]) == (4, 0, 0)
    found = stored(centre, uuid)
    assert (found.power_state, found.progress) == (1, 7)


def test_a_copy_does_not_fence_the_process_that_lives(
    edge: Edge,
    conductor: Conductor,
    centre: centres.Centre,
    relay: relays.Relay,
    replay: Replay,
    uuid: str,
    tmp_path: pathlib.Path,
) -> None:
    relay.silence()
    edge.save(uuid, power_state=4)
    copy = copied(edge.journal, tmp_path / "copy.db")
    assert replay("--journal", copy).returncode == 0
    assert stored(centre, uuid).power_state == 4
    edge.save(uuid, power_state=1)
    relay.resume()
    edge.await_drained()
    edge.await_linked()
    assert stored(centre, uuid).power_state == 1


def test_what_the_centre_has_lost_is_brought_forward(
    edge: Edge,
    conductor: Conductor,
    centre: centres.Centre,
    replay: Replay,
    uuid: str,
    tmp_path: pathlib.Path,
) -> None:
    edge.save(uuid, power_state=3)
    edge.await_drained()
    dump = copied(centre.path, tmp_path / "dump.sqlite")
    before = time.time()
    time.sleep(1.1)  # the journal keeps whole seconds
    edge.save(uuid, power_state=4)
    edge.save(uuid, progress=7)
    edge.await_drained()
    edge.peer.close()
    copied(dump, centre.path)
    assert stored(centre, uuid).power_state == 3
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(before + 1))
    arguments = ("--journal", edge.journal, "--since", since)
    planned = replay(*arguments, "--dry-run")
    assert planned.stdout.splitlines()[1].split()[-4:] == ["0", "2", "0", "none"]
    done = replay(*arguments)
    assert (done.returncode, done.stderr[-500:].count("Traceback")) == (0, 0), done.stderr
    found = stored(centre, uuid)
    assert (found.power_state, found.progress) == (4, 7)


def test_a_live_process_brings_forward_what_it_is_asked_for(
    edge: Edge, conductor: Conductor, centre: centres.Centre, replay: Replay, uuid: str
) -> None:
    edge.save(uuid, power_state=4)
    edge.await_drained()
    with centres.direct():
        found = stored(centre, uuid)
        found.power_state = 3
        found.save()
    untouched = replay("--journal", edge.journal)
    assert untouched.returncode == 0
    assert untouched.stdout.rstrip().endswith("ships it")
    done = replay("--journal", edge.journal, "--group", uuid)
    assert done.returncode == 0, done.stderr
    assert stored(centre, uuid).power_state == 4
    assert "LOST" not in states(edge.journal)


def test_dead_letters_are_tried_again(
    edge: Edge,
    conductor: Conductor,
    centre: centres.Centre,
    relay: relays.Relay,
    replay: Replay,
    uuid: str,
) -> None:
    relay.silence()
    edge.save(uuid, power_state=4)
    with centres.direct():
        moved = stored(centre, uuid)
        moved.host = "another"
        moved.save()
    relay.resume()
    wait_until(lambda: "DEAD" in states(edge.journal), WAIT_SECONDS, "the dead letter")
    edge.peer.close()
    refused = replay("--journal", edge.journal, "--dead-letters")
    assert refused.returncode == 1
    assert "1 refused, see 'nova-edge-bus dead-letters list'" in refused.stdout
    with centres.direct():
        moved = stored(centre, uuid)
        moved.host = "edge-1"
        moved.save()
    done = replay("--journal", edge.journal, "--dead-letters")
    assert done.returncode == 0, done.stdout + done.stderr
    assert stored(centre, uuid).power_state == 4


def test_it_can_be_interrupted_and_goes_on(
    edge: Edge,
    conductor: Conductor,
    centre: centres.Centre,
    relay: relays.Relay,
    shared_endpoint: endpoints.Endpoint,
    replay: Replay,
    uuid: str,
) -> None:
    others = [rows.instance(centre).uuid for _ in range(10)]
    for each in others:
        edge.field(each)
    relay.silence()
    for each in others:
        edge.save(each, power_state=4)
        fault = fault_of(edge, each)
        edge.act(fault, "create")
    edge.peer.close()
    conductor.gate.clear()
    where = f"{shared_endpoint.host}:{shared_endpoint.port}"
    with subprocess.Popen(
        command("--journal", edge.journal, "--endpoint", where),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as first:
        # As many as are at work at once of a backlog whose conductor has not shown its pace.
        for _ in range(2):
            conductor.began.get(timeout=WAIT_SECONDS)
        first.send_signal(signal.SIGINT)
        conductor.gate.set()
        _, errors = first.communicate(timeout=WAIT_SECONDS)
    assert first.returncode == 1
    assert "interrupted; run it again to go on" in errors
    assert "Traceback" not in errors
    done = replay("--journal", edge.journal)
    assert done.returncode == 0, done.stderr
    with centres.direct():
        found = objects.InstanceFaultList.get_by_instance_uuids(centre.context(), others)
    assert sorted(each.instance_uuid for each in found) == sorted(others), "none twice, none lost"
    assert {stored(centre, each).power_state for each in others} == {4}


def fault_of(edge: Edge, uuid: str) -> dict[str, Any]:
    fault = objects.InstanceFault(
        instance_uuid=uuid, code=500, message="m", host="edge-1", details=""
    )
    primitive: dict[str, Any] = fault.obj_to_primitive()
    return primitive


def test_what_cannot_be_shipped_stays(
    dead_host: pathlib.Path, replay: Replay, tmp_path: pathlib.Path
) -> None:
    copy = copied(dead_host, tmp_path / "copy.db")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{nobody.getsockname()[1]}"
        done = replay("--journal", copy, "--timeout", 1, endpoint=where)
    assert done.returncode == 1
    said = "linked to no endpoint: none can be reached, or none admits this key; 4 left"
    assert done.stdout == f"{copy}: {said}\n"
    assert states(copy)["PENDING"] == 4


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--journal", "absent.db"], "cannot read journal absent.db: no such file"),
        (["--journal", "text.db"], "text.db"),
        (["--journal-dir", "empty"], "no journal in empty"),
        (["--journal", "good.db", "--endpoint", "host:port"], "--endpoint host:port: "),
        (["--journal", "good.db", "--endpoint", "192.0.2.1"], "allow_insecure"),
    ],
    ids=["absent", "not a journal", "empty folder", "bad port", "not encrypted"],
)
def test_wrong_input_is_one_line(
    dead_host: pathlib.Path, tmp_path: pathlib.Path, arguments: list[str], text: str
) -> None:
    (tmp_path / "text.db").write_text(
        "this is no database, and it is long enough to be sure\n" * 9
    )
    (tmp_path / "empty").mkdir()
    shutil.copy(dead_host, tmp_path / "good.db")
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=tmp_path, timeout=WAIT_SECONDS
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert text in done.stderr
