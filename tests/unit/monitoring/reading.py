# SPDX-License-Identifier: Apache-2.0
"""A client for the tests: what is at a page, and the metrics of one by name and labels."""

from __future__ import annotations

import urllib.error
import urllib.request

from prometheus_client import parser

from nova_edge_bus.monitoring import catalogue

PATIENCE = 30.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url: str, method: str = "GET") -> tuple[int, str]:
    """The status and the text of a page."""
    request = urllib.request.Request(url, method=method)
    try:
        with _OPENER.open(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def metrics(base: str) -> dict[str, dict[tuple[str, ...], float]]:
    """All samples at *base*, by metric and the values of its labels as the catalogue has them."""
    known = {metric.name: metric.labels for metric in catalogue.metrics()}
    status, text = get(f"{base}/metrics")
    assert status == 200, text
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels.keys() == set(known[sample.name])
            labels = tuple(sample.labels[label] for label in known[sample.name])
            found.setdefault(sample.name, {})[labels] = sample.value
    return found
