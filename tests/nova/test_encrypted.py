# SPDX-License-Identifier: Apache-2.0
"""Nova with keys: each service speaks as what it is, and that is all that nova needs of it."""

from __future__ import annotations

import pathlib
import socket
from collections.abc import Iterator

import pytest

from tests.driver import keyrings
from tests.nova import lifecycle
from tests.nova.bus import EdgeBus
from tests.nova.config import Options
from tests.nova.cut import cut_and_heal
from tests.nova.stack import NovaStack

pytestmark = [pytest.mark.nova, pytest.mark.slow, pytest.mark.timeout(600)]

_ROLES = {"nova-api": "api", "nova-scheduler": "scheduler"}


class EncryptedBus(EdgeBus):
    """An endpoint that encrypts, and a key for each service as narrow as it can be."""

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__()
        self._keyring = keyrings.Keyring(directory)
        self.endpoint_options = ["--curve-dir", str(self._keyring.endpoint_dir)]

    def options(self, state: pathlib.Path, *, far: bool) -> Options:
        """Make the key of a service, in the name of the host that it is going to say it is."""
        name = state.name
        if name in _ROLES:
            made = self._keyring.peer(socket.gethostname(), _ROLES[name], name)
        else:
            role = "conductor" if "conductor" in name else "compute"
            made = self._keyring.peer(name, role)
        options = super().options(state, far=far)
        return {"edge_bus": {**options["edge_bus"], "curve_dir": made["curve_dir"]}}

    @property
    def refusals(self) -> list[str]:
        """What the endpoint has refused."""
        (endpoint,) = self.processes
        return [line for line in endpoint.log_text().splitlines() if " refused " in line]


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> EncryptedBus:
    return EncryptedBus(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, bus: EncryptedBus) -> Iterator[NovaStack]:
    with NovaStack(tmp_path_factory.mktemp("nova"), bus) as stack:
        yield stack


def test_a_server_lives_through_everything(stack: NovaStack, bus: EncryptedBus) -> None:
    list(lifecycle.run(stack, lifecycle.full_life))
    assert not lifecycle.failed_rpcs(stack)
    assert bus.refusals == []


def test_a_cut_heals(stack: NovaStack, bus: EncryptedBus) -> None:
    cut_and_heal(stack, 5.0)
    assert bus.refusals == []
