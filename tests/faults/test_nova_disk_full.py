# SPDX-License-Identifier: Apache-2.0
"""A real nova-compute whose journal's disk has no free byte for a while."""

from __future__ import annotations

import pathlib

import pytest

from tests.faults import filesystems
from tests.nova import hypervisor
from tests.nova import processes
from tests.nova.bus import EdgeBus
from tests.nova.bus import journal_directory
from tests.nova.stack import NovaStack

DISK_MEBIBYTES = 12
SYNC_SECONDS = 5
"""How often nova-compute looks whether guests run."""
WAIT_SECONDS = 120.0


@pytest.mark.nova
@pytest.mark.soak
@pytest.mark.timeout(600)
def test_it_says_so_and_goes_on_by_itself(tmp_path: pathlib.Path) -> None:
    options = {"DEFAULT": {"sync_power_state_interval": SYNC_SECONDS}}
    stack = NovaStack(tmp_path, EdgeBus(), computes=1, compute_options=options)
    journals = journal_directory(stack._state("compute-0"))
    journals.mkdir(parents=True)
    with filesystems.small("tmpfs", journals, DISK_MEBIBYTES) as disk, stack:
        (compute,) = stack.computes
        assert list(disk.glob("*.db")), "the journal is on another disk"
        server = stack.client.create("server", host=compute.host)
        stack.client.wait_for(server, "ACTIVE")
        filesystems.fill(disk)
        compute.hypervisor.set_state(server, hypervisor.SHUTDOWN)
        processes.wait_until(
            lambda: "make room there" in compute.process.log_text(), WAIT_SECONDS, "the error"
        )
        assert "MessageDeliveryFailure: cannot write to journal" in compute.process.log_text()
        assert compute.process.alive
        filesystems.make_room(disk)
        stack.client.wait_for(server, "SHUTOFF", seconds=WAIT_SECONDS)
        stack.client.start(server)
        assert compute.process.alive
        stack.client.delete(server)
        assert stack.stop() == []
