# SPDX-License-Identifier: Apache-2.0
"""Conductors and endpoints are restarted one after the other while users work."""

from __future__ import annotations

import pathlib

import pytest

from tests.nova import lifecycle
from tests.nova.bus import EdgeBus
from tests.nova.load import Load
from tests.nova.stack import NovaStack

pytestmark = [pytest.mark.nova, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_rolling_restart_is_not_felt_by_the_computes(tmp_path: pathlib.Path) -> None:
    bus = EdgeBus(endpoints=2)
    with NovaStack(tmp_path, bus, conductors=2) as stack:
        with Load(stack.api_url) as load:
            for conductor in stack.conductors:
                assert conductor.stop(grace_seconds=60)
                stack.start_conductor(conductor)
            for number, endpoint in enumerate(bus.processes):
                assert endpoint.stop()
                bus.start_endpoint(number)
        assert load.errors == []
        assert load.lives > 0
        failed = lifecycle.failed_rpcs(stack)
        # Nova looks at a server now and then that a user has just deleted.
        assert not [each for each in failed if not each.endswith(": InstanceNotFound_Remote")]
        for compute in stack.computes:
            assert " ERROR " not in compute.process.log_text()
