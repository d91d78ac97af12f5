# SPDX-License-Identifier: Apache-2.0
"""The host of a drain: a journal full of saves, and the driver's own runtime that ships them."""

import collections.abc
import pathlib
import time
import typing

from bench import backlog
from bench import bodies
from bench import places
from nova_edge_bus import settings as settings_module
from nova_edge_bus.runtime import runtime

_SERVICE = "nova-compute"


class Drainer:
    """The host."""

    def __init__(self, place: places.Place) -> None:
        self._url = place.url
        self._known: settings_module.Settings | None = None
        self._runtime: runtime.Runtime | None = None

    def fill(
        self, directory: str, round: int, entries: int, instances: int, size: int
    ) -> dict[str, typing.Any]:
        """Journal *entries* saves of so many *instances* of *size* bytes, in turns.

        :param directory: of the journal, which is made there
        :param round: the first part of the request ids
        """
        self._known = backlog.settings(
            self._url, _SERVICE, places.COMPUTE_HOST, pathlib.Path(directory)
        )
        sized = bodies.Bodies(size, instances)
        return {"bytes": backlog.fill(self._known, _saves(sized, round, entries))}

    def come_back(self) -> dict[str, typing.Any]:
        """Open the journal and dial.

        :returns: ``at``, the monotonic time before that
        """
        assert self._known is not None
        at = time.monotonic()
        self._runtime = runtime.Runtime(self._known)
        return {"at": at}

    def waiting(self) -> dict[str, typing.Any]:
        """Whether something of the backlog is not settled, and what the clock says now."""
        assert self._runtime is not None
        assert self._known is not None
        left = self._runtime.bus(self._known).unfinished()
        return {"waiting": left, "at": time.monotonic()}

    def close(self) -> None:
        """Give the journal back."""
        if self._runtime is not None:
            self._runtime.close()


def _saves(
    sized: bodies.Bodies, round: int, entries: int
) -> collections.abc.Iterator[tuple[backlog.Dict, backlog.Dict]]:
    for number in range(entries):
        arguments = {
            "objinst": sized.saved(number),
            "objmethod": "save",
            "args": [],
            "kwargs": {},
        }
        message = {"method": "object_action", "version": "3.0", "args": arguments}
        yield bodies.context(bodies.request_id(round, number)), message
