# SPDX-License-Identifier: Apache-2.0
"""What the forked processes do: endpoints, receivers, senders. Nothing here fails a test."""

from __future__ import annotations

import logging
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import oslo_messaging
from oslo_config import cfg

from nova_edge_bus.cli import main as cli
from nova_edge_bus.journal import journal
from nova_edge_bus.runtime import client as _preloaded  # noqa: F401
from tests.faults import COMMANDS
from tests.faults import CONDUCTOR
from tests.faults import history
from tests.faults.history import Mark


def warm_up() -> None:
    """Load what is loaded on its first use, so that the forked need not."""
    _transport("edgebus://127.0.0.1:1/", "warm-up")
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "warm-up.db")
        journal.Journal.open(path, max_bytes=1 << 20, retention=0).close()


def endpoint(port: int, ready: str, host: str = "127.0.0.1") -> int:
    """``nova-edge-bus endpoint``; a port that is not free yet is tried again for a while."""
    output = pathlib.Path(ready).open("w")  # noqa: SIM115
    sys.stdout = output
    deadline = time.monotonic() + 10
    while True:
        listen = ["--listen", f"tcp://{host}:{port}"]
        # Beyond loopback there are keys, which these tests are not about.
        status = cli.main(["endpoint", "--allow-insecure", *listen])
        if status == 0 or time.monotonic() > deadline:
            return status
        time.sleep(0.02)


def receiver(
    url: str, name: str, topics: dict[str, int], ready: str, done: str, slowness: float = 0.0
) -> int:
    """Serve topics until SIGTERM, noting in the history *done* all that is done.

    :param topics: how many of a topic's messages are dispatched at once
    :param slowness: seconds that each message takes at most
    """
    stop = _Stop()
    transport = _transport(url, name)
    writer = history.Writer(done, name)
    servers = []
    for topic, pool in topics.items():
        server = oslo_messaging.get_rpc_server(
            transport,
            oslo_messaging.Target(topic=topic, server=name),
            [_Applier(writer, slowness)],
        )
        server.start(override_pool_size=pool)
        servers.append(server)
    pathlib.Path(ready).touch()
    stop.wait()
    for server in servers:
        server.stop()
    for server in servers:
        server.wait()
    transport.cleanup()
    return 0


class _Applier:
    """The methods of the receivers' topics."""

    target = oslo_messaging.Target()

    def __init__(self, writer: history.Writer, slowness: float) -> None:
        self._writer = writer
        self._slowness = slowness

    def touch(self, ctxt: Any, instance: Any, mark: Sequence[Any]) -> None:
        self._writer.add("handed out", Mark(*mark))
        self._take_time()

    def object_action(
        self, ctxt: Any, objinst: Any, objmethod: str, args: Any, kwargs: Any
    ) -> list[Any]:
        return self._apply(Mark(*kwargs["mark"]))

    def object_class_action_versions(
        self, ctxt: Any, objname: str, objmethod: str, args: Any, kwargs: Any, **rest: Any
    ) -> list[Any]:
        return self._apply(Mark(*kwargs["mark"]))

    def _apply(self, mark: Mark) -> list[Any]:
        self._writer.add("begun", mark)
        self._take_time()
        self._writer.add("ended", mark)
        return list(mark)

    def _take_time(self) -> None:
        if self._slowness:
            time.sleep(random.uniform(0, self._slowness))


def sender(
    url: str,
    client: str,
    life: int,
    seed: int,
    kinds: Sequence[str],
    threads: int,
    pause: float,
    sent: str,
    servers: Sequence[str] = (),
    timeout: float = 60.0,
    operations: int = 0,
    service: str = "",
) -> int:
    """Send from several threads until SIGTERM, noting in the history *sent* what returned.

    :param kinds: of the operations, in any order, see :data:`OPERATIONS`
    :param pause: seconds between two operations of a thread at most
    :param servers: the names that server-directed messages go to
    :param operations: how many each thread does before it ends by itself, 0 for no end
    :param service: what the journal is named after, if not the client
    """
    stop = _Stop()
    transport = _transport(url, service or client)
    writer = history.Writer(sent, client)
    workers = [
        _Worker(transport, writer, stop, kinds, pause, servers, timeout) for _ in range(threads)
    ]
    running = []
    for number, worker in enumerate(workers):
        chance = random.Random(f"{seed} {life} {client} {number}")
        arguments = (client, number, life, chance, operations)
        running.append(threading.Thread(target=worker.run, args=arguments, daemon=True))
    for thread in running:
        thread.start()
    if not operations:
        stop.wait()
    for thread in running:
        thread.join()
    transport.cleanup()
    return 0


class _Worker:
    """One thread of a sender."""

    def __init__(
        self,
        transport: Any,
        writer: history.Writer,
        stop: _Stop,
        kinds: Sequence[str],
        pause: float,
        servers: Sequence[str],
        timeout: float,
    ) -> None:
        self._writer = writer
        self._stop = stop
        self._kinds = list(kinds)
        self._pause = pause
        commands = _client(transport, COMMANDS, timeout)
        calls = _client(transport, CONDUCTOR, timeout)
        self._operations: dict[str, Callable[[Mark], Any]] = {
            "topic cast": lambda mark: _cast(commands, mark),
            "server cast": lambda mark: _cast(_directed(commands, servers, mark), mark),
            "save": lambda mark: _save(calls, mark),
            "read": lambda mark: _class_action(calls, "Instance", "get_by_uuid", mark),
            "create": lambda mark: _class_action(calls, "Migration", "create", mark),
            "server create": lambda mark: _class_action(
                _directed(calls, servers, mark), "Migration", "create", mark
            ),
        }

    def run(
        self, client: str, thread: int, life: int, chance: random.Random, operations: int
    ) -> None:
        groups = [f"{client}-{thread}-a", f"{client}-{thread}-b", f"{client}-common"]
        number = 0
        while not self._stop.is_set() and not (operations and number >= operations):
            number += 1
            kind = chance.choice(self._kinds)
            mark = Mark(kind, client, thread, life, number, chance.choice(groups))
            self._do(mark)
            time.sleep(chance.uniform(0, self._pause))

    def _do(self, mark: Mark) -> None:
        begun = time.monotonic()
        try:
            result = self._operations[mark.kind](mark)
        except Exception as error:
            self._writer.add("failed", mark, [begun, repr(error)])
            return
        if result is not None and Mark(*result) != mark:
            self._writer.add("failed", mark, [begun, f"got the reply to {result}"])
        else:
            self._writer.add("returned", mark, begun)


def _client(transport: Any, topic: str, timeout: float) -> Any:
    return oslo_messaging.get_rpc_client(
        transport, oslo_messaging.Target(topic=topic), timeout=timeout
    )


def _directed(client: Any, servers: Sequence[str], mark: Mark) -> Any:
    """One group's messages go to one server, as one instance's go to its host."""
    return client.prepare(server=servers[sum(mark.group.encode()) % len(servers)])


def _instance(mark: Mark) -> dict[str, Any]:
    return {"nova_object.name": "Instance", "nova_object.data": {"uuid": mark.group}}


def _cast(client: Any, mark: Mark) -> None:
    client.cast({}, "touch", instance=_instance(mark), mark=mark)


def _save(client: Any, mark: Mark) -> Any:
    return client.call(
        {},
        "object_action",
        objinst=_instance(mark),
        objmethod="save",
        args=[],
        kwargs={"mark": mark},
    )


def _class_action(client: Any, name: str, method: str, mark: Mark) -> Any:
    return client.call(
        {},
        "object_class_action_versions",
        objname=name,
        objmethod=method,
        object_versions={},
        args=[mark.group],
        kwargs={"mark": mark},
    )


def _transport(url: str, service: str) -> Any:
    conf = cfg.CONF
    conf([], project="faults", prog=service, default_config_files=[], default_config_dirs=[])
    if not logging.getLogger().handlers:
        logging.basicConfig(
            level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s"
        )
    return oslo_messaging.get_rpc_transport(conf, url)


class _Stop:
    """Whether SIGTERM has come.

    No threading.Event: a handler that sets one while the same thread is about to wait for it
    waits for a lock that this very thread holds.
    """

    def __init__(self) -> None:
        self._came = False
        signal.signal(signal.SIGTERM, self._note)

    def is_set(self) -> bool:
        return self._came

    def wait(self) -> None:
        while not self._came:
            time.sleep(0.02)

    def _note(self, number: int, frame: object) -> None:
        self._came = True
