# SPDX-License-Identifier: Apache-2.0
"""What is kept: through a restart, within the bound, and across versions."""

from __future__ import annotations

import json

import pytest
from nova import objects

from nova_edge_bus.snapshot.snapshot import Snapshot
from tests.unit.snapshot import rows
from tests.unit.snapshot.centre import Centre
from tests.unit.snapshot.centre import over
from tests.unit.snapshot.edge import HOST
from tests.unit.snapshot.edge import Edge
from tests.unit.snapshot.test_orders import saved_twice
from tests.unit.snapshot.test_reads import absent
from tests.unit.snapshot.test_reads import audit
from tests.unit.snapshot.test_reads import by_uuid
from tests.unit.snapshot.test_reads import startup


class Store:
    """Rows as a journal keeps them, fed with the changes alone."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.written = 0

    def keep(self, snapshot: Snapshot) -> None:
        for key, body in snapshot.changes():
            self.written += 1
            if body is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = body


def state(snapshot: Snapshot) -> dict[str, object]:
    """All rows but for the ticks of covers, which are kept only roughly."""
    found = {key: json.loads(body) for key, body in snapshot.dump()}
    return {key: value[:-1] if key.startswith("cover/") else value for key, value in found.items()}


def test_changes_add_up_to_the_state(centre: Centre, edge: Edge) -> None:
    store = Store()
    uuids = [rows.instance(centre).uuid for _ in range(3)]
    rows.service(centre)
    with over(edge):
        startup(edge)
        audit(edge)
        objects.Service.get_minimum_version(edge.context(), "nova-compute")
        store.keep(edge.snapshot)
        edge.linked = False
        for uuid in uuids[:2]:
            instance = by_uuid(edge, uuid)
            instance.power_state = 4
            instance.save()
            store.keep(edge.snapshot)
        by_uuid(edge, uuids[2]).destroy()
        store.keep(edge.snapshot)
        before = rows.primitive(startup(edge))
        wanted = state(edge.snapshot)
        edge.snapshot = Snapshot(host=HOST, limit_bytes=50_000_000)
        edge.snapshot.load(store.rows.items())
        assert state(edge.snapshot) == wanted
        assert rows.primitive(startup(edge)) == before
        edge.heal()
        store.keep(edge.snapshot)
        assert not [key for key in store.rows if key.startswith("write/")]


def test_unchanged_reply_changes_no_row(centre: Centre, edge: Edge) -> None:
    store = Store()
    for _ in range(5):
        rows.instance(centre)
    with over(edge):
        audit(edge)
        store.keep(edge.snapshot)
        store.written = 0
        audit(edge)
        store.keep(edge.snapshot)
    assert store.written == 0


def test_a_write_that_was_never_kept_leaves_nothing_to_delete(centre: Centre, edge: Edge) -> None:
    store = Store()
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        store.keep(edge.snapshot)
        edge.linked = False
        instance = by_uuid(edge, uuid)
        instance.power_state = 4
        instance.save()
        edge.heal()
    assert not [key for key, _ in edge.snapshot.changes() if key.startswith("write/")]


def test_a_kept_write_that_settles_before_all_is_forgotten_is_deleted(
    centre: Centre, edge: Edge
) -> None:
    store = Store()
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        edge.linked = False
        instance = by_uuid(edge, uuid)
        instance.power_state = 4
        instance.save()
        store.keep(edge.snapshot)
        edge.heal()
    edge.snapshot.forget()
    store.keep(edge.snapshot)
    assert not [key for key in store.rows if key.startswith("write/")]


def test_the_size_follows_what_changes(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        for number in range(20):
            instance = by_uuid(edge, uuid)
            instance.display_description = "long " * 100 * (number % 3)
            instance.save()
            by_uuid(edge, uuid, "flavor", "system_metadata")
    measured = Snapshot(host=HOST, limit_bytes=50_000_000)
    measured.load(edge.snapshot.dump())
    assert edge.snapshot.size() == pytest.approx(measured.size(), abs=50)


def test_foreign_row_is_refused() -> None:
    with pytest.raises(ValueError, match="not part of a snapshot"):
        Snapshot(host=HOST, limit_bytes=1).load([("other", b"1")])


def test_bound_drops_whole_questions_but_never_our_own(centre: Centre) -> None:
    edge = Edge(centre, limit_bytes=20_000)
    mine = [rows.instance(centre).uuid for _ in range(2)]
    others = [rows.instance(centre, host="other").uuid for _ in range(12)]
    with over(edge):
        startup(edge)
        for uuid in others:
            by_uuid(edge, uuid, "flavor", "system_metadata")
        assert edge.snapshot.size() <= 20_000
        edge.linked = False
        assert sorted(each.uuid for each in startup(edge)) == sorted(mine)
        assert by_uuid(edge, others[-1], "flavor").uuid == others[-1]
        with absent():
            by_uuid(edge, others[0])


def test_older_caller_is_not_given_newer_objects(centre: Centre, edge: Edge) -> None:
    rows.instance(centre)
    with over(edge):
        startup(edge)
    message = edge.messages[-1]
    assert edge.snapshot.answer(message) is not None
    message["args"]["object_versions"]["Instance"] = "2.7"
    assert edge.snapshot.answer(message) is None


def test_downgraded_centre_starts_the_snapshot_over(centre: Centre, edge: Edge) -> None:
    store = Store()
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        store.keep(edge.snapshot)
        by_uuid(edge, uuid)
    message = edge.messages[-1]
    reply = edge.centre(edge.context().to_dict(), message)
    reply["nova_object.version"] = "2.7"
    edge.snapshot.learn(message, reply)
    store.keep(edge.snapshot)
    assert store.rows == dict(edge.snapshot.dump())
    edge.linked = False
    with over(edge), absent():
        startup(edge)


def test_another_scope_is_another_question(centre: Centre, edge: Edge) -> None:
    rows.instance(centre)
    with over(edge):
        startup(edge)
        edge.linked = False
        with absent():
            objects.InstanceList.get_by_host(edge.context(read_deleted="yes"), HOST)
        with absent():
            objects.InstanceList.get_by_host(edge.context(read_deleted="only"), HOST)


def test_replies_in_another_order_survive_a_restart(centre: Centre, edge: Edge) -> None:
    """The newer of two saves is confirmed, the older one is not, and the process ends."""
    store = Store()
    with over(edge):
        uuid, older, newer = saved_twice(centre, edge)
        store.keep(edge.snapshot)
        edge.snapshot.settled(newer, None, None)
        store.keep(edge.snapshot)
        edge.snapshot = Snapshot(host=HOST, limit_bytes=1 << 20)
        edge.snapshot.load(store.rows.items())
        assert edge.snapshot.unsettled() == [older, newer]
        for seq in (newer, older):
            edge.snapshot.settled(seq, None, None)
            assert by_uuid(edge, uuid).display_name == "second"
