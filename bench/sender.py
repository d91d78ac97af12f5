# SPDX-License-Identifier: Apache-2.0
"""The sending process: a nova-compute that sends as fast as its callers can."""

import collections.abc
import itertools
import threading
import time
import typing

import oslo_messaging

from bench import bodies
from bench import endpoints
from bench import places

Send = collections.abc.Callable[[dict[str, typing.Any], bodies.Bodies, int], object]

_JOIN = 120.0
"""Seconds that a caller gets beyond the end of its round: two timeouts of a call."""


class Caller:
    """One thread that sends until the round ends, with what each message took."""

    def __init__(self, send: Send, sized: bodies.Bodies, round_number: int) -> None:
        self._send = send
        self._sized = sized
        self._round = round_number
        self.times: list[int] = []
        self.failures: list[str] = []

    def run(self, numbers: collections.abc.Iterator[int], until: float) -> None:
        """Send the next of *numbers* until the monotonic clock says *until*.

        A message that was begun in time is finished and counts.
        """
        while time.monotonic() < until:
            number = next(numbers)
            context = bodies.context(bodies.request_id(self._round, number))
            began = time.perf_counter_ns()
            try:
                self._send(context, self._sized, number)
            except Exception as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            else:
                self.times.append(time.perf_counter_ns() - began)


class Sender:
    """Sends rounds of one kind of message through the public face of oslo.messaging."""

    def __init__(self, place: places.Place) -> None:
        self._transports = [
            endpoints.rpc_transport(place, "nova-compute"),
            endpoints.notification_transport(place),
        ]
        rpc, notifications = self._transports
        self._conductor = self._client(rpc, place.conductor_topic, endpoints.CONDUCTOR_VERSION)
        self._compute = self._client(rpc, place.compute_topic, endpoints.COMPUTE_VERSION)
        self._notifier = oslo_messaging.Notifier(
            notifications,
            publisher_id=f"compute.{places.COMPUTE_HOST}",
            driver="messagingv2",
            topics=[place.notification_topic],
        )
        self._sends: dict[str, Send] = {
            "call-read": self._read,
            "call-save": self._save,
            "cast": self._cast,
            "notification": self._notify,
        }
        self._sized: dict[int, bodies.Bodies] = {}

    @staticmethod
    def _client(transport: typing.Any, topic: str, version: str) -> typing.Any:
        target = oslo_messaging.Target(topic=topic, version=version)
        return oslo_messaging.get_rpc_client(transport, target)

    def _read(self, context: dict[str, typing.Any], sized: bodies.Bodies, number: int) -> object:
        return self._conductor.prepare().call(
            context,
            "object_class_action_versions",
            objname="Instance",
            objmethod="get_by_uuid",
            object_versions={"Instance": "2.8", "InstanceInfoCache": "1.5", "Flavor": "1.2"},
            args=[sized.uuid(number)],
            kwargs={"expected_attrs": ["info_cache", "system_metadata", "flavor"]},
        )

    def _save(self, context: dict[str, typing.Any], sized: bodies.Bodies, number: int) -> object:
        return self._conductor.prepare().call(
            context,
            "object_action",
            objinst=sized.saved(number),
            objmethod="save",
            args=[],
            kwargs={},
        )

    def _cast(self, context: dict[str, typing.Any], sized: bodies.Bodies, number: int) -> object:
        prepared = self._compute.prepare(server=places.COMPUTE_HOST)
        return prepared.cast(
            context, "stop_instance", instance=sized.saved(number), clean_shutdown=True
        )

    def _notify(self, context: dict[str, typing.Any], sized: bodies.Bodies, number: int) -> object:
        payload = bodies.payload(sized.saved(number), context["request_id"])
        return self._notifier.info(context, "instance.update", payload)

    def run(
        self, kind: str, size: int, callers: int, seconds: float, round: int
    ) -> dict[str, typing.Any]:
        """Send for *seconds* from *callers* threads at once.

        :returns: ``numbers`` handed out (each is one message), the ``times`` in ns of those that
            succeeded, the texts of the ``failures``, and the monotonic times of begin and end.
        """
        if size not in self._sized:
            self._sized[size] = bodies.Bodies(size)
        sized = self._sized[size]
        numbers = itertools.count()
        crew = [Caller(self._sends[kind], sized, round) for _ in range(callers)]
        began = time.monotonic()
        until = began + seconds
        threads = [
            threading.Thread(target=one.run, args=(numbers, until), daemon=True) for one in crew
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, until + _JOIN - time.monotonic()))
            if thread.is_alive():
                raise TimeoutError(f"a {kind} did not return within {_JOIN:.0f} s")
        return {
            "began_at": began,
            "ended_at": time.monotonic(),
            "numbers": next(numbers),
            "times": [taken for one in crew for taken in one.times],
            "failures": [text for one in crew for text in one.failures],
        }

    def close(self) -> None:
        """Close the transports; what the bus still owes is its own affair."""
        for transport in self._transports:
            transport.cleanup()
