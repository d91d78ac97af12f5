# SPDX-License-Identifier: Apache-2.0
"""What the programs do; see :mod:`tests.driver.programs`."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_messaging import conffixture

from tests.driver import peers
from tests.driver.programs import hear
from tests.driver.programs import say

LARGE = 50_000
"""Words of a large body: pyzmq does not copy what has 64 KiB, unless it is told to."""


class Teller:
    """An RPC endpoint that tells the test what it is sent."""

    def __init__(self, name: str) -> None:
        self.name = name

    def put(self, ctxt: dict[str, Any], value: Any) -> None:
        say("put", value)

    def who(self, ctxt: dict[str, Any]) -> str:
        return self.name

    def echo(self, ctxt: dict[str, Any], value: Any) -> Any:
        return value


def send(
    url: str,
    journal_dir: pathlib.Path,
    topic: str,
    values: list[Any],
    other: str = "",
    **options: Any,
) -> None:
    """Cast some values, then end as nova's services do: at once, without any cleanup.

    :param other: the URL of other endpoints that the same values go to
    """
    peer = peers.Peer(url, journal_dir, **options)
    for transport in [peer.rpc_transport(each) for each in (url, other) if each]:
        client = peer.client(topic, transport=transport)
        for value in values:
            client.cast({}, "put", value=value)
    say("sent")
    hear()
    os._exit(0)


def save(
    url: str, journal_dir: pathlib.Path, topic: str, count: int, name: str, **options: Any
) -> None:
    """Journal so many saves of three instances that nobody answers, then wait for the end.

    With none it ships what its last life has left.
    """
    client = peers.Peer(url, journal_dir, **options).client(topic, timeout=0.01)
    for value in range(count):
        with contextlib.suppress(oslo_messaging.MessagingTimeout):
            client.call(
                {},
                "object_action",
                objinst=peers.instance(f"{name}-{value % 3}"),
                objmethod="save",
                value=value,
            )
    client.cast({}, "put", value=name)
    say("saved")
    hear()
    os._exit(0)


def notify(
    url: str, journal_dir: pathlib.Path, topic: str, values: list[Any], **options: Any
) -> None:
    """Notify of some values, then end at once."""
    notifier = peers.Peer(url, journal_dir, **options).notifier(topic)
    for value in values:
        notifier.info({}, "event", value)
    say("sent")
    hear()
    os._exit(0)


def serve(url: str, journal_dir: pathlib.Path, topic: str, server: str, **options: Any) -> None:
    """Serve a topic until the test says a word."""
    peer = peers.Peer(url, journal_dir, **options)
    peer.serve(topic, server, Teller(server), threads=1)
    say("serving")
    hear()
    peer.close()
    say("closed")


class _Holding:
    """Takes casts and notifications, and never comes to an end with them."""

    def put(self, ctxt: Any, value: Any) -> None:
        say("holding", value)
        threading.Event().wait()

    def info(self, ctxt: Any, publisher: str, event_type: str, payload: Any, _: Any) -> None:
        self.put(ctxt, payload)


def hold(url: str, journal_dir: pathlib.Path, topic: str, **options: Any) -> None:
    """Begin with a cast or a notification."""
    peer = peers.Peer(url, journal_dir, **options)
    peer.serve(topic, "here", _Holding())
    peer.listen([topic], _Holding())
    say("listening")
    hear()


def serve_until_killed(
    url: str, journal_dir: pathlib.Path, topic: str, server: str, **options: Any
) -> None:
    """Serve a topic, and answer calls with the process id besides the name."""
    peer = peers.Peer(url, journal_dir, **options)
    peer.serve(topic, server, Teller(f"{server} {os.getpid()}"))
    say("serving", os.getpid())
    hear()


def fork(
    url: str, journal_dir: pathlib.Path, topic: str, when: str, end: str, **options: Any
) -> None:
    """Fork a transport, before or after its first use; parent and child both use it."""
    peer = peers.Peer(url, journal_dir, **options)
    client = peer.client(topic)
    if when == "after":
        client.cast({}, "put", value="parent before")
        say("parent before", client.call({}, "echo", value="before"))
    child = os.fork()
    if child == 0:
        client.cast({}, "put", value="child")
        say("child", client.call({}, "echo", value="of the child"))
        if end == "cleanup":
            peer.close()
        if end == "abrupt":
            os._exit(0)
        return
    _, status = os.waitpid(child, 0)
    say("child ended", status)
    client.cast({}, "put", value="parent")
    say("parent", client.call({}, "echo", value="of the parent"))
    hear()
    peer.close()
    say("closed", [thread.name for thread in threading.enumerate()])


def fork_and_die(url: str, journal_dir: pathlib.Path, topic: str, **options: Any) -> None:
    """Leave a forked child behind that never used the bus."""
    peer = peers.Peer(url, journal_dir, **options)
    peer.client(topic).cast({}, "put", value="orphaned")
    if os.fork() == 0:
        say("child", os.getpid())
        hear()
        os._exit(0)
    say("parent")
    threading.Event().wait()


def send_bare(url: str, journal_dir: pathlib.Path, topic: str) -> None:
    """Cast with a configuration that says nothing about the bus."""
    conf = cfg.ConfigOpts()
    conf([], project="nova", prog="nova-test", default_config_files=[])
    conffixture.ConfFixture(conf).setUp()
    transport = oslo_messaging.get_rpc_transport(conf, url)
    target = oslo_messaging.Target(topic=topic)
    oslo_messaging.get_rpc_client(transport, target).cast({}, "put", value=1)
    say("sent")
    hear()


def accept_and_send(
    url: str, journal_dir: pathlib.Path, topic: str, other: str, **options: Any
) -> None:
    """Accept casts without ever looking at them, with a backlog for another endpoint."""
    peer = peers.Peer(url, journal_dir, **options)
    elsewhere = peer.rpc_transport(other)
    peer.client("nobody", transport=elsewhere).cast({}, "put", value=1)
    peer.rpc._listen(oslo_messaging.Target(topic=topic, server="here"), 1, None)
    say("listening")
    hear()


def everything(url: str, journal_dir: pathlib.Path, topic: str, **options: Any) -> None:
    """Use all that the driver offers inside one process, and give it back."""
    peer = peers.Peer(url, journal_dir, **options)
    recorder, listening = peers.Recorder("here"), peers.Listening()
    peer.serve(topic, "here", recorder, threads=1)
    peer.listen([topic], listening, threads=1)
    client = peer.client(topic)
    say("call", client.call({}, "echo", value={"a": [1, None]}))
    try:
        client.call({}, "no_such_method")
    except oslo_messaging.RemoteError as error:
        say("error", error.exc_type)
    try:
        peer.client("nobody", timeout=0.5).call({}, "echo", value=1)
    except oslo_messaging.MessagingTimeout:
        say("timeout")
    for value in range(20):
        client.cast({}, "put", value=value)
    say("casts", recorder.take(20))
    peer.client(topic, fanout=True).cast({}, "put", value="fanout")
    say("fanout", recorder.take(1))
    peer.client(topic, fanout=True).cast({}, "put", value="large" * LARGE)
    say("large fanout", [len(each) for each in recorder.take(1)])
    for value in range(20):
        peer.notifier(topic).info({}, "event", value)
    say("notifications", [payload for _, _, payload in listening.take(20)])
    answers = []
    callers = [
        threading.Thread(target=lambda n=n: answers.append(client.call({}, "echo", value=n)))
        for n in range(20)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    say("concurrent calls", sorted(answers))
    peer.close()
    say("closed", [name for name in sys.modules if name.split(".")[0] == "eventlet"] != [])


class Ticker:
    """A greenlet that wants to run every few milliseconds, and notes how late it was at worst."""

    def __init__(self) -> None:
        self.longest = 0.0
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        last = time.monotonic()
        while True:
            time.sleep(0.005)
            now = time.monotonic()
            self.longest = max(self.longest, now - last)
            last = now


def tick(url: str, journal_dir: pathlib.Path, topic: str, **options: Any) -> None:
    """Do what can wait for the disk, one thing for each word, and watch the hub meanwhile."""
    peer = peers.Peer(url, journal_dir, **options)
    peer.serve(topic, "here", Teller("here"))
    client = peer.client(topic)
    actions: dict[str, Callable[[], object]] = {
        "cast": lambda: peer.client("nobody").cast({}, "put", value=1),
        "notify": lambda: peer.notifier("nobody").info({}, "event", 1),
        "take": lambda: client.cast({}, "put", value=1),
        "call": lambda: client.call({}, "echo", value=1),
        "close": peer.close,
        "open": lambda: peer.client("nobody").cast({}, "put", value=1),
    }
    client.call({}, "echo", value=1)
    ticker = Ticker()
    say("ready")
    while word := hear():
        ticker.longest = 0.0
        began = time.monotonic()
        actions[word]()
        took = time.monotonic() - began
        time.sleep(0.05)
        say(word, [took, ticker.longest])


def conduct(url: str, journal_dir: pathlib.Path, topic: str, path: str, **options: Any) -> None:
    """Be a centre on a nova database until the test ends; tell what has been saved."""
    from tests.driver.autonomy import lives

    lives.conduct(peers.Peer(url, journal_dir, **options), topic, pathlib.Path(path))


def go_on(url: str, journal_dir: pathlib.Path, topic: str, **options: Any) -> None:
    """Be an edge host that does what the test says."""
    from tests.driver.autonomy import lives

    lives.go_on(peers.Peer(url, journal_dir, **options), topic)
