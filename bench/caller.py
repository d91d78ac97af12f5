# SPDX-License-Identifier: Apache-2.0
"""A peer that makes calls at fixed times, whatever became of those before.

A call's time counts from the moment at which it was due.
"""

import concurrent.futures
import itertools
import threading
import time
import typing

import oslo_messaging

from bench import bodies
from bench import endpoints
from bench import places

_THREADS = 64


class Caller:
    """Reads instances of the conductor's topic."""

    def __init__(self, place: places.Place) -> None:
        self._transport = endpoints.rpc_transport(place, "nova-compute")
        target = oslo_messaging.Target(
            topic=place.conductor_topic, version=endpoints.CONDUCTOR_VERSION
        )
        self._client = oslo_messaging.get_rpc_client(self._transport, target)
        self._made: list[tuple[float, float, str | None]] = []
        self._stopped = threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(_THREADS)

    def begin(self, size: int, rate: float) -> dict[str, typing.Any]:
        """Read an instance *rate* times a second, from now on."""
        self._sized = bodies.Bodies(size)
        self._read(0)
        threading.Thread(target=self._work, args=[rate], daemon=True).start()
        return {}

    def end(self) -> dict[str, typing.Any]:
        """Make no more calls, wait for those that are under way, and tell of all.

        :returns: ``calls``, each with when it was due, how many seconds it took from then, and
            the error's class if it failed
        """
        self._stopped.set()
        self._pool.shutdown()
        return {"calls": self._made}

    def close(self) -> None:
        """Close the transport."""
        self._transport.cleanup()

    def _work(self, rate: float) -> None:
        began = time.monotonic()
        for number in itertools.count(1):
            due = began + number / rate
            if self._stopped.wait(max(0.0, due - time.monotonic())):
                return
            self._pool.submit(self._timed, due, number)

    def _timed(self, due: float, number: int) -> None:
        error = None
        try:
            self._read(number)
        except Exception as caught:
            error = type(caught).__name__
        self._made.append((due, time.monotonic() - due, error))

    def _read(self, number: int) -> object:
        return self._client.prepare().call(
            bodies.context(bodies.request_id(0, number)),
            "object_class_action_versions",
            objname="Instance",
            objmethod="get_by_uuid",
            object_versions={"Instance": "2.8", "InstanceInfoCache": "1.5", "Flavor": "1.2"},
            args=[self._sized.uuid(number)],
            kwargs={"expected_attrs": ["info_cache", "system_metadata", "flavor"]},
        )
