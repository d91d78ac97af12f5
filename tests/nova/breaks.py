# SPDX-License-Identifier: Apache-2.0
"""Ways to break the centre of a stack, each for as long as a `with` block lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.nova.bus import EdgeBus
from tests.nova.stack import NovaStack


@contextlib.contextmanager
def frozen_conductors(stack: NovaStack) -> Iterator[None]:
    """Stop all conductors, workers included, in their tracks: connected, but silent."""
    for conductor in stack.conductors:
        conductor.freeze()
    try:
        yield
    finally:
        for conductor in stack.conductors:
            conductor.thaw()


@contextlib.contextmanager
def conductors_gone(stack: NovaStack) -> Iterator[None]:
    """Kill all conductors, workers included; bus and endpoints live on.

    They serve again when the block has been left.

    :raises NotReadyError: when they do not
    """
    for conductor in stack.conductors:
        conductor.kill()
    try:
        yield
    finally:
        for conductor in stack.conductors:
            stack.start_conductor(conductor)


@contextlib.contextmanager
def endpoints_killed(bus: EdgeBus) -> Iterator[None]:
    """Kill all endpoint processes: connections are refused.

    They listen again, at the addresses that their peers know, when the block has been left.

    :raises NotReadyError: when one does not
    """
    endpoints = list(enumerate(bus.processes))
    for _, endpoint in endpoints:
        endpoint.kill()
    try:
        yield
    finally:
        for number, _ in endpoints:
            bus.start_endpoint(number)
