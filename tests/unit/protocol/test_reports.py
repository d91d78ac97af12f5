# SPDX-License-Identifier: Apache-2.0
"""What peers report of themselves reaches the endpoint's owner, and troubles no older side."""

from typing import Any

import pytest

from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import router
from nova_edge_bus.protocol import shapes
from nova_edge_bus.protocol.states import State
from tests.unit.protocol import fleet

REPORT = messages.Report(messages.PeerState.CUT_OFF, 7, 90_000, 3, 2, 1, 84, "0.1.0")


def world(**callbacks: Any) -> fleet.Fleet:
    made = fleet.Fleet()
    made.router = router.Router(b"endpoint", **callbacks)
    return made


def test_a_report_is_told_with_who_it_is_from() -> None:
    told: list[Any] = []
    it = world(on_report=lambda hello, report: told.append((hello.host, report)))
    a, b = it.join("a"), it.join("b")
    a.session.queue(REPORT)
    b.session.queue(REPORT._replace(pending=0))
    it.settle()
    assert told == [("a", REPORT), ("b", REPORT._replace(pending=0))]


def test_an_endpoint_that_knows_no_reports_goes_on_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Any] = []
    it = world(on_report=lambda *said: told.append(said))
    a = it.join("a")
    monkeypatch.delitem(shapes.BY_CODE, messages.CODES[messages.Report])
    a.session.queue(REPORT)
    a.session.queue(messages.Lookup(["v/e/t"]))
    it.settle()
    assert a.session.state is State.UP
    assert a.inbox == [messages.Routes("v/e/t", [])]
    assert told == []


def test_reports_take_no_credit() -> None:
    it = world()
    a = it.join("a")
    for _ in range(3 * it.router.settings.window_messages):
        a.session.queue(REPORT)
    assert a.session.backlog == (0, 0)
    it.settle()
    assert a.session.state is State.UP


def test_a_copy_of_a_journal_that_is_turned_away_is_told_of() -> None:
    told: list[bytes] = []
    it = world(on_fenced=lambda hello: told.append(hello.outbox))
    first = it.join("a", epoch=5)
    second = it.join("b", outbox=first.session.hello.outbox, epoch=4)
    assert second.session.state is State.CLOSED
    assert told == [first.session.hello.outbox]
