# SPDX-License-Identifier: Apache-2.0
"""The sending process: a nova-compute that sends as fast as its callers can, or at fixed times."""

import collections.abc
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


class Turns:
    """Hands out the messages of a round, to any number of threads.

    :param began: the monotonic time at which the round begins
    :param seconds: how long it is
    :param rate: messages a second, each due at its time; 0 for as fast as they are taken
    """

    def __init__(self, began: float, seconds: float, rate: float) -> None:
        self._began = began
        self._until = began + seconds
        self._rate = rate
        self._lock = threading.Lock()
        self.taken = 0

    def take(self) -> tuple[int, float] | None:
        """The next number, and the monotonic time at which it is due; None when all are taken.

        A message that is due in the round is handed out even when the round is over.
        """
        with self._lock:
            number = self.taken
            due = self._began + number / self._rate if self._rate else time.monotonic()
            if due >= self._until:
                return None
            self.taken += 1
        return number, due


class Caller:
    """One thread that sends until the round ends, with what each message took."""

    def __init__(self, send: Send, sized: bodies.Bodies, round_number: int) -> None:
        self._send = send
        self._sized = sized
        self._round = round_number
        self.times: list[int] = []
        self.failures: list[str] = []

    def run(self, turns: Turns) -> None:
        """Send what *turns* hands out, each when it is due; its time counts from then.

        A message that was handed out is finished and counts.
        """
        while (turn := turns.take()) is not None:
            number, due = turn
            context = bodies.context(bodies.request_id(self._round, number))
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            try:
                self._send(context, self._sized, number)
            except Exception as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            else:
                self.times.append(round((time.monotonic() - due) * 1e9))


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
        self._scheduler = self._client(rpc, place.scheduler_topic, endpoints.SCHEDULER_VERSION)
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
            "fanout": self._fanout,
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

    def _fanout(self, context: dict[str, typing.Any], sized: bodies.Bodies, number: int) -> object:
        prepared = self._scheduler.prepare(fanout=True)
        return prepared.cast(
            context,
            "update_instance_info",
            host_name=places.COMPUTE_HOST,
            instance_info=sized.saved(number),
        )

    def run(
        self,
        kind: str,
        size: int,
        callers: int,
        seconds: float,
        round: int,
        rate: float = 0.0,
    ) -> dict[str, typing.Any]:
        """Send for *seconds* from *callers* threads at once.

        :param rate: messages a second of all together; 0 for as many as they can
        :returns: ``numbers`` handed out (each is one message), the ``times`` in ns of those that
            succeeded, the texts of the ``failures``, and the monotonic times of begin and end.
        """
        if size not in self._sized:
            self._sized[size] = bodies.Bodies(size)
        sized = self._sized[size]
        crew = [Caller(self._sends[kind], sized, round) for _ in range(callers)]
        began = time.monotonic()
        turns = Turns(began, seconds, rate)
        threads = [threading.Thread(target=one.run, args=[turns], daemon=True) for one in crew]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, began + seconds + _JOIN - time.monotonic()))
            if thread.is_alive():
                raise TimeoutError(f"a {kind} did not return within {_JOIN:.0f} s")
        return {
            "began_at": began,
            "ended_at": time.monotonic(),
            "numbers": turns.taken,
            "times": [taken for one in crew for taken in one.times],
            "failures": [text for one in crew for text in one.failures],
        }

    def close(self) -> None:
        """Close the transports; what the bus still owes is its own affair."""
        for transport in self._transports:
            transport.cleanup()
