# SPDX-License-Identifier: Apache-2.0
"""The rows of senders that ask for no audits are deleted, and what they said stays known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from nova import objects

from nova_edge_bus.cell import audit
from nova_edge_bus.cell import databases
from nova_edge_bus.cell import floors
from nova_edge_bus.cell import once
from nova_edge_bus.cell import reached
from tests.unit.cell import applying
from tests.unit.snapshot import rows
from tests.unit.snapshot.centre import Centre
from tests.unit.snapshot.centre import direct

pytestmark = pytest.mark.usefixtures("centre")

ADDRESS, OTHER = "/nova/conductor", "/other/conductor"
EPOCH = 5
MANY = 2 * floors.FOLD_EVERY


@pytest.fixture(autouse=True)
def restart(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Starts the conductor again, which knows nothing then."""

    def start() -> None:
        monkeypatch.setattr(once, "_reached", reached.Reached())
        monkeypatch.setattr(once, "_remembered", floors.Remembered())

    start()
    return start


def fault(centre: Centre, uuid: str, message: str) -> applying.Entry:
    made = objects.InstanceFault(
        centre.context(), instance_uuid=uuid, code=500, message=message, details="", host="h"
    )
    (entry,) = applying.written(made.create)
    return entry


def apply(
    centre: Centre, entry: applying.Entry, seq: int, address: str = ADDRESS
) -> once.Applying:
    current = once.begin(entry.outbox, seq, address=address, epoch=EPOCH)
    centre(entry.context, entry.message)
    once.end()
    return current


def messages(centre: Centre, uuid: str) -> list[str]:
    with direct():
        found = objects.InstanceFaultList.get_by_instance_uuids(centre.context(), [uuid])
    return sorted(each.message for each in found)


def at(centre: Centre, entry: applying.Entry, seq: int) -> list[int]:
    return applying.parts(centre, applying.Entry(entry.outbox, seq, {}, {}))


def test_what_was_folded_away_has_no_effect_a_second_time(
    centre: Centre, restart: Callable[[], None]
) -> None:
    """A copy of a journal is replayed, which keeps the epoch, to a conductor of another life."""
    uuid = rows.instance(centre).uuid
    entry = fault(centre, uuid, "once")
    current = apply(centre, entry, 1)
    floors.Folding().fold(current.engines, current.outbox, current.stream, MANY)
    assert at(centre, entry, 1) == []
    restart()
    assert apply(centre, entry, 1).is_recorded
    assert messages(centre, uuid) == ["once"]
    apply(centre, fault_of(entry, centre, uuid, "new"), MANY)
    assert messages(centre, uuid) == ["new", "once"]


def fault_of(of: applying.Entry, centre: Centre, uuid: str, message: str) -> applying.Entry:
    entry = fault(centre, uuid, message)
    entry.outbox = of.outbox
    return entry


def test_the_rows_of_a_stream_that_is_behind_stay(
    centre: Centre, restart: Callable[[], None]
) -> None:
    """Its sender has not heard yet that the entry is applied, and ships it again."""
    uuid = rows.instance(centre).uuid
    behind = fault(centre, uuid, "once")
    apply(centre, behind, 1, OTHER)
    current = apply(centre, fault_of(behind, centre, uuid, "other"), 2)
    folding = floors.Folding()
    folding.fold(current.engines, current.outbox, current.stream, MANY)
    restart()
    apply(centre, behind, 1, OTHER)
    assert messages(centre, uuid) == ["once", "other"]
    last = apply(centre, behind, 1, OTHER)
    folding.fold(last.engines, last.outbox, last.stream, MANY + 1)
    assert at(centre, behind, 1) == at(centre, behind, 2) == []


def test_nobody_waits_for_whoever_commits_under_a_floor(centre: Centre) -> None:
    """The rows stay for the next time."""
    if centre.url.startswith("sqlite"):
        pytest.skip("SQLite has one writer at a time")
    uuid = rows.instance(centre).uuid
    entry = fault(centre, uuid, "once")
    folding = floors.Folding()
    current = apply(centre, entry, 1)
    folding.fold(current.engines, current.outbox, current.stream, floors.FOLD_EVERY)
    assert at(centre, entry, 1) == []
    (engine,) = current.engines
    apply(centre, fault_of(entry, centre, uuid, "new"), MANY)
    with engine.begin() as asleep:
        floors.read_latest(asleep, current.outbox, current.stream)
        folding.fold(current.engines, current.outbox, current.stream, MANY + 1)
        is_mysql = centre.url.startswith("mysql")
        assert at(centre, entry, MANY) == ([0] if is_mysql else [])
    folding.fold(current.engines, current.outbox, current.stream, MANY + 1)
    assert at(centre, entry, MANY) == []


def test_what_was_folded_away_is_not_lost_to_an_audit(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first audit was asked before the rows were deleted, and is answered only then."""
    uuid = rows.instance(centre).uuid
    entry = fault(centre, uuid, "once")
    current = apply(centre, entry, MANY - 1)
    asked = audit.question(entry.outbox, ADDRESS, [], settled=2)
    floors.Folding().fold(current.engines, current.outbox, current.stream, MANY)
    assert at(centre, entry, MANY - 1) == []
    monkeypatch.setattr(databases, "engines", lambda: list(current.engines))
    for settled in (None, MANY, 2 * MANY):
        if settled is not None:
            asked = audit.question(entry.outbox, ADDRESS, [MANY - 1], settled=settled)
        answer = audit.answer(asked)
        assert answer is not None
        assert answer["floor"] == MANY
