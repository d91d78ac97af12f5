# SPDX-License-Identifier: Apache-2.0
"""Hosts that come back from a cut; :mod:`bench.fleet_process` is the process that has them.

Each has a journal of its own with what it has written, and the driver's own runtime, the one that
a nova-compute has; only there are several in a process, and nothing above them.
"""

import collections.abc
import json
import pathlib
import time
import typing

from bench import backlog
from nova_edge_bus import settings as settings_module
from nova_edge_bus.runtime import runtime

_SERVICE = "nova-compute"


class Fleet:
    """Some hosts of a fleet."""

    def __init__(self) -> None:
        self._settings: list[settings_module.Settings] = []
        self._hosts: list[runtime.Runtime] = []

    def fill(
        self, url: str, directory: str, hosts: list[str], count: int
    ) -> dict[str, typing.Any]:
        """Write *count* entries into the journal of each host, as if it had been cut off.

        :param directory: with the calls of each host; the journals are made there
        """
        size = 0
        for host in hosts:
            place = pathlib.Path(directory, host)
            settings = backlog.settings(url, _SERVICE, host, place)
            self._settings.append(settings)
            calls = json.loads(place.with_suffix(".json").read_text())
            size += backlog.fill(settings, _messages(calls, count))
        return {"bytes": size}

    def come_back(self) -> dict[str, typing.Any]:
        """Open the journals and dial, one host after the other, and return at once."""
        began = time.monotonic()
        self._hosts = [runtime.Runtime(settings) for settings in self._settings]
        return {"seconds": time.monotonic() - began}

    def waiting(self) -> dict[str, typing.Any]:
        """How many hosts are not drained."""
        left = 0
        for host, settings in zip(self._hosts, self._settings, strict=True):
            left += host.bus(settings).unfinished()
        return {"waiting": left}


def _messages(
    calls: list[typing.Any], count: int
) -> collections.abc.Iterator[tuple[backlog.Dict, backlog.Dict]]:
    """*count* saves of a host's instances, in turns, each with progress of its own."""
    for number in range(count):
        ctxt, message = calls[number % len(calls)]
        data = message["args"]["objinst"]["nova_object.data"]
        data["progress"] = number // len(calls) + 1
        yield ctxt, message
