# SPDX-License-Identifier: Apache-2.0
"""Peers: what one process has of the bus. Several can live in the test's own process.

The runtime is shared by journal directory, so peers with directories of their own meet over an
endpoint as processes do.
"""

from __future__ import annotations

import concurrent.futures
import pathlib
import queue
import time
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_messaging import conffixture

from nova_edge_bus import opts
from tests.driver import journals
from tests.nova.processes import wait_until

WAIT_SECONDS = 30.0
"""A generous bound for what should happen soon."""


def configuration(*, prog: str, host: str, **edge_bus: object) -> cfg.ConfigOpts:
    """A configuration of one service.

    :param edge_bus: options of [edge_bus]
    """
    conf = cfg.ConfigOpts()
    conf([], project="nova", prog=prog, default_config_files=[], default_config_dirs=[])
    # oslo.messaging registers some of its options with the global configuration only.
    conffixture.ConfFixture(conf).setUp()
    conf.register_opt(cfg.StrOpt("host"))
    conf.set_override("host", host)
    opts.register(conf)
    for name, value in edge_bus.items():
        conf.set_override(name, value, opts.GROUP)
    return conf


class Peer:
    """Transports, servers and clients over one journal directory.

    :param options: of [edge_bus]
    """

    def __init__(
        self,
        url: str,
        journal_dir: pathlib.Path,
        *,
        prog: str = "nova-test",
        host: str = "edge-1",
        exmods: Sequence[str] = (),
        **options: object,
    ) -> None:
        self.url = url
        self.journal_dir = journal_dir
        self.prog = prog
        self.host = host
        self.conf = configuration(
            prog=prog, host=host, journal_dir=str(journal_dir), **{"linger": 0.2, **options}
        )
        self._exmods = list(exmods)
        self._transports: list[Any] = []
        self._servers: list[Any] = []
        self._rpc: Any = None
        self._notifications: Any = None

    @property
    def rpc(self) -> Any:
        """The transport for RPC."""
        if self._rpc is None:
            self._rpc = self.rpc_transport()
        return self._rpc

    @property
    def notifications(self) -> Any:
        """The transport for notifications."""
        if self._notifications is None:
            transport = oslo_messaging.get_notification_transport(self.conf, self.url)
            self._transports.append(transport)
            self._notifications = transport
        return self._notifications

    def rpc_transport(self, url: str | None = None) -> Any:
        """One more transport, with a driver object of its own."""
        transport = oslo_messaging.get_rpc_transport(
            self.conf, url or self.url, allowed_remote_exmods=self._exmods
        )
        self._transports.append(transport)
        return transport

    def client(
        self, topic: str, server: str | None = None, *, fanout: bool = False, **options: Any
    ) -> Any:
        """A client of a topic, or of one server of it.

        :param options: of ``get_rpc_client``; ``namespace`` and ``version`` go to the target
        """
        named = {key: options.pop(key) for key in ("namespace", "version") if key in options}
        target = oslo_messaging.Target(topic=topic, server=server, fanout=fanout or None, **named)
        transport = options.pop("transport", None) or self.rpc
        return oslo_messaging.get_rpc_client(
            transport, target, **{"timeout": WAIT_SECONDS, **options}
        )

    def serve(self, topic: str, server: str, *endpoints: object, threads: int = 64) -> Any:
        """Start an RPC server.

        :param threads: how many messages it may work on at once
        """
        target = oslo_messaging.Target(topic=topic, server=server)
        started = oslo_messaging.get_rpc_server(self.rpc, target, list(endpoints))
        started.start(override_pool_size=threads)
        self._servers.append(started)
        return started

    def notifier(self, *topics: str, publisher: str = "test") -> Any:
        """A notifier that speaks to topics."""
        return oslo_messaging.Notifier(
            self.notifications, publisher, driver="messaging", topics=list(topics)
        )

    def listen(self, topics: Sequence[str], endpoint: object, **options: Any) -> Any:
        """Start a notification listener, a batch listener when there is a ``batch_size``."""
        targets = [oslo_messaging.Target(topic=topic) for topic in topics]
        make = (
            oslo_messaging.get_batch_notification_listener
            if "batch_size" in options
            else oslo_messaging.get_notification_listener
        )
        threads = options.pop("threads", 64)
        started = make(self.notifications, targets, [endpoint], **options)
        started.start(override_pool_size=threads)
        self._servers.append(started)
        return started

    def close(self) -> None:
        """Stop the servers and close the transports, whatever state they are in."""
        for server in self._servers:
            server.stop()
        # A thread pool takes a second to end; they all do so at the same time.
        with concurrent.futures.ThreadPoolExecutor(max(1, len(self._servers))) as waiting:
            list(waiting.map(lambda server: server.wait(), self._servers))
        for transport in self._transports:
            transport.cleanup()
        self._servers, self._transports = [], []
        self._rpc = self._notifications = None


def use(peer: Peer, topic: str) -> None:
    """Use everything that a peer has."""
    recorder = Recorder()
    peer.serve(topic, "here", recorder)
    client = peer.client(topic)
    assert client.call({}, "echo", value=1) == 1
    client.cast({}, "put", value=2)
    assert recorder.take(1) == [2]
    peer.notifier(topic).info({}, "event", 3)


def await_drained(peer: Peer) -> None:
    """Wait until nothing is pending in a peer's journal."""
    journal = journals.only(peer.journal_dir)
    wait_until(lambda: journals.pending(journal) == 0, WAIT_SECONDS, "the outbox to drain")


class Recorder:
    """An RPC endpoint that records what it is sent."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.queue: queue.Queue[Any] = queue.Queue()

    def put(self, ctxt: dict[str, Any], value: Any, **others: Any) -> None:
        """Take a value by a cast."""
        self.queue.put(value)

    def echo(self, ctxt: dict[str, Any], value: Any) -> Any:
        """Give the value back by a call."""
        return value

    def who(self, ctxt: dict[str, Any]) -> str:
        """Say who answers."""
        return self.name

    def take(self, count: int) -> list[Any]:
        """Wait for *count* values."""
        return take(self.queue, count)

    def rest(self) -> list[Any]:
        """What has come besides, without waiting."""
        return drain(self.queue)


class Listening:
    """A notification endpoint that records (priority, event type, payload)."""

    def __init__(self) -> None:
        self.queue: queue.Queue[tuple[str, str, Any]] = queue.Queue()

    def __getattr__(self, priority: str) -> Callable[..., None]:
        if priority not in ("audit", "debug", "info", "warn", "error", "critical", "sample"):
            raise AttributeError(priority)

        def record(
            ctxt: Any, publisher: str, event_type: str, payload: Any, metadata: Any
        ) -> None:
            self.queue.put((priority, event_type, payload))

        return record

    def take(self, count: int) -> list[tuple[str, str, Any]]:
        """Wait for *count* notifications."""
        return take(self.queue, count)

    def rest(self) -> list[tuple[str, str, Any]]:
        """What has come besides, without waiting."""
        return drain(self.queue)


def instance(uuid: str) -> dict[str, Any]:
    """What stands for an instance in nova's casts, as far as the bus looks."""
    return {"nova_object.name": "Instance", "nova_object.data": {"uuid": uuid}}


def take(source: queue.Queue[Any], count: int, seconds: float = WAIT_SECONDS) -> list[Any]:
    """Wait for *count* items; fail with what has come when time is up."""
    found: list[Any] = []
    deadline = time.monotonic() + seconds
    while len(found) < count:
        try:
            found.append(source.get(timeout=max(0.0, deadline - time.monotonic())))
        except queue.Empty:
            text = f"{len(found)} of {count} came in {seconds:g} s: {found!r:.500}"
            raise AssertionError(text) from None
    return found


def drain(source: queue.Queue[Any]) -> list[Any]:
    """Everything that is in the queue now."""
    found = []
    while True:
        try:
            found.append(source.get_nowait())
        except queue.Empty:
            return found
