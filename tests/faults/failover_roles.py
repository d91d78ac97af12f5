# SPDX-License-Identifier: Apache-2.0
"""What the processes of a failover do, each with its traps set: endpoints, conductors, an edge."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import time
from typing import Any

from nova import objects
from nova.objects import base

from nova_edge_bus.delivery import receiver
from nova_edge_bus.driver import incoming
from nova_edge_bus.protocol import accepted
from nova_edge_bus.protocol import settings
from nova_edge_bus.runtime import registry
from tests.driver import peers
from tests.faults import conductor as conductors
from tests.faults import roles
from tests.faults import steps
from tests.faults import traps
from tests.nova import journals as nova_journals
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot.edge import HOST

LINK_TIMEOUT = 0.5
CONSUMER_GRACE = 3600.0
"""Longer than any test: whoever waits for a conductor that has left waits in vain."""
CALL_SECONDS = 60
_HEARTBEAT = 0.2
_SILENCE = (0.3, 0.6)
"""Seconds until an endpoint asks a silent peer, and from there until it gives it up."""
_PUT_OFF_SECONDS = 0.3
_POLL_SECONDS = 0.005


def warm_up() -> None:
    """Load what is loaded on its first use, so that the forked need not."""
    centres.prepare()
    roles.warm_up()


def endpoint(port: int, ready: str, directory: str, name: str) -> int:
    """An endpoint that gives a silent peer up as soon as the others do."""
    traps.Traps(pathlib.Path(directory), name).install(steps.ENDPOINT)
    settings.Settings.heartbeat = property(lambda self: _HEARTBEAT)  # type: ignore[assignment]
    accepted.AcceptSession._timing = lambda self: _SILENCE  # type: ignore[method-assign]
    return roles.endpoint(port, ready)


def conductor(url: str, name: str, directory: str, database: str) -> int:
    """Nova's object methods over the bus until the process is ended."""
    scene = pathlib.Path(directory)
    _count_dispatched(scene / f"work-{name}")
    traps.Traps(scene, name).install(steps.CONDUCTOR)
    receiver.PUT_OFF_SECONDS = _PUT_OFF_SECONDS
    base.NovaObject.indirection_api = None
    centre = centres.Centre(pathlib.Path("unused"), database)
    peer = peers.Peer(
        url,
        scene / "centre",
        prog="nova-conductor",
        host=name,
        link_timeout=LINK_TIMEOUT,
    )
    peer.serve(conductors.TOPIC, name, conductors.Conductor(centre))
    # Exactly one: this process has one journal.
    (runtime,) = registry._runtimes.values()
    _say(scene / f"{name}.ready", runtime._peer.hex())
    while True:
        signal.pause()


def edge(url: str, directory: str, database: str, life: int) -> int:
    """Do what the orders of the scene say, one after the other, until the process is ended."""
    scene = pathlib.Path(directory)
    traps.Traps(scene, "edge").install(steps.EDGE)
    arming = _Arming(scene)
    traps.wrap("runtime.fallback:Fallback._ship", lambda *args: None, arming.journaled)
    peer = peers.Peer(
        url,
        scene / "edge",
        prog="nova-compute",
        host=HOST,
        exmods=["nova.exception"],
        link_timeout=LINK_TIMEOUT,
        consumer_grace=CONSUMER_GRACE,
        write_behind=True,
        compression="zstd",
    )
    # As nova-compute does: it is what takes the journal up.
    peer.serve("compute", HOST, object())
    client = peer.client(conductors.TOPIC, timeout=CALL_SECONDS, version="3.0")
    centre = centres.Centre(pathlib.Path("unused"), database)

    def ask(ctxt: Any, message: Any) -> Any:
        return client.call(ctxt, message["method"], **message["args"])

    with centres.over(ask):
        _say(scene / f"edge-{life}.ready", "")
        while True:
            for path in sorted(scene.glob("*.order")):
                order = json.loads(path.read_text())
                path.unlink()
                _obey(scene, centre.context(), order, arming)
            time.sleep(_POLL_SECONDS)


class _Arming:
    """Sets the trap of a case as soon as the number of its entry is known."""

    def __init__(self, scene: pathlib.Path) -> None:
        self._scene = scene
        self._order: dict[str, Any] = {}
        self._before = -1

    def begin(self, order: dict[str, Any], before: int) -> None:
        """The trap is for the entry that so many others come *before*."""
        self._order, self._before = order, before

    def journaled(self, fallback: Any, call: Any, written: Any) -> None:
        """An entry is on the disk, and nobody has heard of it yet."""
        if self._before == 0:
            _say(self._scene / "armed", json.dumps({**self._order, "number": written.seq}))
        self._before -= 1


def _obey(scene: pathlib.Path, context: Any, order: dict[str, Any], arming: _Arming) -> None:
    """Write the groups of a case, in turns, and set the trap at one of the entries."""
    case, step = order["case"], steps.BY_NAME[order["step"]]
    groups = [
        objects.Instance.get_by_uuid(context, uuid, ["info_cache", "flavor", "metadata"])
        for uuid in order["groups"]
    ]
    writes = [(groups[0], number) for number in range(1, order["entries"] + 1)]
    writes[1:1] = [(groups[1], 1)]
    writes[3:3] = [(groups[1], 2)]
    trapped = len(writes) - 1 if step.is_last else writes.index((groups[0], order["trapped"]))
    arming.begin(order, trapped)
    for instance, number in writes:
        _write(instance, number)
    (scene / f"{case}.written").touch()
    if step.late:
        while nova_journals.entries_pending(scene / "edge"):
            time.sleep(_POLL_SECONDS)
        _write(groups[1], 3)
    (scene / f"{case}.done").touch()


def _write(instance: Any, number: int) -> None:
    """A save in several parts, a fault, a save, a fault, and so on."""
    if number % 2 == 0:
        fault = objects.InstanceFault(
            instance._context, instance_uuid=instance.uuid, code=500, message=f"fault {number}"
        )
        fault.host, fault.details = HOST, ""
        fault.create()
        return
    if number == 1:
        instance.flavor.extra_specs = {"number": str(number)}
    instance.display_name = f"name {number}"
    instance.save()


def _say(path: pathlib.Path, text: str) -> None:
    """Write a file that is whole as soon as it is there."""
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.rename(path)


def _count_dispatched(path: pathlib.Path) -> None:
    """Keep a file that has a + for each record that was begun and a - for each that has ended."""
    work = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    begin, end = incoming.RpcIncoming.acknowledge, incoming.RpcIncoming.reply

    def acknowledge(self: incoming.RpcIncoming) -> None:
        os.write(work, b"+")
        begin(self)

    def reply(self: incoming.RpcIncoming, *args: Any, **kwargs: Any) -> None:
        end(self, *args, **kwargs)
        os.write(work, b"-")

    incoming.RpcIncoming.acknowledge = acknowledge  # type: ignore[method-assign]
    incoming.RpcIncoming.reply = reply  # type: ignore[method-assign]
