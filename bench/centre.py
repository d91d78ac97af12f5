# SPDX-License-Identifier: Apache-2.0
"""The conductor of a host that is cut off: it answers, and notes when each save arrived."""

import threading
import time
import typing

import oslo_messaging

from bench import bodies
from bench import endpoints
from bench import places


class Conductor:
    """The two methods of nova-conductor that the host calls."""

    target = oslo_messaging.Target(version=endpoints.CONDUCTOR_VERSION)

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()
        self._stored = bodies.Bodies(size)
        self.arrivals: dict[str, list[float]] = {}

    def object_action(
        self,
        ctxt: dict[str, typing.Any],
        objinst: bodies.Primitive,
        objmethod: str,
        args: list[typing.Any],
        kwargs: dict[str, typing.Any],
    ) -> list[typing.Any]:
        """Note the save of an instance, and answer as when the database changes no field."""
        if objinst["nova_object.name"] == "Instance":
            with self._lock:
                self.arrivals.setdefault(ctxt["request_id"], []).append(time.monotonic())
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
        """Answer a read with the instance that it asks for.

        :raises KeyError: for what is not asked here, as the driver's own reads ahead
        """
        return self._stored.stored(args[0], 0)


class Centre:
    """Serves the conductor's topic."""

    def __init__(self, place: places.Place) -> None:
        self._transport = endpoints.rpc_transport(place, "nova-conductor")
        self._place = place
        self._server: typing.Any = None

    def begin(self, size: int) -> dict[str, typing.Any]:
        """Serve, with instances of *size* bytes."""
        self._conductor = Conductor(size)
        self._server = endpoints.rpc_server(
            self._transport, self._place.conductor_topic, places.CONDUCTOR_HOST, self._conductor
        )
        self._server.start()
        return {}

    def arrivals(self) -> dict[str, typing.Any]:
        """The monotonic times at which each save came, by its request id."""
        return {"arrivals": dict(self._conductor.arrivals)}

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.stop()
            self._server.wait()
        self._transport.cleanup()
