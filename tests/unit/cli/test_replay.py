# SPDX-License-Identifier: Apache-2.0
"""What ``nova-edge-bus replay`` takes for meant, of what was applied and of dead letters."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from nova_edge_bus.cli import main
from nova_edge_bus.journal import slots
from tests.unit.journal import make

Capture = pytest.CaptureFixture[str]
UUID = "6d2f1b0e-93c5-4f2a-8a41-0f9f7c1f1c55"
NOON = 1_772_366_400.0
"""2026-03-01T12:00:00Z."""
CONDUCTOR = "/nova/conductor"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Four applied entries, a dead letter, and a pending entry; on another host, nothing."""
    tmp_path = tmp_path_factory.mktemp("journals")
    clock = make.Clock(NOON)
    with make.opened(path(tmp_path, "edge-7"), clock=clock) as it:
        make.append(
            it,
            make.entry(group=f"instance:{UUID}", method="Instance.save", address=CONDUCTOR),
            make.entry(group="host:edge-7", method="Service.save", address=CONDUCTOR),
            make.entry(group=f"instance:{UUID}", method="InstanceFault.create", address=CONDUCTOR),
            make.entry(group=f"instance:{UUID}", method="Instance.save", address="/nova/other"),
            make.entry(group=f"instance:{UUID}", method="Instance.save", address=CONDUCTOR),
            make.entry(group=f"instance:{UUID}", method="Instance.save", address=CONDUCTOR),
        )
        make.settle(it, (1, "applied", None))
        clock.now += 3600.0
        make.settle(it, (2, "applied", None), (3, "applied", None), (5, "dead", "no"))
        clock.now += 3600.0
        make.settle(it, (4, "applied", None))
    with make.opened(path(tmp_path, "edge-8")):
        pass
    return tmp_path


def path(folder: pathlib.Path, host: str) -> pathlib.Path:
    return folder / f"{slots.stem(host, 'nova-compute', 0)}.db"


def planned(capsys: Capture, folder: pathlib.Path, *arguments: str) -> list[dict[str, Any]]:
    command = ["replay", "--dry-run", "--json", "--journal-dir", str(folder), *arguments]
    assert main.main(command) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["dry_run"] is True
    found: list[dict[str, Any]] = document["journals"]
    return found


@pytest.mark.parametrize(
    ("arguments", "forwarded", "requeued"),
    [
        ("", 0, 0),
        ("--since 2026-03-01T12:00:00Z", 4, 0),
        ("--since 2026-03-01T12:00:01Z", 3, 0),
        ("--since 2026-03-01T15:00:00+01:00", 1, 0),
        ("--until 2026-03-01T13:00:00", 1, 0),
        ("--since 2026-03-01T12:30:00 --until 2026-03-01T13:30:00", 2, 0),
        ("--seq 2-3", 2, 0),
        ("--seq 1 --seq 4-", 2, 0),
        ("--seq 5-6", 0, 0),
        (f"--group {UUID}", 3, 0),
        ("--group edge-7", 1, 0),
        ("--group edge-7 --seq 3", 0, 0),
        ("--method Instance.save", 2, 0),
        ("--method Instance*", 3, 0),
        ("--destination other", 1, 0),
        (f"--destination conductor --group {UUID} --since 2026-03-01T13:00:00", 1, 0),
        ("--dead-letters", 0, 1),
        ("--dead-letters --until 2026-03-01T13:00:00", 0, 0),
        ("--dead-letters --method Service.save", 0, 0),
    ],
)
def test_what_is_meant(
    folder: pathlib.Path, capsys: Capture, arguments: str, forwarded: int, requeued: int
) -> None:
    (plan,) = planned(capsys, folder, "--host", "edge-7", *arguments.split())
    assert (plan["forwarded"], plan["requeued"]) == (forwarded, requeued)
    assert plan["pending"] == 1, "which is shipped in any case"


def test_hosts_are_told_apart(folder: pathlib.Path, capsys: Capture) -> None:
    plans = planned(capsys, folder, "--since", "2026-03-01T00:00:00")
    assert [(plan["pending"], plan["forwarded"]) for plan in plans] == [(1, 4), (0, 0)]
    (other,) = planned(capsys, folder, "--host", "edge-8")
    assert other["journal"] == str(path(folder, "edge-8"))
