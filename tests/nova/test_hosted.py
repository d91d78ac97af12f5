# SPDX-License-Identifier: Apache-2.0
"""No endpoint process at all: a worker of nova-conductor hosts the endpoint, and ends."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import queue
import random
import re
import signal
import sqlite3
import time
from collections.abc import Iterator

import pytest

from tests.nova import journals
from tests.nova import lifecycle
from tests.nova import rpc_trace
from tests.nova.bus import HostedBus
from tests.nova.bus import journal_directory
from tests.nova.client import NovaClient
from tests.nova.load import Load
from tests.nova.processes import Process
from tests.nova.processes import wait_until
from tests.nova.relay import Address
from tests.nova.stack import NovaStack

pytestmark = [pytest.mark.nova, pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = 4
WORKERS = 2
USERS = 3
_LISTENING = "0A"
_LOCK_SECONDS = 30
_RECOVERY_SECONDS = 60
_REPLY_SECONDS = 1.0


def test_the_hosting_worker_may_end_at_any_time(tmp_path: pathlib.Path) -> None:
    """Neither the computes nor the users see more of it than a pause.

    Some kills come in the midst of calls, others at any moment, also between a commit and its
    answer. Servers are booted before: what a worker does itself, such as the scheduling of a
    server, ends with it on any bus.
    """
    bus = HostedBus()
    with NovaStack(tmp_path, bus, conductor_workers=WORKERS) as stack:
        (conductor,) = stack.conductors
        servers = _boot(stack.client, USERS)
        killed_at = []
        with Load(stack.api_url, USERS, life=functools.partial(_stop_and_start, servers)) as load:
            for number in range(KILLS):
                if number % 2:
                    time.sleep(random.random())
                    _kill_hosting_worker(conductor, bus.addresses[0])
                else:
                    with _calls_held(stack):
                        killed_at.append(time.time())
                        _kill_hosting_worker(conductor, bus.addresses[0])
                _await_workers(conductor, bus.addresses[0])
                _await_lives(load, USERS)
            worker = _hosting_worker(conductor, bus.addresses[0])
            assert worker is not None
            os.kill(worker, signal.SIGTERM)
            wait_until(lambda: worker not in conductor.children(), _RECOVERY_SECONDS, "its end")
            _await_workers(conductor, bus.addresses[0])
            _await_lives(load, USERS)
        assert load.errors == []
        assert not lifecycle.failed_rpcs(stack)
        for compute in stack.computes:
            assert " ERROR " not in compute.process.log_text()
        for moment in killed_at:
            assert _calls_under_way(stack, moment)
        wait_until(lambda: _pending(stack) == 0, _RECOVERY_SECONDS, "all journals to drain")


def _boot(client: NovaClient, count: int) -> queue.SimpleQueue[str]:
    """Return the ids of running servers."""
    servers: queue.SimpleQueue[str] = queue.SimpleQueue()
    for server_id in [client.create("hosted") for _ in range(count)]:
        client.wait_for(server_id, "ACTIVE")
        servers.put(server_id)
    return servers


def _stop_and_start(servers: queue.SimpleQueue[str], client: NovaClient) -> None:
    server_id = servers.get()
    client.stop(server_id)
    client.start(server_id)
    servers.put(server_id)


@contextlib.contextmanager
def _calls_held(stack: NovaStack) -> Iterator[None]:
    """Let nobody write to the cell's database, while computes wait for the conductor to do so.

    So that a worker is killed in the midst of its work, which a moment taken at random may miss.
    """
    path = stack.databases.url("nova_cell1").removeprefix("sqlite:///")
    connection = sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)

    def held() -> bool:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(_REPLY_SECONDS)
        if any(journals.entries_pending(journal_directory(each.state)) for each in stack.computes):
            return True
        connection.execute("ROLLBACK")  # all users wait for nova-api to write
        time.sleep(random.random())
        return False

    with contextlib.closing(connection):
        wait_until(held, _RECOVERY_SECONDS, "a compute to wait for the conductor")
        yield


def _kill_hosting_worker(conductor: Process, address: Address) -> None:
    """Return when another worker hosts the endpoint, one that was there before."""
    worker = _hosting_worker(conductor, address)
    assert worker is not None
    os.kill(conductor.pid, signal.SIGSTOP)  # it starts no new worker
    os.kill(worker, signal.SIGKILL)
    wait_until(
        lambda: _hosting_worker(conductor, address) not in (None, worker),
        _RECOVERY_SECONDS,
        "another worker to host the endpoint",
    )
    os.kill(conductor.pid, signal.SIGCONT)
    wait_until(lambda: worker not in conductor.children(), _RECOVERY_SECONDS, "its burial")


def _await_workers(conductor: Process, address: Address) -> None:
    """Return when all workers serve and one of them hosts the endpoint."""

    def recovered() -> bool:
        workers = conductor.children()
        return (
            len(workers) == WORKERS
            and all(_joined(conductor, worker) for worker in workers)
            and _hosting_worker(conductor, address) is not None
        )

    wait_until(recovered, _RECOVERY_SECONDS, "all workers")


def _joined(conductor: Process, worker: int) -> bool:
    """Whether the worker has begun to serve RPC."""
    pattern = rf" {worker} \w+ .*Join ServiceGroup membership"
    return re.search(pattern, conductor.log_text()) is not None


def _hosting_worker(conductor: Process, address: Address) -> int | None:
    """Return the process id of the worker that listens at the address, if any does."""
    socket_link = f"socket:[{_listening_inode(address[1])}]"
    for worker in conductor.children():
        with contextlib.suppress(OSError):  # it ends meanwhile
            for descriptor in pathlib.Path(f"/proc/{worker}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if str(descriptor.readlink()) == socket_link:
                        return worker
    return None


def _listening_inode(port: int) -> str:
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_, inode = line.split()[:10]
        if state == _LISTENING and int(local.partition(":")[2], 16) == port:
            return inode
    return ""


def _await_lives(load: Load, count: int) -> None:
    """Return when the users have got on by so many lives, or one has given up."""
    before = load.lives
    wait_until(
        lambda: load.errors != [] or load.lives >= before + count, _RECOVERY_SECONDS, "users"
    )


def _calls_under_way(stack: NovaStack, moment: float) -> list[str]:
    """Return what the computes were waiting for the conductor to answer."""
    return [
        record["method"]
        for compute in stack.computes
        for record in rpc_trace.read(compute.rpc_trace)
        if record["way"] == "call" and record["at"] < moment < record["at"] + record["seconds"]
    ]


def _pending(stack: NovaStack) -> int:
    directories = {path.parent for path in stack.workdir.glob("*/*/*.db")}
    return sum(journals.entries_pending(directory) for directory in directories)
