# SPDX-License-Identifier: Apache-2.0
"""A real nova-compute whose REST services are behind the guard."""

from __future__ import annotations

import contextlib
import pathlib
from typing import Any

import pytest

from tests.nova import bus
from tests.nova.relay import Relay
from tests.nova.stack import NovaStack
from tests.rest_guard.processes import QUICK
from tests.rest_guard.processes import Guard
from tests.rest_guard.processes import Service
from tests.rest_guard.test_discovery import wait_for_documents

pytestmark = [pytest.mark.nova, pytest.mark.slow, pytest.mark.timeout(300)]


def behind(guard: Guard, keystone: Guard) -> dict[str, Any]:
    """The options of a service behind one guard, with its tokens from behind the other."""
    return {
        "endpoint_override": guard.url,
        "auth_type": "password",
        "auth_url": keystone.url,
        "username": "nova",
        "password": "secret",
        "user_domain_name": "Default",
        "project_name": "service",
        "project_domain_name": "Default",
        "timeout": 60,
    }


def make_guard(
    directory: pathlib.Path, name: str, address: tuple[str, int], undo: contextlib.ExitStack
) -> Guard:
    directory.mkdir()
    guard = Guard(directory, f"{name}=http://{address[0]}:{address[1]}", QUICK, "--keep-tokens")
    undo.callback(guard.process.stop)
    guard.start()
    return guard


def test_nova_compute_starts_and_serves_while_rest_is_cut(
    tmp_path: pathlib.Path, cleanup: contextlib.ExitStack, service: Service
) -> None:
    options: dict[str, dict[str, Any]] = {
        "placement": {},
        "DEFAULT": {"update_resources_interval": 1, "periodic_fuzzy_delay": 0},
    }
    stack = NovaStack(tmp_path / "nova", bus.EdgeBus(), computes=1, compute_options=options)
    host, port = stack.placement_url.removeprefix("http://").split(":")
    relay = Relay([(host, int(port)), (service.host, service.port)])
    relay.start()
    cleanup.callback(relay.stop)
    placement = make_guard(tmp_path / "a", "placement", relay.addresses[0], cleanup)
    keystone = make_guard(tmp_path / "b", "keystone", relay.addresses[1], cleanup)
    options["placement"].update(behind(placement, keystone))
    cleanup.enter_context(stack)
    (compute,) = stack.computes
    for guard in (placement, keystone):
        wait_for_documents(guard, "/")

    relay.silence()
    assert compute.process.stop(60)
    stack.start_compute(compute)
    placement.wait_for("is out of reach")
    keystone.wait_for("is out of reach")

    seen = placement.log.count("/traits: 200")
    relay.resume()
    for guard in (placement, keystone):
        guard.wait_for("is back")
    # nova takes no server before it has seen its resource provider once.
    placement.wait_for("/traits: 200", seen + 1)
    server = stack.client.create("after-the-cut")
    stack.client.wait_for(server, "ACTIVE")
