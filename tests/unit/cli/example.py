# SPDX-License-Identifier: Apache-2.0
"""The journals that the page "Operating" shows, made anew."""

from __future__ import annotations

import json
import pathlib
import time
from typing import Any

from nova_edge_bus.journal import entries
from nova_edge_bus.journal import reasons
from nova_edge_bus.journal import slots
from nova_edge_bus.journal import status as records
from tests.unit.journal import make

HOST = "edge-7"
SERVICE = "nova-compute"
LINK = "tcp://192.0.2.11:5570,tcp://192.0.2.12:5570"
CONDUCTOR = "/nova/conductor"
UUID = "6d2f1b0e-93c5-4f2a-8a41-0f9f7c1f1c55"
AGO = 7300.0
"""Seconds since the oldest pending entry was made."""


def context() -> dict[str, Any]:
    return {
        "auth_token": "gAAAAABn-secret-token",
        "service_catalog": [{"type": "volumev3", "name": "secret-catalog", "endpoints": []}],
        "request_id": "req-8f7d2c64-5be3-4c0a-a5dd-6c1c0a4f5ac1",
        "user_id": "nova",
        "is_admin": True,
    }


def instance_save(changes: dict[str, Any], **arguments: Any) -> bytes:
    """The body of an ``Instance.save``."""
    message = {
        "method": "object_action",
        "args": {
            "objinst": {
                "nova_object.name": "Instance",
                "nova_object.namespace": "nova",
                "nova_object.version": "2.8",
                "nova_object.data": {"uuid": UUID, "host": HOST, **changes},
                "nova_object.changes": sorted(changes),
            },
            "objmethod": "save",
            "args": [],
            "kwargs": arguments,
        },
        "version": "3.0",
    }
    return json.dumps([context(), message, {"instance_host": HOST}]).encode()


def entry(method: str, body: bytes, ago: float, group: str = "") -> entries.NewEntry:
    return make.entry(
        link=LINK,
        address=CONDUCTOR,
        group=group or f"instance:{UUID}",
        method=method,
        body=body,
        created_at=time.time() - ago,
    )


def journal(folder: pathlib.Path) -> pathlib.Path:
    """A nova-compute that is cut off: two entries pending, one applied, one a dead letter."""
    path = folder / f"{slots.stem(HOST, SERVICE, 0)}.db"
    stopping = instance_save({"task_state": "powering-off"}, expected_task_state=[None])
    stopped = instance_save({"power_state": 4, "vm_state": "stopped", "task_state": None})
    beat = json.dumps([context(), {"method": "object_action", "args": {}}]).encode()
    with make.opened(path, clock=time.time) as it:
        make.append(
            it,
            entry("Instance.save", stopping, AGO + 500),
            entry("Instance.save", stopped, AGO + 490),
            entry("Instance.save", stopped, AGO),
            entry("Service.save", beat, 12.0, f"host:{HOST}"),
        )
        reason = (
            f"UnexpectedTaskStateError: Conflict updating instance {UUID}. "
            "Expected: {'task_state': [None]}. Actual: {'task_state': 'deleting'}"
        )
        found = {"expected": {"task_state": [None]}, "actual": {"task_state": "deleting"}}
        reason = reasons.refusal(reason, found)
        make.settle(it, (1, "dead", reason), (2, "applied", None))
        outbox = it.outbox_id.hex()
    since = time.time() - AGO
    first, second = LINK.split(",")
    records.write(
        str(path),
        {
            "state": "running",
            "started_at": since - 86400.0,
            "written_at": time.time() - 3.0,
            "outbox": outbox,
            "max_bytes": 512 << 20,
            "endpoints": [
                {"address": first, "state": "linked", "since": since},
                {"address": second, "state": "not linked", "since": since},
            ],
            "destinations": [
                {"link": LINK, "address": CONDUCTOR, "state": "catching up", "since": since}
            ],
            "snapshot_lacks": 0,
            "adopted": [],
            "figures": {},
        },
    )
    return path
