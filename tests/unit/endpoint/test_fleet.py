# SPDX-License-Identifier: Apache-2.0
"""The table of the fleet, and the document that is made of it."""

from __future__ import annotations

import gc
import gzip
import json
import sys
import threading
import tracemalloc
from typing import Any

import pytest

from nova_edge_bus.endpoint import fleet
from nova_edge_bus.endpoint import fleet_json
from nova_edge_bus.endpoint import fleet_pages
from nova_edge_bus.monitoring import pages
from nova_edge_bus.protocol import messages
from tests.fleet_page import rows

CUT_OFF = rows.LINKED._replace(
    state=messages.PeerState.CUT_OFF, pending=7, oldest=90_000, dead=6, conflicts=2, fenced=1
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The wall clock of the table."""
    now = {"now": 1_000_000.0}
    monkeypatch.setattr(fleet.time, "time", lambda: now["now"])
    return now


def read(table: fleet.Fleet) -> dict[str, Any]:
    """What a new document says, each row by its columns."""
    made = fleet_json.FleetJson(table, "test").document()
    assert gzip.decompress(made.packed) == made.plain
    found = json.loads(made.plain)
    found["rows"] = [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
    for row in found["rows"]:
        row["state"] = found["states"][row["state"]]
    return dict(found)


def test_a_process_is_shown_with_what_it_reports(clock: dict[str, float]) -> None:
    table = fleet.Fleet(9)
    said = rows.hello(1, "edge-1")
    rows.join(table, said)
    assert read(table)["rows"][0]["state"] == "linked, no report"
    assert read(table)["rows"][0]["pending"] is None
    clock["now"] += 3
    table.reported(said, CUT_OFF)
    found = read(table)
    (row,) = found["rows"]
    heard = row.pop("heard_at")
    assert heard <= clock["now"] + 1
    assert row == {
        "host": "edge-1",
        "service": "nova-compute",
        "outbox": "0000000000000001",
        "state": "cut off",
        "since": 1_000_000,
        "pending": 7,
        "oldest_at": 1_000_003 - 90,
        "dead_letters": 6,
        "conflicts": 2,
        "fenced": 1,
        "fill": 3,
        "version": "0.1.0",
        "connected_at": 1_000_000,
        "turned_away": 0,
    }
    assert found["counts"]["cut off"] == 1
    clock["now"] += 4
    table.reported(said, rows.LINKED)
    assert read(table)["rows"][0]["since"] == 1_000_007
    table.reported(said, rows.LINKED._replace(pending=1, oldest=2**63 - 1))
    assert read(table)["rows"][0]["oldest_at"] == 1


def test_who_is_gone_is_shown_for_a_day_with_the_last_report(clock: dict[str, float]) -> None:
    table = fleet.Fleet(9)
    said = rows.hello(1, "edge-1")
    rows.join(table, said)
    table.reported(said, CUT_OFF)
    clock["now"] += 60
    table.closed(said)
    (row,) = read(table)["rows"]
    assert (row["state"], row["since"], row["pending"]) == ("gone", 1_000_060, 7)
    clock["now"] += fleet.KEPT_SECONDS - 1
    assert len(read(table)["rows"]) == 1
    clock["now"] += 2
    assert read(table)["rows"] == []
    other = rows.hello(2, "edge-2")
    rows.join(table, other)
    table.closed(other)
    assert [row["host"] for row in read(table)["rows"]] == ["edge-2"]


def test_who_comes_back_has_one_row_and_old_figures_for_a_moment(clock: dict[str, float]) -> None:
    table = fleet.Fleet(9)
    for epoch in (1, 2):
        said = rows.hello(1, "edge-1")._replace(epoch=epoch, peer=b"peer---%d" % epoch)
        rows.join(table, said)
        if epoch == 1:
            table.reported(said, CUT_OFF)
            clock["now"] += 5
            table.closed(said)
    (row,) = read(table)["rows"]
    assert (row["state"], row["pending"], row["connected_at"]) == ("cut off", 7, 1_000_005)
    clock["now"] += fleet.PATIENCE_SECONDS
    (row,) = read(table)["rows"]
    assert (row["state"], row["pending"]) == ("linked, no report", None)


def test_an_end_that_is_told_late_does_not_end_the_new_session() -> None:
    table = fleet.Fleet(9)
    first, second = rows.hello(1, "edge-1"), rows.hello(1, "edge-1")._replace(epoch=2)
    rows.join(table, first)
    rows.join(table, second)
    table.closed(first)
    table.reported(first, CUT_OFF)
    assert [row["state"] for row in read(table)["rows"]] == ["linked, no report"]


def test_what_is_gone_is_bounded_and_no_host_takes_the_room_of_others() -> None:
    table = fleet.Fleet(most_gone=100)
    for number in range(3 * fleet.MOST_GONE_OF_A_HOST):
        said = rows.hello(number, "noisy")
        rows.join(table, said)
        table.closed(said)
    assert len(table.rows()) == fleet.MOST_GONE_OF_A_HOST
    for number in range(1000, 1100):
        said = rows.hello(number, f"edge-{number}")
        rows.join(table, said)
        table.closed(said)
    assert {row.host for row in table.rows()} == {f"edge-{n}" for n in range(1000, 1100)}
    for number in range(1000, 1100):
        rows.join(table, rows.hello(number, f"edge-{number}"))
    assert len(table.rows()) == 100
    assert not table._gone_of


def test_names_are_cut_and_unknown_states_are_no_states() -> None:
    table = fleet.Fleet(9)
    said = rows.hello(1, "h" * 4096, "s" * 4096)
    rows.join(table, said)
    table.reported(said, rows.LINKED._replace(state=99, version="v" * 4096))
    (row,) = read(table)["rows"]
    assert (len(row["host"]), len(row["service"]), len(row["version"])) == (128, 128, 32)
    assert row["state"] == "linked, no report"


def test_a_journal_of_which_a_copy_was_turned_away_is_shown() -> None:
    table = fleet.Fleet(9)
    said = rows.hello(1, "edge-1")
    rows.join(table, said)
    table.fenced(said._replace(host="elsewhere"))
    table.fenced(rows.hello(2, "edge-2"))
    assert [row["turned_away"] for row in read(table)["rows"]] == [1]


def test_a_row_takes_less_than_a_kibibyte() -> None:
    count = 2000
    table = fleet.Fleet(count)
    hellos = [rows.hello(number, f"edge-{number}") for number in range(count)]
    hosts = sum(sys.getsizeof(said.host) for said in hellos)
    shared = rows.session.DialSession(hellos[0], link_timeout=5, now=0.0, codec=rows.CODEC)
    gc.collect()
    tracemalloc.start()
    for number, said in enumerate(hellos):
        table.opened(said, shared)
        table.reported(said, CUT_OFF._replace(pending=1000 + number, oldest=10**6 + number))
    up = tracemalloc.get_traced_memory()[0] + hosts
    for said in hellos:
        table.closed(said)
    gone = tracemalloc.get_traced_memory()[0] + hosts
    tracemalloc.stop()
    assert up / count < 1024
    assert gone / count < 1024
    print(f"{up / count:.0f} bytes a row with a session, {gone / count:.0f} without")


def test_many_who_ask_cost_one_document(monkeypatch: pytest.MonkeyPatch) -> None:
    table = fleet.Fleet(9)
    rows.fill(table, 5)
    source = fleet_json.FleetJson(table, "test")
    first = source.document()
    assert source.document() is first
    monkeypatch.setattr(source, "_fresh_until", 0.0)
    begun, end = threading.Event(), threading.Event()
    make = source._make

    def slowly() -> fleet_json.Document:
        begun.set()
        assert end.wait(30)
        return make()

    monkeypatch.setattr(source, "_make", slowly)
    asker = threading.Thread(target=source.document)
    asker.start()
    assert begun.wait(30)
    assert source.document() is first
    end.set()
    asker.join(30)
    assert source.document() is not first


def test_the_table_can_be_read_while_it_changes() -> None:
    table = fleet.Fleet(3000)
    rows.fill(table, 3000)
    stop = threading.Event()
    failures: list[Exception] = []

    def change() -> None:
        number = 10_000
        try:
            while not stop.is_set():
                said = rows.hello(number % 6000, f"edge-{number % 6000}")
                rows.join(table, said)
                table.reported(said, CUT_OFF)
                if number % 2:
                    table.closed(said)
                number += 1
        except Exception as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    writer = threading.Thread(target=change)
    writer.start()
    try:
        # Threads take turns so often that a reading in many steps would be cut in two.
        sys.setswitchinterval(1e-6)
        for _ in range(200):
            assert len(table.rows()) >= 3000
        assert len(read(table)["rows"]) >= 3000
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        writer.join(30)
    assert failures == []


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [("gzip, br", True), ("br;q=1, GZIP;q=0.5", True), ("", False), ("gzip;q=0", False)],
)
def test_the_document_is_packed_for_who_takes_it(accepted: str, is_packed: bool) -> None:
    table = fleet.Fleet(9)
    rows.fill(table, 5)
    page = fleet_pages.routes(table, "test")["/fleet.json"]
    response = page(pages.Request("/fleet.json", {}, {"Accept-Encoding": accepted}))
    assert (("Content-Encoding", "gzip") in response.headers) == is_packed
    body = gzip.decompress(response.body) if is_packed else response.body
    assert len(json.loads(body)["rows"]) == 5


def test_pages_may_load_nothing_from_elsewhere() -> None:
    for path, page in fleet_pages.routes(fleet.Fleet(9), "test").items():
        response = page(pages.Request(path, {}, {}))
        policy = dict(response.headers)["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert b"://" not in response.body
