# SPDX-License-Identifier: Apache-2.0
"""The page with the metrics, in the formats that Prometheus reads.

prometheus_client is imported here alone, and only when the page is made.
"""

import collections.abc
import typing

from nova_edge_bus.monitoring import catalogue
from nova_edge_bus.monitoring import pages


class _Now:
    """Gives prometheus_client the metrics as of now."""

    def __init__(self, sources: collections.abc.Sequence[catalogue.Source]) -> None:
        self._sources = sources

    def collect(self) -> collections.abc.Iterator[typing.Any]:
        from prometheus_client import core

        kinds: dict[str, typing.Any] = {
            catalogue.COUNTER: core.CounterMetricFamily,
            catalogue.GAUGE: core.GaugeMetricFamily,
        }
        samples = [sample for source in self._sources for sample in source()]
        for metric in catalogue.metrics():
            found = [sample for sample in samples if sample.metric is metric]
            if not found:
                continue
            family = kinds[metric.kind](metric.name, metric.help, labels=metric.labels)
            for sample in found:
                family.add_metric(sample.labels, sample.value)
            yield family


def page(sources: collections.abc.Sequence[catalogue.Source]) -> pages.Page:
    """The page with what *sources* give; the library is loaded now, not by the first reader."""
    from prometheus_client import exposition
    from prometheus_client import registry as registries

    def answer(request: pages.Request) -> pages.Response:
        # One for each request: the library's locks must never be waited for, see concurrency.
        registry = registries.CollectorRegistry(auto_describe=False)
        registry.register(_Now(sources))
        encode, content_type = exposition.choose_encoder(request.headers.get("Accept") or "")
        return pages.Response(encode(registry), content_type)

    return answer
