# SPDX-License-Identifier: Apache-2.0
"""The receiving process: conductor, compute, schedulers and a listener in one, counting."""

import time
import typing

import oslo_messaging

from bench import bodies
from bench import counting
from bench import endpoints
from bench import places

_PATIENCE = 0.02
"""Seconds between two looks at a count that is still growing."""


class Conductor:
    """The two methods of nova-conductor that the calls go to."""

    target = oslo_messaging.Target(version=endpoints.CONDUCTOR_VERSION)

    def __init__(self, counter: counting.Counter) -> None:
        self._counter = counter
        self.stored: bodies.Bodies | None = None

    def object_action(
        self,
        ctxt: dict[str, typing.Any],
        objinst: bodies.Primitive,
        objmethod: str,
        args: list[typing.Any],
        kwargs: dict[str, typing.Any],
    ) -> list[typing.Any]:
        """Answer a save as the conductor does when the database changes no field."""
        self._counter.count(ctxt["request_id"])
        return [{"obj_what_changed": []}, None]

    def object_class_action_versions(
        self,
        ctxt: dict[str, typing.Any],
        objname: str,
        objmethod: str,
        object_versions: dict[str, str],
        args: list[typing.Any],
        kwargs: dict[str, typing.Any],
    ) -> bodies.Primitive:
        """Answer a read with the instance that it asks for."""
        number = self._counter.count(ctxt["request_id"])
        if self.stored is None:
            raise LookupError("no body size was announced before the read")
        return self.stored.stored(args[0], number)


class Compute:
    """The method of nova-compute that the casts go to."""

    target = oslo_messaging.Target(version=endpoints.COMPUTE_VERSION)

    def __init__(self, counter: counting.Counter) -> None:
        self._counter = counter

    def stop_instance(
        self, ctxt: dict[str, typing.Any], instance: bodies.Primitive, clean_shutdown: bool
    ) -> None:
        """Count the cast."""
        self._counter.count(ctxt["request_id"])


class Scheduler:
    """The method of nova-scheduler that the fanouts of the computes go to.

    :param copy: which of all schedulers it is
    """

    target = oslo_messaging.Target(version=endpoints.SCHEDULER_VERSION)

    def __init__(self, counter: counting.Counter, copy: int) -> None:
        self._counter = counter
        self._copy = copy

    def update_instance_info(
        self, ctxt: dict[str, typing.Any], host_name: str, instance_info: bodies.Primitive
    ) -> None:
        """Count this scheduler's copy of the fanout."""
        self._counter.count(ctxt["request_id"], self._copy, len(places.SCHEDULER_HOSTS))


class Listener:
    """What a consumer of nova's notifications does with one: count it."""

    def __init__(self, counter: counting.Counter) -> None:
        self._counter = counter

    def info(
        self,
        ctxt: dict[str, typing.Any],
        publisher_id: str,
        event_type: str,
        payload: bodies.Primitive,
        metadata: dict[str, typing.Any],
    ) -> None:
        """Count the notification."""
        self._counter.count(payload["nova_object.data"]["request_id"])


class Receiver:
    """Serves the topics of a run and answers the coordinator's questions."""

    def __init__(self, place: places.Place) -> None:
        self._counter = counting.Counter()
        self._conductor = Conductor(self._counter)
        self._transports = [
            endpoints.rpc_transport(place, "nova-conductor"),
            endpoints.notification_transport(place),
        ]
        rpc, notifications = self._transports
        compute = Compute(self._counter)
        self._servers = [
            endpoints.rpc_server(
                rpc, place.conductor_topic, places.CONDUCTOR_HOST, self._conductor
            ),
            endpoints.rpc_server(rpc, place.compute_topic, places.COMPUTE_HOST, compute),
            oslo_messaging.get_notification_listener(
                notifications,
                [oslo_messaging.Target(topic=place.notification_topic)],
                [Listener(self._counter)],
                executor=endpoints.executor(),
            ),
        ]
        self._servers += [
            endpoints.rpc_server(rpc, place.scheduler_topic, host, Scheduler(self._counter, copy))
            for copy, host in enumerate(places.SCHEDULER_HOSTS)
        ]
        for server in self._servers:
            server.start()

    def expect(self, size: int) -> dict[str, typing.Any]:
        """Answer reads with instances of *size* bytes from now on."""
        self._conductor.stored = bodies.Bodies(size)
        return {}

    def tally(self, round: int, numbers: int, patience: float) -> dict[str, typing.Any]:
        """Wait until *numbers* messages of *round* have come, then say how they were counted.

        :param patience: seconds after which a round in which nothing more comes is given up
        """
        report = self._counter.report(round, numbers)
        moved = time.monotonic()
        while report["once"] < numbers and time.monotonic() - moved < patience:
            time.sleep(_PATIENCE)
            before = report["received"]
            report = self._counter.report(round, numbers)
            if report["received"] != before:
                moved = time.monotonic()
        return report

    def close(self) -> None:
        """Stop serving."""
        for server in self._servers:
            server.stop()
            server.wait()
        for transport in self._transports:
            transport.cleanup()
