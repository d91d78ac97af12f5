# SPDX-License-Identifier: Apache-2.0
"""Services, guards and links for the tests of the REST guard."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable
from collections.abc import Iterator

import pytest

from tests.nova.relay import Relay
from tests.rest_guard import processes

MakeGuard = Callable[..., processes.Guard]


@pytest.fixture
def cleanup() -> Iterator[contextlib.ExitStack]:
    """Undoes what a test has made, in reverse."""
    with contextlib.ExitStack() as undo:
        yield undo


@pytest.fixture
def service(tmp_path: pathlib.Path, cleanup: contextlib.ExitStack) -> processes.Service:
    """A service that runs."""
    made = processes.Service(tmp_path)
    cleanup.callback(made.close)
    made.start()
    return made


@pytest.fixture
def make_guard(tmp_path: pathlib.Path, cleanup: contextlib.ExitStack) -> MakeGuard:
    """Makes guards of an upstream and starts them."""

    def make(upstream: str, *arguments: str, **times: float) -> processes.Guard:
        named = {name.replace("_", "-"): value for name, value in times.items()}
        made = processes.Guard(tmp_path, upstream, {**processes.QUICK, **named}, *arguments)
        cleanup.callback(made.process.stop)
        made.start()
        return made

    return make


@pytest.fixture
def guard(service: processes.Service, make_guard: MakeGuard) -> processes.Guard:
    """A guard before the service, with quick times."""
    return make_guard(f"placement={service.url}")


@pytest.fixture
def relay(service: processes.Service, cleanup: contextlib.ExitStack) -> Relay:
    """The link to the service."""
    made = Relay([(service.host, service.port)])
    made.start()
    cleanup.callback(made.stop)
    return made


@pytest.fixture
def far_guard(relay: Relay, make_guard: MakeGuard) -> processes.Guard:
    """A guard whose link to the service is the relay."""
    host, port = relay.addresses[0]
    return make_guard(f"placement=http://{host}:{port}")
