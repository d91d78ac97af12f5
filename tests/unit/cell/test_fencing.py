# SPDX-License-Identifier: Apache-2.0
"""What was written at a cut-off edge does not land where the edge has no say any more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from nova import objects

from nova_edge_bus import errors
from nova_edge_bus.cell import fencing
from nova_edge_bus.cell import keyed
from nova_edge_bus.cell import once
from tests.unit.cell import applying
from tests.unit.snapshot import rows
from tests.unit.snapshot.centre import Centre
from tests.unit.snapshot.centre import direct
from tests.unit.snapshot.edge import HOST

pytestmark = pytest.mark.usefixtures("centre")


@pytest.fixture
def instance(centre: Centre) -> Any:
    uuid = rows.instance(centre, metadata={"a": "1", "b": "1", "c": "1"}).uuid
    with direct():
        return objects.Instance.get_by_uuid(centre.context(), uuid, ["metadata", "info_cache"])


def replay(centre: Centre, entry: applying.Entry, host: str | None = HOST, **note: Any) -> Any:
    """Apply an entry that was answered at the edge while the instance was on *host*."""
    told = {"instance_host": host, **note}
    message = entry.message
    if told.get("base"):
        message = dict(once.with_keys_merged(message, told["base"]))
    once.begin(entry.outbox, entry.seq, fencing.fence_of(message, told))
    try:
        return centre(entry.context, message)
    finally:
        once.end()


def centrally(centre: Centre, uuid: str, **values: Any) -> None:
    with direct():
        stored = objects.Instance.get_by_uuid(centre.context(), uuid, ["metadata"])
        for name, value in values.items():
            setattr(stored, name, value)
        stored.save()


def evacuate(centre: Centre, uuid: str) -> None:
    centrally(centre, uuid, host="another")


def delete(centre: Centre, uuid: str) -> None:
    with direct():
        objects.Instance.get_by_uuid(centre.context(), uuid).destroy()


def save(instance: Any, **values: Any) -> applying.Entry:
    def write() -> None:
        for name, value in values.items():
            setattr(instance, name, value)
        instance.save()

    (entry,) = applying.written(write)
    return entry


def fault(instance: Any) -> applying.Entry:
    made = objects.InstanceFault(
        instance._context, instance_uuid=instance.uuid, code=500, message="m", host=HOST
    )
    made.details = ""
    (entry,) = applying.written(made.create)
    return entry


def network(instance: Any) -> applying.Entry:
    instance.info_cache.network_info = "[]"
    entries = applying.written(instance.info_cache.save)
    assert len(entries) == 1
    return entries[0]


def end_of_ports(instance: Any) -> applying.Entry:
    (entry,) = applying.written(
        lambda: objects.VirtualInterface.delete_by_instance_uuid(instance._context, instance.uuid)
    )
    return entry


def power_state(centre: Centre, uuid: str) -> Any:
    with direct():
        return objects.Instance.get_by_uuid(centre.context(read_deleted="yes"), uuid).power_state


@contextlib.contextmanager
def fenced(text: str) -> Iterator[None]:
    with pytest.raises(errors.Fenced, match=text):
        yield


def test_what_was_written_lands_where_nothing_has_changed(centre: Centre, instance: Any) -> None:
    replay(centre, save(instance, power_state=4))
    assert power_state(centre, instance.uuid) == 4


@pytest.mark.parametrize("write", [save, fault, network, end_of_ports])
def test_nothing_lands_on_an_evacuated_instance(
    centre: Centre, instance: Any, write: Callable[[Any], applying.Entry]
) -> None:
    entry = save(instance, power_state=4) if write is save else write(instance)
    evacuate(centre, instance.uuid)
    with fenced("is on host another at the centre"):
        replay(centre, entry)
    assert power_state(centre, instance.uuid) != 4
    assert applying.parts(centre, entry) == []


@pytest.mark.parametrize("write", [fault, network])
def test_nothing_lands_on_a_deleted_instance(
    centre: Centre, instance: Any, write: Callable[[Any], applying.Entry]
) -> None:
    """Nova itself raises nothing for these."""
    entry = write(instance)
    delete(centre, instance.uuid)
    with fenced("was deleted at the centre"):
        replay(centre, entry)
    assert applying.parts(centre, entry) == []


def test_the_history_of_an_instance_is_nobodys(centre: Centre, instance: Any) -> None:
    """What happened at the edge happened, wherever the instance is by now."""
    context = centre.context(request_id="req-1")
    with direct():
        objects.InstanceAction.action_start(context, instance.uuid, "stop")
    (entry,) = applying.written(
        lambda: objects.InstanceActionEvent.event_start(
            context, instance.uuid, "compute_stop_instance", want_result=False, host=HOST
        )
    )
    evacuate(centre, instance.uuid)
    replay(centre, entry)
    assert applying.parts(centre, entry) == [0]


def test_an_instance_that_was_nowhere_may_still_be(centre: Centre, instance: Any) -> None:
    """An earlier entry of the same host gave the instance up, and the next one knows."""
    replay(centre, save(instance, host=None, node=None, compute_id=None))
    replay(centre, save(instance, power_state=4), host=None)
    assert power_state(centre, instance.uuid) == 4


def test_metadata_is_merged_with_what_the_centre_has(centre: Centre, instance: Any) -> None:
    base = dict(instance.metadata)
    entry = save(instance, metadata={"a": "edge", "c": "edge", "new": "edge"})
    centrally(centre, instance.uuid, metadata={"a": "1", "b": "1", "c": "user", "user": "1"})
    replay(centre, entry, base={"metadata": base})
    with direct():
        stored = objects.Instance.get_by_uuid(centre.context(), instance.uuid, ["metadata"])
    assert stored.metadata == {"a": "edge", "c": "user", "new": "edge", "user": "1"}


@pytest.mark.parametrize(
    ("ours", "theirs", "result"),
    [
        ({"k": "1"}, {"k": "1"}, {"k": "1"}),
        ({"k": "2"}, {"k": "1"}, {"k": "2"}),
        ({"k": "1"}, {"k": "2"}, {"k": "2"}),
        ({"k": "2"}, {"k": "3"}, {"k": "3"}),
        ({}, {"k": "1"}, {}),
        ({"k": "1"}, {}, {}),
        ({}, {"k": "2"}, {"k": "2"}),
        ({"k": "2"}, {}, {}),
        ({"k": "1", "n": "o"}, {"k": "1"}, {"k": "1", "n": "o"}),
        ({"k": "1"}, {"k": "1", "n": "t"}, {"k": "1", "n": "t"}),
        ({"k": "1", "n": "o"}, {"k": "1", "n": "t"}, {"k": "1", "n": "t"}),
    ],
)
def test_keys_merge_three_ways(
    ours: dict[str, str], theirs: dict[str, str], result: dict[str, str]
) -> None:
    assert keyed.merged({"k": "1"}, ours, theirs) == result
