# SPDX-License-Identifier: Apache-2.0
"""A compute host: a heartbeat, a periodic reader, and guests whose events are saved one by one.

Every call is noted in a file as it begins and as it ends, so that a host that is killed leaves
what it was about. Events that happen while one is being saved wait in memory, as they do in
nova-compute; a save that fails is given up, as it is there.
"""

import collections.abc
import itertools
import json
import os
import queue
import threading
import time
import typing

import oslo_messaging

from bench import bodies
from bench import endpoints
from bench import places

HEARTBEAT, READER, EVENTS = "heartbeat", "reader", "events"
_KNOWN_INSTANCES = 8


class _Log:
    """One line of JSON for each beginning and each end; whole lines, whoever dies."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, **record: object) -> None:
        os.write(self._file, json.dumps({**record, "at": time.monotonic()}).encode() + b"\n")


class Host:
    """One life of the host."""

    def __init__(self, place: places.Place) -> None:
        self._transport = endpoints.rpc_transport(place, "nova-compute")
        target = oslo_messaging.Target(
            topic=place.conductor_topic, version=endpoints.CONDUCTOR_VERSION
        )
        self._client = oslo_messaging.get_rpc_client(self._transport, target)
        self._events: queue.Queue[int] = queue.Queue()
        self._handling = False

    def begin(
        self, log: str, life: int, size: int, interval: float, linked: bool
    ) -> dict[str, typing.Any]:
        """Go to work, and never stop.

        :param log: where to note the calls
        :param life: the first part of the request ids
        :param size: bytes of an instance
        :param interval: seconds between two events, two reads and two heartbeats
        :param linked: whether to read the instances first, as a start does
        """
        self._log = _Log(log)
        self._life = life
        self._sized = bodies.Bodies(size)
        if linked:
            for number in range(_KNOWN_INSTANCES):
                self._read(number)
        for work in (
            lambda: self._regularly(interval, self._happen),
            self._handle,
            lambda: self._regularly(interval, lambda n: self._noted(HEARTBEAT, n, self._beat)),
            lambda: self._regularly(interval, lambda n: self._noted(READER, n, self._read)),
        ):
            threading.Thread(target=work, daemon=True).start()
        return {}

    def waiting(self) -> dict[str, typing.Any]:
        """How many events have happened and are not dealt with."""
        return {"waiting": self._events.qsize() + self._handling}

    def close(self) -> None:
        """Nothing: who is at work stays at it until the process ends."""

    @staticmethod
    def _regularly(interval: float, act: collections.abc.Callable[[int], None]) -> None:
        began = time.monotonic()
        for number in itertools.count():
            time.sleep(max(0.0, began + number * interval - time.monotonic()))
            act(number)

    def _happen(self, number: int) -> None:
        self._log.write(what="event", life=self._life, number=number)
        self._events.put(number)

    def _handle(self) -> None:
        while True:
            number = self._events.get()
            self._handling = True
            self._noted(EVENTS, number, self._save)
            self._handling = False

    def _noted(self, what: str, number: int, act: collections.abc.Callable[[int], object]) -> None:
        about = {"what": what, "life": self._life, "number": number}
        self._log.write(**about, step="begin")
        error = None
        try:
            act(number)
        except Exception as caught:
            error = type(caught).__name__
        self._log.write(**about, step="end", error=error)

    def _context(self, number: int) -> dict[str, typing.Any]:
        return bodies.context(bodies.request_id(self._life, number))

    def _act(self, number: int, target: bodies.Primitive) -> object:
        return self._client.prepare().call(
            self._context(number),
            "object_action",
            objinst=target,
            objmethod="save",
            args=[],
            kwargs={},
        )

    def _save(self, number: int) -> object:
        # Of the instances that are known, each in its turn.
        index = number % _KNOWN_INSTANCES + number // _KNOWN_INSTANCES * bodies.INSTANCES
        return self._act(number, self._sized.saved(index))

    def _beat(self, number: int) -> object:
        service = {
            "nova_object.name": "Service",
            "nova_object.namespace": "nova",
            "nova_object.version": "1.22",
            "nova_object.data": {"id": 1, "host": places.COMPUTE_HOST, "report_count": number},
            "nova_object.changes": ["report_count"],
        }
        return self._act(number, service)

    def _read(self, number: int) -> object:
        return self._client.prepare().call(
            self._context(number),
            "object_class_action_versions",
            objname="Instance",
            objmethod="get_by_uuid",
            object_versions={"Instance": "2.8", "InstanceInfoCache": "1.5", "Flavor": "1.2"},
            args=[self._sized.uuid(number % _KNOWN_INSTANCES)],
            kwargs={"expected_attrs": ["info_cache", "system_metadata", "flavor"]},
        )
