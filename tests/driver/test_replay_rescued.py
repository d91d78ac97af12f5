# SPDX-License-Identifier: Apache-2.0
"""The journal of a dead host is shipped from elsewhere, with a key of the centre."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest

from tests.driver import endpoints
from tests.driver import journals
from tests.driver import keyrings
from tests.driver import ledgers
from tests.driver import secured
from tests.driver.conftest import MakePeer
from tests.driver.peers import WAIT_SECONDS
from tests.nova.processes import wait_until

ENTRIES = 40


def replay(journal_dir: pathlib.Path, config: pathlib.Path) -> tuple[int, str]:
    command = ["nova-edge-bus", "replay", "--journal-dir", journal_dir, "--config-file", config]
    done = subprocess.run(
        [*map(str, command), "--timeout", "10"],
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS * 2,
    )
    return done.returncode, done.stdout.partition(": ")[2].strip()


@pytest.mark.parametrize("is_known", [True, False], ids=["a known host", "an unknown host"])
def test_the_journal_of_a_dead_host_is_shipped_by_the_centre(
    is_known: bool,
    endpoint: endpoints.Endpoint,
    keyring: keyrings.Keyring,
    make_peer: MakePeer,
    tmp_path: pathlib.Path,
) -> None:
    """Whether the endpoint has heard of the host, or was restarted since the host died."""
    ledger = ledgers.Ledger(tmp_path / "cell.sqlite")
    centre = keyring.peer("centre-1", "centre")
    conductor = make_peer(endpoint.url, **centre)
    conductor.serve("conductor", "centre-1", ledger, threads=4)
    host = make_peer(endpoint.url, "edge", **keyring.peer("edge-7"))
    journal = host.journal_dir / "edge-7.nova-compute-0.db"
    host.journal_dir.mkdir()
    link = f"tcp://{endpoint.address}"
    outbox = ledgers.journal(journal, ENTRIES, "conductor", link, groups=8)
    ledger.audit(outbox, "conductor")
    if is_known:
        ledger.hold_at(1)
        host.serve("compute", "edge-7", ledger)
        assert ledger.reached.wait(WAIT_SECONDS), "it is linked, and has begun to ship"
        host.close()
    rescued = tmp_path / "rescued"
    shutil.copytree(host.journal_dir, rescued)
    ledger.go_on()
    config = tmp_path / "nova.conf"
    config.write_text(
        f"[DEFAULT]\nhost = centre-1\n[edge_bus]\ncurve_dir = {centre['curve_dir']}\n"
    )
    assert replay(rescued, config) == (0, f"shipped {ENTRIES}")
    assert replay(rescued, config) == (0, "nothing to ship")
    assert ledger.effects() == ledgers.in_order(ENTRIES, 8)
    host.client("conductor").cast({}, "nothing")
    wait_until(lambda: journals.pending(journal) == 0, WAIT_SECONDS, "the host to catch up")
    assert ledger.effects() == ledgers.in_order(ENTRIES, 8)
    assert secured.refusals(endpoint) == []
    ledger.close()
