# SPDX-License-Identifier: Apache-2.0
"""Replies that come late, or in another order than what they answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from nova import objects

from nova_edge_bus.snapshot.snapshot import Snapshot
from tests.unit.snapshot import rows
from tests.unit.snapshot.centre import Centre
from tests.unit.snapshot.centre import direct
from tests.unit.snapshot.centre import over
from tests.unit.snapshot.edge import Edge
from tests.unit.snapshot.test_reads import by_uuid
from tests.unit.snapshot.test_reads import startup


def test_late_reply_does_not_go_back_in_time(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        message, asked_at = edge.messages[-1], edge.snapshot.moment()
        reply = edge.centre(edge.context().to_dict(), message)
        instance = by_uuid(edge, uuid)
        instance.power_state = 4
        instance.save()
        edge.snapshot.learn(message, reply, asked_at=asked_at)
        edge.linked = False
        assert by_uuid(edge, uuid).power_state == 4
        assert [each.power_state for each in startup(edge)] == [4]


def change(centre: Centre, uuid: str, **values: Any) -> None:
    """Let the centre change an instance by itself."""
    with direct():
        central = objects.Instance.get_by_uuid(centre.context(), uuid)
        central.update(values)
        central.save()


def test_late_reply_tells_what_our_write_left_alone(centre: Centre, edge: Edge) -> None:
    """Whoever asked has seen it, and must not see less once the link is cut."""
    uuid = rows.instance(centre).uuid
    with over(edge):
        startup(edge)
        instance = by_uuid(edge, uuid)
        message, asked_at = edge.messages[-1], edge.snapshot.moment()
        instance.power_state = 4
        instance.save()
        change(centre, uuid, display_description="by the centre")
        reply = edge.centre(edge.context().to_dict(), message)
        edge.snapshot.learn(message, reply, asked_at=asked_at)
        edge.linked = False
        found = by_uuid(edge, uuid)
        assert (found.power_state, found.display_description) == (4, "by the centre")


def test_late_reply_is_older_than_a_write_that_changed_nothing(centre: Centre, edge: Edge) -> None:
    uuid = rows.instance(centre, power_state=1).uuid
    with over(edge):
        startup(edge)
        instance = by_uuid(edge, uuid)
        message, asked_at = edge.messages[-1], edge.snapshot.moment()
        change(centre, uuid, power_state=4)
        reply = edge.centre(edge.context().to_dict(), message)
        instance.power_state = 7
        instance.power_state = 1
        assert instance.obj_what_changed() == {"power_state"}
        instance.save()
        edge.snapshot.learn(message, reply, asked_at=asked_at)
        edge.linked = False
        assert by_uuid(edge, uuid).power_state == 1


def saved_twice(centre: Centre, edge: Edge) -> tuple[str, int, int]:
    """An instance that was saved twice while cut off, with the seqs of both saves."""
    uuid = rows.instance(centre).uuid
    startup(edge)
    edge.linked = False
    instance = by_uuid(edge, uuid)
    for name in ("first", "second"):
        instance.display_name = name
        instance.save()
    older, newer = edge.snapshot.unsettled()
    return uuid, older, newer


def test_replies_in_another_order_do_not_go_back_in_time(centre: Centre, edge: Edge) -> None:
    """The reply to the older save was lost with a link, and the save shipped again."""
    with over(edge):
        uuid, older, newer = saved_twice(centre, edge)
        for seq in (newer, older):
            edge.snapshot.settled(seq, None, None)
            assert by_uuid(edge, uuid).display_name == "second"
        assert edge.snapshot.unsettled() == []


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda of, seq: of.retract(seq), id="retracted"),
        pytest.param(lambda of, seq: of.settled(seq, None, {"class": "Fenced"}), id="refused"),
        pytest.param(
            lambda of, seq: of.settled(seq, None, {"class": "InstanceNotFound"}), id="gone"
        ),
        pytest.param(lambda of, seq: (of.forget(), of.settled(seq, None, None)), id="forgotten"),
    ],
)
def test_nothing_waits_for_an_older_write_that_is_out_of_the_way(
    centre: Centre, edge: Edge, end: Callable[[Snapshot, int], object]
) -> None:
    with over(edge):
        uuid, older, newer = saved_twice(centre, edge)
        edge.snapshot.settled(newer, None, None)
        assert edge.snapshot.unsettled() == [older, newer]
        end(edge.snapshot, older)
        assert edge.snapshot.unsettled() == []
        edge.linked = True
        startup(edge)
        edge.linked = False
        assert by_uuid(edge, uuid).display_name != "first"
