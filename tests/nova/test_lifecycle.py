# SPDX-License-Identifier: Apache-2.0
"""Nova itself, started for real: the whole life of a server over the bus."""

from __future__ import annotations

import pathlib

import pytest

from tests.nova import lifecycle
from tests.nova.bus import RabbitBus
from tests.nova.stack import NovaStack

pytestmark = [pytest.mark.nova, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.rabbitmq
@pytest.mark.parametrize(
    ("concurrency", "life"),
    [("threading", lifecycle.full_life), ("eventlet", lifecycle.short_life)],
)
def test_lifecycle(tmp_path: pathlib.Path, concurrency: str, life) -> None:
    with NovaStack(tmp_path, RabbitBus(), concurrency=concurrency) as stack:
        print(lifecycle.table(list(lifecycle.run(stack, life))))
        assert not lifecycle.failed_rpcs(stack)
        assert stack.stop() == []
