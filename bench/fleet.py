# SPDX-License-Identifier: Apache-2.0
"""Hosts that come back from a cut; :mod:`bench.fleet_process` is the process that has them.

Each has a journal of its own with what it has written, and the driver's own runtime, the one that
a nova-compute has; only there are several in a process, and nothing above them.
"""

import dataclasses
import json
import pathlib
import time
import typing

import oslo_messaging
from oslo_config import cfg

from nova_edge_bus import addressing
from nova_edge_bus import contracts
from nova_edge_bus import settings as settings_module
from nova_edge_bus.driver import body
from nova_edge_bus.driver import configuration
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import slots
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import runtime

_SERVICE = "nova-compute"
_TOPIC = addressing.Address("", "nova", "conductor").text
_BATCH = 250


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
        cfg.CONF([], project="nova", prog=_SERVICE, default_config_files=[])
        parsed = oslo_messaging.TransportURL.parse(cfg.CONF, url)
        known = configuration.read(cfg.CONF, parsed)
        size = 0
        for host in hosts:
            place = pathlib.Path(directory, host)
            settings = dataclasses.replace(
                known, host=host, service=_SERVICE, journal_dir=str(place), autonomy="off"
            )
            self._settings.append(settings)
            calls = json.loads(place.with_suffix(".json").read_text())
            size += _fill(settings, calls, count)
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


def _fill(settings: settings_module.Settings, calls: list[typing.Any], count: int) -> int:
    """Journal the saves of a host's instances in turns; returns how many bytes they have."""
    size = 0
    with slots.take(settings.journal_dir, settings.host, _SERVICE) as slot:
        opened = journal.Journal.open(
            slot.path, max_bytes=settings.journal_max_bytes, retention=settings.journal_retention
        )
        for first in range(0, count, _BATCH):
            new = [
                _entry(settings, *calls[number % len(calls)], number // len(calls) + 1)
                for number in range(first, min(count, first + _BATCH))
            ]
            size += sum(len(entry.body) for entry in new)
            with opened.transaction():
                opened.outbox.append_many(new)
        opened.close()
    return size


def _entry(
    settings: settings_module.Settings,
    ctxt: dict[str, typing.Any],
    message: dict[str, typing.Any],
    progress: int,
) -> entries.NewEntry:
    terms = contracts.classify(message, is_call=True)
    message["args"]["objinst"]["nova_object.data"]["progress"] = progress
    return entries.NewEntry(
        link=settings.link,
        address=_TOPIC,
        kind=int(messages.Kind.RECORD),
        group=terms.group,
        method=terms.method,
        body=body.pack(ctxt, message),
        consumer=None,
        created_at=time.time(),
        expires_at=None,
    )
