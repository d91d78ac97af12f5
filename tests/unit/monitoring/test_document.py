# SPDX-License-Identifier: Apache-2.0
"""The page "Monitoring" names the metrics that there are, as they are."""

from __future__ import annotations

import re

from nova_edge_bus.monitoring import catalogue
from tests.unit.monitoring import tables

NAME = re.compile(r"edge_bus_[a-z]+(_[a-z]+)*")


def test_the_page_has_every_metric_as_it_is() -> None:
    expected = [
        [metric.name, metric.kind, ", ".join(metric.labels) or "none", metric.help]
        for metric in catalogue.metrics()
    ]
    assert tables.rows("monitoring.rst", "Metric") == expected


def test_names_are_as_prometheus_wants_them() -> None:
    for metric in catalogue.metrics():
        assert NAME.fullmatch(metric.name), metric.name
        assert metric.name.endswith("_total") == (metric.kind == catalogue.COUNTER), metric.name
        assert metric.help.endswith("."), metric.name
        for unit, word in {"seconds": "seconds", "bytes": "bytes"}.items():
            if re.search(rf"\b{word}\b", metric.help.split(".")[0], re.IGNORECASE):
                assert unit in metric.name, metric.name
