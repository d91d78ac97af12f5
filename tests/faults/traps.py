# SPDX-License-Identifier: Apache-2.0
"""Traps: a process stops exactly where an entry is at one step of its life.

They are set in the test's own programs, around the functions that :mod:`tests.faults.steps` names.
All processes of a scene share a directory; the file ``armed`` in it says which trap is set.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import pathlib
import signal
import time
from collections.abc import Callable
from typing import Any

from nova_edge_bus.delivery import receiver
from nova_edge_bus.delivery import shipping
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import router
from tests.faults import steps

HOLD, KILL, FREEZE = "hold", "kill", "freeze"
_HELD_SECONDS = 30.0
_POLL_SECONDS = 0.002

_Ways = dict[int, tuple[str, str]]


class Traps:
    """The traps of one process.

    :param directory: of the scene
    :param who: the name of this process
    """

    def __init__(self, directory: pathlib.Path, who: str) -> None:
        self._directory = directory
        self._who = who
        self._ways: _Ways = {}

    def install(self, process: str) -> None:
        """Wrap the functions at which a process of this sort has steps."""
        _note_ways(self._ways)
        for place, listeners in steps.WATCHED.items():
            for listener in listeners:
                wrap(place, lambda made, *args, _=listener, **kwargs: _(*args, **kwargs))
        for step in steps.STEPS:
            if step.process == process:
                before, after = self._around(step)
                wrap(step.place, after, before)

    def _around(self, step: steps.Step) -> tuple[Callable[..., None], Callable[..., None]]:
        def look(*args: Any, **kwargs: Any) -> None:
            self._look(step, list(step.numbers(*args, **kwargs)))

        def nothing(*args: Any, **kwargs: Any) -> None:
            pass

        if step.after:
            return nothing, lambda made, *args, **kwargs: look(*args, **kwargs)
        return look, nothing

    def _look(self, step: steps.Step, numbers: list[int]) -> None:
        if not numbers:
            return
        try:
            armed = json.loads((self._directory / "armed").read_text())
        except (FileNotFoundError, ValueError):
            return
        if armed["step"] == step.name and armed["number"] in numbers:
            self._spring(step, armed)

    def _spring(self, step: steps.Step, armed: dict[str, Any]) -> None:
        case = armed["case"]
        if not step.is_last and not self._wait_for(f"{case}.written"):
            return
        endpoint, peer = self._ways.get(armed["number"], ("", ""))
        told = {"who": self._who, "endpoint": endpoint, "peer": peer}
        draft = self._directory / f"{case}.{self._who}.draft"
        draft.write_text(json.dumps(told))
        try:
            # The first process that comes by is the one.
            os.link(draft, self._directory / f"{case}.sprung")
        except FileExistsError:
            return
        if armed["do"] == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if armed["do"] == FREEZE:
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            self._wait_for(f"{case}.released")

    def _wait_for(self, name: str) -> bool:
        deadline = time.monotonic() + _HELD_SECONDS
        while not (self._directory / name).exists():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True


def wrap(
    place: str,
    after: Callable[..., Any],
    before: Callable[..., Any] = lambda *args, **kwargs: None,
) -> None:
    """Call other functions before and after each call of the one at *place*.

    :param after: is given what was returned, and then the arguments
    """
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(f"nova_edge_bus.{module}")
    *parents, name = path.split(".")
    for each in parents:
        owner = getattr(owner, each)
    wrapped = getattr(owner, name)

    @functools.wraps(wrapped)
    def around(*args: Any, **kwargs: Any) -> Any:
        before(*args, **kwargs)
        made = wrapped(*args, **kwargs)
        after(made, *args, **kwargs)
        return made

    setattr(owner, name, around)


def _note_ways(ways: _Ways) -> None:
    """Learn by which endpoint each record goes to which conductor."""

    def shipped(made: bool, shipper: shipping.Shipper, stream: Any, item: Any, *_: Any) -> None:
        if made and item.kind == messages.Kind.RECORD:
            ways[item.number] = (str(item.endpoint), item.consumer.peer.hex())

    def received(_: receiver.Receiver, message: Any, via: object, now: float) -> None:
        if message.kind == messages.Kind.RECORD:
            ways[message.number] = (str(via), "")

    def passed(_: router.Router, peer: Any, message: Any) -> None:
        if message.kind == messages.Kind.RECORD:
            ways[message.number] = ("", message.to.hex())

    wrap("delivery.shipping:Shipper._transmit", shipped)
    wrap("delivery.receiver:Receiver.deliver", lambda *args: None, received)
    wrap("protocol.router:Router._deliver", lambda *args: None, passed)
