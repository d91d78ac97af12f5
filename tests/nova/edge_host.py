# SPDX-License-Identifier: Apache-2.0
"""A nova-compute without a hypervisor: nova's own objects over RPC, told what to do by lines.

    python -m tests.nova.edge_host --config-file FILE HOST

Each line on standard input is a JSON object, a command with its arguments; each answer is one
line on standard output. The end of the input ends the process.
"""

from __future__ import annotations

import collections
import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

_ATTRIBUTES = [
    "info_cache",
    "metadata",
    "system_metadata",
    "security_groups",
    "numa_topology",
    "flavor",
    "migration_context",
    "resources",
    "pci_requests",
]
_AUDIT_ATTRIBUTES = ["system_metadata", "numa_topology", "flavor", "migration_context"]
_COMMANDS = frozenset({"warm_up", "heartbeat", "day", "memory"})

# What a guest goes through: the fields of each save, and the task_state it is to be compared with
# (False: the save is not compared).
_LIFE: tuple[tuple[dict[str, Any], Any], ...] = (
    ({"task_state": "powering-off"}, [None]),
    ({"vm_state": "stopped", "task_state": None, "power_state": 4}, ["powering-off"]),
    ({"power_state": 0}, False),
    ({"task_state": "powering-on"}, [None]),
    ({"vm_state": "active", "task_state": None, "power_state": 1}, ["powering-on"]),
)


class Edge:
    """One host: its service, its compute node and its instances, as the centre knows them."""

    def __init__(self, host: str) -> None:
        from nova import context
        from nova import exception
        from nova import objects

        self._objects = objects
        self._conflict = exception.UnexpectedTaskStateError
        self._context = context.get_admin_context()
        self._host = host
        self._times: dict[str, list[int]] = collections.defaultdict(list)
        self._lives: dict[str, int] = collections.Counter()
        self._saved: dict[str, dict[str, Any]] = {}
        self._conflicts = 0
        self._wrong: list[str] = []

    def warm_up(self) -> dict[str, Any]:
        """Ask what nova-compute asks at its start, and audit once."""
        objects = self._objects
        self._service = objects.Service.get_by_host_and_binary(
            self._context, self._host, "nova-compute"
        )
        found = objects.InstanceList.get_by_host(
            self._context, self._host, expected_attrs=_ATTRIBUTES
        )
        self._uuids = sorted(each.uuid for each in found)
        nodes = objects.ComputeNodeList.get_all_by_host(self._context, self._host)
        (self._node,) = nodes
        self._audit(0)
        return {"instances": len(self._uuids)}

    def heartbeat(self) -> dict[str, Any]:
        """Say that the host lives, and how many seconds that took."""
        began = time.monotonic()
        self._service.report_count += 1
        self._service.save()
        return {"seconds": time.monotonic() - began}

    def day(self, heartbeats: int, audits: int, saves: int) -> dict[str, Any]:
        """Do so much of everything, evenly mixed, as fast as it goes, and one heartbeat more.

        :returns: what took how long (``times``, ns), and what the centre should know in the end
        """
        began = time.monotonic()
        source = random.Random(heartbeats)
        audited = saved = 0
        for number in range(1, heartbeats + 1):
            self._timed("heartbeat", self.heartbeat)
            if number * audits // heartbeats > audited:
                audited += 1
                self._audit(audited)
            while number * saves // heartbeats > saved:
                saved += 1
                self._save(source.choice(self._uuids), saved)
        # It waits for what is older, so everything has to be.
        self._timed("heartbeat", self.heartbeat)
        return {
            "seconds": time.monotonic() - began,
            "times": self._times,
            "conflicts": self._conflicts,
            "wrong": self._wrong[:5],
            "report_count": self._service.report_count,
            "stats": self._node.stats,
            "memory_mb_used": self._node.memory_mb_used,
            "instances": self._saved,
        }

    def memory(self) -> dict[str, Any]:
        """Say how much memory the process has had at most."""
        return {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}

    def _audit(self, number: int) -> None:
        objects = self._objects
        found = self._timed(
            "node read", objects.ComputeNodeList.get_all_by_host, self._context, self._host
        )
        guests = self._timed(
            "instances read",
            objects.InstanceList.get_by_host_and_node,
            self._context,
            self._host,
            self._host,
            expected_attrs=_AUDIT_ATTRIBUTES,
        )
        self._timed(
            "migrations read",
            objects.MigrationList.get_in_progress_and_error,
            self._context,
            self._host,
            self._host,
        )
        if [each.memory_mb_used for each in found] != [self._node.memory_mb_used]:
            self._wrong.append(f"audit {number} does not read what the last one saved")
        if len(guests) != len(self._uuids):
            self._wrong.append(f"audit {number} reads {len(guests)} instances")
        self._node.memory_mb_used = number
        self._node.stats = {"audit": str(number), "failed_builds": "0"}
        self._timed("node save", self._node.save)

    def _save(self, uuid: str, number: int) -> None:
        guest = self._timed(
            "instance read", self._objects.Instance.get_by_uuid, self._context, uuid
        )
        before = self._saved.get(uuid, {})
        if any(getattr(guest, name) != value for name, value in before.items()):
            self._wrong.append(f"save {number}: {uuid} is not read as it was saved")
        fields, expected = _LIFE[self._lives[uuid] % len(_LIFE)]
        self._lives[uuid] += 1
        # Tells this save from all others.
        fields = {**fields, "progress": number}
        for name, value in fields.items():
            setattr(guest, name, value)
        if expected is False:
            self._timed("instance save", guest.save)
        else:
            self._check_comparison(uuid)
            self._timed("instance save", guest.save, expected_task_state=expected)
        self._saved[uuid] = {**before, **fields}

    def _check_comparison(self, uuid: str) -> None:
        """A save that is compared with what is not so is refused, and leaves nothing behind."""
        guest = self._objects.Instance.get_by_uuid(self._context, uuid)
        guest.progress = -1
        try:
            guest.save(expected_task_state=["deleting"])
        except self._conflict:
            self._conflicts += 1
        else:
            self._wrong.append(f"{uuid}: a save against the wrong task_state went through")

    def _timed(self, what: str, act: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter_ns()
        try:
            return act(*args, **kwargs)
        finally:
            self._times[what].append(time.perf_counter_ns() - began)


def _open() -> Edge:
    from nova import monkey_patch

    monkey_patch.patch(backend="threading")

    from nova import config
    from nova import objects
    from nova.conductor import rpcapi
    from nova.db.main import api
    from nova.objects import base
    from oslo_log import log

    host = sys.argv.pop()
    # oslo.config takes the program's name from here, and the bus this process for a nova-compute.
    sys.argv[0] = "nova-compute"
    config.parse_args(sys.argv)
    log.setup(config.CONF, "nova")
    objects.register_all()
    api.DISABLE_DB_ACCESS = True
    base.NovaObject.indirection_api = rpcapi.ConductorAPI()
    return Edge(host)


def main() -> None:
    """Do what the lines say until there are no more."""
    # Libraries may print; what they print must not stand among the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    edge = _open()
    for line in sys.stdin:
        request = json.loads(line)
        command = request.pop("command")
        try:
            if command not in _COMMANDS:
                raise ValueError(f"no command {command!r}")
            answer = getattr(edge, command)(**request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
    os._exit(0)


if __name__ == "__main__":
    main()
