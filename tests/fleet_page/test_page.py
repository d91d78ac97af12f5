# SPDX-License-Identifier: Apache-2.0
"""The fleet page in a real browser."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

import pytest

from nova_edge_bus.endpoint import fleet
from nova_edge_bus.endpoint import fleet_json
from nova_edge_bus.protocol import messages
from tests.fleet_page import browser
from tests.fleet_page import rows

pytestmark = pytest.mark.browser

MANY = 40_000
HOSTILE = (
    "<img src=x onerror=window.taken=1>",
    "</script><script>window.taken=1</script>",
    "\"><svg onload='window.taken=1'>",
    "javascript:window.taken=1",
    "__proto__",
    "\N{RIGHT-TO-LEFT OVERRIDE}edge\x00\x1b[31m",
)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> fleet.Fleet:
    monkeypatch.setattr(fleet_json, "FRESH_SECONDS", 0.2)
    monkeypatch.setattr(fleet_json, "REST_FACTOR", 0.0)
    return fleet.Fleet(MANY)


@pytest.fixture
def page(
    table: fleet.Fleet, chromium: tuple[str, str], tmp_path: pathlib.Path
) -> Iterator[browser.Page]:
    with (
        rows.served(table) as url,
        browser.looking(chromium, tmp_path, url) as shown,
    ):
        yield shown
        assert shown.errors() == []


def test_forty_thousand_rows_sort_filter_and_scroll(
    table: fleet.Fleet, page: browser.Page
) -> None:
    rows.fill(table, MANY)
    page.open()
    assert page.summary.startswith("40,000 hosts, 40,000 processes; ")
    first = page.rows()
    assert len(first) < 100
    assert {row["State"].lstrip("▲") for row in first} == {"cut off"}
    expected = dict.fromkeys(fleet.STATES, 0)
    now = fleet.time.time()
    for row in table.rows():
        expected[row.state(now)] += 1
    for state, count in expected.items():
        button = page.run(f"return document.querySelector(\"[data-state='{state}']\").textContent")
        assert button.endswith(f"{state} {count:,}")

    deepest = max(row.figures.pending for row in table.rows() if row.figures)
    page.sort("Backlog")
    assert page.rows()[0]["Backlog"] == f"{deepest:,}"
    page.sort("Backlog")
    assert page.rows()[0]["Backlog"] == "0"
    page.sort("Host")
    assert [row["Host"] for row in page.rows()[:3]] == [
        "ctl-0.site-0",
        "ctl-1000.site-25",
        "ctl-2000.site-50",
    ]
    page.sort("Host")
    assert page.rows()[0]["Host"] == "edge-39999.site-999"

    page.filter("site-77 COMPUTE")
    chosen = page.rows()
    assert all(row["Host"].partition(".")[2].startswith("site-77") for row in chosen)
    wanted = [row for row in table.rows() if ".site-77" in row.host and "edge" in row.host]
    assert f", {len(wanted)} shown; " in page.summary
    page.choose("gone")
    gone = sum(row.gone_at is not None for row in wanted)
    assert f", {gone} shown; " in page.summary
    page.filter("nowhere to be found")
    assert page.rows() == []
    page.filter("")
    page.choose("gone")

    page.run("document.getElementById('view').scrollTop = 20000 * 28")
    page.wait(lambda: page.rows()[0]["Host"] != "edge-39999.site-999")
    shown = page.run(
        "const v = document.getElementById('view').getBoundingClientRect();"
        "return document.elementFromPoint(v.left + 20, v.top + 32 + 14).closest('tr').ariaRowIndex"
    )
    assert shown == "20002"
    assert len(page.rows()) < 100


def test_names_of_hostile_hosts_are_text(table: fleet.Fleet, page: browser.Page) -> None:
    for number, name in enumerate(HOSTILE):
        said = rows.hello(number, name, name)
        rows.join(table, said)
        table.reported(said, rows.LINKED._replace(version=name))
    page.open()
    assert {row["Host"] for row in page.rows()} == set(HOSTILE)
    assert {row["Version"] for row in page.rows()} == {name[:32] for name in HOSTILE}
    assert (
        page.run("return document.querySelectorAll('#rows img, #rows svg, #rows script').length")
        == 0
    )
    assert page.run("return window.taken") is None
    # Even what gets into the document by a mistake can neither run nor load.
    page.run("document.body.insertAdjacentHTML('beforeend', arguments[0])", HOSTILE[0])
    page.wait(lambda: any("Content Security Policy" in said for said in page.errors()))
    assert page.run("return window.taken") is None


def test_it_refreshes_by_itself_and_keeps_its_place(
    table: fleet.Fleet, page: browser.Page
) -> None:
    rows.fill(table, 500)
    page.open("#sort=host")
    page.filter("edge")
    page.run("document.getElementById('view').scrollTop = 100 * 28")
    page.wait(lambda: "edge-101.site-2" in {row["Host"] for row in page.rows()})
    said = rows.hello(9999, "edge-101.site-2")
    rows.join(table, said)
    table.reported(said, rows.LINKED._replace(pending=12_345, oldest=1000))
    page.wait(lambda: "12,345" in {row["Backlog"] for row in page.rows()})
    assert page.run("return document.getElementById('view').scrollTop") == 100 * 28
    assert page.run("return document.getElementById('filter').value") == "edge"
    assert page.run("return document.activeElement.id") == "filter"


def test_it_is_used_without_a_mouse(table: fleet.Fleet, page: browser.Page) -> None:
    rows.fill(table, 500)
    page.open()
    page.press("/", "c", "t", "l")
    assert {row["Host"] for row in page.rows()} == {"ctl-0.site-0"}
    page.press("BACKSPACE", "BACKSPACE", "BACKSPACE")
    page.run("document.querySelector('#head button').focus()")
    page.press("ENTER")
    assert page.run("return document.querySelector('#head th').ariaSort") == "ascending"
    assert page.rows()[0]["Host"] == "ctl-0.site-0"
    page.run("document.querySelector('[data-state=gone]').focus()")
    page.press("SPACE")
    assert page.run("return document.querySelector('[data-state=gone]').ariaPressed") == "true"
    page.press("SPACE")
    page.run("document.getElementById('view').focus()")
    page.press("END")
    page.wait(lambda: page.rows()[-1]["Host"] == "edge-499.site-12")
    assert "#sort=host" in page.run("return location.hash")


def test_an_endpoint_that_does_not_answer_is_told_of(
    table: fleet.Fleet, chromium: tuple[str, str], tmp_path: pathlib.Path
) -> None:
    said = rows.hello(1, "edge-1")
    rows.join(table, said)
    table.reported(said, rows.LINKED._replace(state=messages.PeerState.CATCHING_UP))
    with contextlib.ExitStack() as serving:
        url = serving.enter_context(rows.served(table))
        with browser.looking(chromium, tmp_path, url) as page:
            page.open()
            assert page.trouble == ""
            assert page.rows()[0]["State"] == "◐catching up"
            serving.close()
            page.run("read()")
            page.wait(lambda: page.trouble.startswith("The endpoint does not answer"))
            assert page.rows()[0]["Host"] == "edge-1"
