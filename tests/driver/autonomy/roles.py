# SPDX-License-Identifier: Apache-2.0
"""An edge host and a centre that speak nova over the bus; the centre has a real nova database.

Both are ordinary users of oslo.messaging. The edge's messages are written by hand rather than by
nova's objects, whose way to the conductor is one for a whole process.
"""

from __future__ import annotations

import pathlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import oslo_messaging
from nova import context as nova_context
from oslo_versionedobjects import base

from tests.driver import journals
from tests.driver import peers
from tests.driver.peers import WAIT_SECONDS
from tests.nova.processes import wait_until
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot.edge import HOST

Json = dict[str, Any]
LINK_TIMEOUT = 1.5
NOTICED = LINK_TIMEOUT + 1.0
"""Seconds within which a caller has fallen back, however the link was cut."""
AT_ONCE = LINK_TIMEOUT / 2
"""Seconds that suffice for what waits for nobody but the local disk."""


class Conductor:
    """nova's conductor as an RPC endpoint: its methods for objects, on a nova database.

    ``began`` gets what each action is about when it is taken up, ``applied`` when it is through;
    in between it waits for the gate.
    """

    target = oslo_messaging.Target(version="3.0")

    def __init__(self, centre: centres.Centre) -> None:
        self.peer: Any = None
        self.server: Any = None
        self._centre = centre
        self._lock = threading.Lock()
        self.gate = threading.Event()
        self.gate.set()
        self.began: queue.Queue[list[Any]] = queue.Queue()
        self.applied: list[list[Any]] = []

    def who(self, ctxt: Json) -> str:
        """Say that somebody is there; never answered from a snapshot."""
        return "the centre"

    def ping(self, ctxt: Json, arg: Any) -> Any:
        return arg

    def object_action(self, ctxt: Json, **arguments: Any) -> Any:
        target, method = arguments["objinst"], arguments["objmethod"]
        data = target["nova_object.data"]
        changes = {name: data[name] for name in target.get("nova_object.changes", [])}
        about = [target["nova_object.name"], method, changes]
        self.began.put(about)
        self.gate.wait(WAIT_SECONDS)
        try:
            return self._do(ctxt, "object_action", arguments)
        finally:
            self.applied.append(about)

    def object_class_action_versions(self, ctxt: Json, **arguments: Any) -> Any:
        return self._do(ctxt, "object_class_action_versions", arguments)

    def _do(self, ctxt: Json, method: str, arguments: Json) -> Any:
        # SQLite has one writer, and does not let those who have read wait for it.
        with self._lock:
            return self._centre(ctxt, {"method": method, "args": arguments})

    def saves(self, name: str, field: str) -> list[Any]:
        """The values of a field that were saved, in order."""
        return [
            changes[field]
            for kind, method, changes in list(self.applied)
            if (kind, method) == (name, "save") and field in changes
        ]


class Edge:
    """A host that goes on by itself: what it asks, and what it saves."""

    def __init__(self, peer: peers.Peer, topic: str) -> None:
        self.peer = peer
        self.topic = topic

    def call(self, method: str, *, timeout: float = WAIT_SECONDS, **arguments: Any) -> Any:
        context = nova_context.get_admin_context().to_dict()
        return self._client(timeout).call(context, method, **arguments)

    def _client(self, timeout: float) -> Any:
        return self.peer.client(self.topic, timeout=timeout, version="3.0")

    def ask(self, name: str, method: str, *, timeout: float = WAIT_SECONDS, **kwargs: Any) -> Any:
        """Make a read."""
        return self.call(
            "object_class_action_versions",
            timeout=timeout,
            objname=name,
            objmethod=method,
            object_versions=base.obj_tree_get_versions(name),
            args=[],
            kwargs=kwargs,
        )

    def act(
        self, target: Json, method: str, *, timeout: float = WAIT_SECONDS, **kwargs: Any
    ) -> Any:
        """Call a method of an object."""
        return self.call(
            "object_action",
            timeout=timeout,
            objinst=target,
            objmethod=method,
            args=[],
            kwargs=kwargs,
        )

    def instance(self, uuid: str) -> Json:
        found: Json = self.ask("Instance", "get_by_uuid", uuid=uuid, expected_attrs=[])
        return found

    def save(self, uuid: str, *, timeout: float = WAIT_SECONDS, **changes: Any) -> Any:
        """Save an instance that is known."""
        return self.act(changed(self.instance(uuid), changes), "save", timeout=timeout)

    def compare_and_set(self, uuid: str, expected: Any, state: Any) -> Any:
        target = changed(self.instance(uuid), {"task_state": state})
        return self.act(target, "save", expected_task_state=expected)

    def field(self, uuid: str, name: str = "power_state") -> Any:
        return self.instance(uuid)["nova_object.data"][name]

    def service(self) -> Json:
        found: Json = self.ask(
            "Service", "get_by_host_and_binary", host=HOST, binary="nova-compute"
        )
        return found

    def beat(self, count: int) -> Any:
        """Report."""
        return self.act(changed(self.service(), {"report_count": count}), "save")

    @property
    def journal(self) -> pathlib.Path:
        return journals.only(self.peer.journal_dir)

    def pending(self) -> int:
        return journals.pending(self.journal)

    def await_drained(self) -> None:
        wait_until(lambda: self.pending() == 0, WAIT_SECONDS, "the outbox to drain")

    def await_linked(self) -> None:
        """Wait until what only the centre can tell is told."""
        assert self.call("who") == "the centre"


def changed(target: Json, changes: Json) -> Json:
    """An object as nova sends it when fields of it were set."""
    data = {**target["nova_object.data"], **changes}
    return {**target, "nova_object.data": data, "nova_object.changes": sorted(changes)}


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and the seconds that it took."""
    began = time.monotonic()
    return call(), time.monotonic() - began
