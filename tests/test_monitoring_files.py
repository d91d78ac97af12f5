# SPDX-License-Identifier: Apache-2.0
"""The dashboard and the alert rules ask for metrics that there are, by labels that they have."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml

from nova_edge_bus.monitoring import catalogue

ROOT = pathlib.Path(__file__).resolve().parents[1]
RULES = ROOT / "etc" / "prometheus" / "edge-bus-alerts.yml"
DASHBOARD = json.loads((ROOT / "etc" / "grafana" / "edge-bus.json").read_text())
RUNBOOK = ROOT / "doc" / "source" / "runbook.rst"
METRICS = {metric.name: set(metric.labels) for metric in catalogue.metrics()} | {"up": set()}
SCRAPED = {"instance", "job"}
"""The labels that Prometheus adds."""


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return list(group["rules"])


def panels() -> list[dict[str, Any]]:
    return [each for each in DASHBOARD["panels"] if each["type"] != "row"]


def queries() -> Iterator[tuple[str, str, str]]:
    """Each query of a panel or an alert: where it stands, the query, and what shows it."""
    for panel in panels():
        for target in panel["targets"]:
            text = target["expr"].replace("$__rate_interval", "5m")
            yield panel["title"], text, target["legendFormat"]
    for alert in alerts():
        yield alert["alert"], alert["expr"], alert["annotations"]["summary"]


def selectors(node: object) -> Iterator[promql_parser.VectorSelector]:
    """All that a query selects."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for part in ("lhs", "rhs", "expr", "vector_selector", "param"):
        if (inner := getattr(node, part, None)) is not None:
            yield from selectors(inner)
    for argument in getattr(node, "args", ()):
        yield from selectors(argument)


@pytest.mark.parametrize(("where", "query", "shown"), list(queries()))
def test_a_query_asks_for_what_there_is(where: str, query: str, shown: str) -> None:
    found = list(selectors(promql_parser.parse(query)))
    # What is not walked through would not be checked.
    assert sorted(each.name or "" for each in found) == sorted(
        re.findall(r"\b(?:edge_bus_\w+|up(?=\{))", query)
    )
    labels = set(SCRAPED)
    for each in found:
        known = METRICS[each.name or ""] | SCRAPED
        assert {matcher.name for matcher in each.matchers.matchers} <= known
        labels |= known
    named = re.findall(r"\$labels\.(\w+)", shown) or re.findall(r"\{\{(\w+)\}\}", shown)
    assert set(named) <= labels, where
    grouped = [
        each for group in re.findall(r"(?:by|on) \((.*?)\)", query) for each in group.split(", ")
    ]
    assert set(grouped) <= labels


def test_every_variable_is_of_a_metric_and_is_used() -> None:
    text = json.dumps(panels())
    for variable in DASHBOARD["templating"]["list"]:
        assert f"${variable['name']}" in text or f"${{{variable['name']}}}" in text
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"])
            assert found is not None
            assert found[2] in METRICS[found[1]]


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [each["id"] for each in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for each in DASHBOARD["panels"]:
        place = each["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, each["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_an_alert_says_what_it_is_and_how_bad() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert set(alert["annotations"]) == {"summary", "description"}


def test_the_runbook_has_each_alert_and_no_other() -> None:
    headings = re.findall(r"^(EdgeBus\w+)\n=+$", RUNBOOK.read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(alert["alert"] for alert in alerts())


def test_the_alerts_fire_when_they_should(promtool: str, tmp_path: pathlib.Path) -> None:
    cases = (ROOT / "tests" / "alerts.yml").read_text().replace("RULES", str(RULES))
    (tmp_path / "alerts.yml").write_text(cases)
    for command in (
        ["check", "rules", str(RULES)],
        ["test", "rules", str(tmp_path / "alerts.yml")],
    ):
        done = subprocess.run([promtool, *command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
