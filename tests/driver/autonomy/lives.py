# SPDX-License-Identifier: Apache-2.0
"""Centres and edge hosts in processes of their own; see :mod:`tests.driver.programs`."""

from __future__ import annotations

import functools
import json
import pathlib
from typing import Any

from tests.driver import peers
from tests.driver.autonomy import roles
from tests.driver.programs import hear
from tests.driver.programs import say
from tests.unit.snapshot import centre as centres


class _Telling(roles.Conductor):
    """Tells the test of each instance that was saved."""

    def object_action(self, ctxt: roles.Json, **arguments: Any) -> Any:
        reply = super().object_action(ctxt, **arguments)
        _, method, changes = self.applied[-1]
        if method == "save" and "power_state" in changes:
            say("applied", changes["power_state"])
        return reply


def conduct(peer: peers.Peer, topic: str, path: pathlib.Path) -> None:
    """Serve until the test ends."""
    centres.prepare()
    peer.serve(topic, "centre", _Telling(centres.Centre(path)), threads=1)
    say("serving")
    hear()


def go_on(peer: peers.Peer, topic: str) -> None:
    """Do what the test says in words ``[method, arguments...]``, and tell how it went."""
    centres.prepare()
    edge = _Host(peer, topic)
    peer.serve(edge.own_topic, peer.host, _Taking(), threads=1)
    say("ready")
    while word := hear():
        method, *arguments = json.loads(word)
        call = functools.partial(getattr(edge, method), *arguments)
        try:
            reply, took = roles.timed(call)
            say("done", [reply, took])
        except Exception as error:
            say("done", [type(error).__name__.removesuffix("_Remote"), 0.0])


class _Host(roles.Edge):
    """An edge host whose calls take plain arguments."""

    @property
    def own_topic(self) -> str:
        return f"compute-{self.topic}"

    def save_power(self, uuid: str, value: int) -> Any:
        return self.save(uuid, power_state=value)

    def heartbeat(self, count: int) -> Any:
        return self.beat(count)

    def who(self) -> Any:
        return self.call("who")

    def command_itself(self, value: str) -> None:
        self.peer.client(self.own_topic, self.peer.host).cast({}, "put", value=value)


class _Taking:
    """Takes commands."""

    def put(self, ctxt: roles.Json, value: Any) -> None:
        say("put", value)
