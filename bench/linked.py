# SPDX-License-Identifier: Apache-2.0
"""A host that is linked all the time.

    python -m bench.linked --config-file FILE CONDUCTOR HOST

It reads and saves its instances with nova's own objects, each at a fixed rate whatever becomes of
the calls before: a time counts from the moment at which the call was to be made. To the conductor
``cell`` (:mod:`bench.cell_conductor`) it makes the same calls without the objects.
"""

import concurrent.futures
import itertools
import json
import pathlib
import sys
import threading
import time
import typing

from bench import serving

_THREADS = 64


class Objects:
    """The calls of a host, made by nova's own objects."""

    def __init__(self, host: str) -> None:
        from nova import context
        from nova import objects

        self._host = host
        self._objects = objects
        self._context = context.get_admin_context()
        self._guests: list[typing.Any] = []

    def begin(self, directory: str) -> None:
        """Learn which instances there are."""
        found = self._objects.InstanceList.get_by_host(
            self._context, self._host, expected_attrs=["flavor", "info_cache", "metadata"]
        )
        self._guests = list(found)

    def read(self, number: int) -> None:
        """Read one of the instances."""
        guest = self._guests[number % len(self._guests)]
        self._objects.Instance.get_by_uuid(self._context, guest.uuid)

    def save(self, number: int) -> None:
        """Save one of the instances."""
        guest = self._guests[number % len(self._guests)]
        guest.progress = number + 1
        guest.save()


class Messages:
    """The same calls as they stand in the messages."""

    def __init__(self, host: str) -> None:
        import oslo_messaging
        from nova import rpc

        self._host = host
        target = oslo_messaging.Target(topic="conductor", version="3.0")
        self._client = oslo_messaging.get_rpc_client(rpc.TRANSPORT, target)
        self._saves: list[typing.Any] = []

    def begin(self, directory: str) -> None:
        """Learn which instances there are."""
        self._saves = json.loads(pathlib.Path(directory, f"{self._host}.json").read_text())

    def read(self, number: int) -> None:
        """Read one of the instances."""
        ctxt, message = self._saves[number % len(self._saves)]
        self._client.call(
            ctxt,
            "object_class_action_versions",
            objname="Instance",
            objmethod="get_by_uuid",
            object_versions={"Instance": "2.8"},
            args=[message["args"]["objinst"]["nova_object.data"]["uuid"]],
            kwargs={},
        )

    def save(self, number: int) -> None:
        """Save one of the instances."""
        ctxt, message = self._saves[number % len(self._saves)]
        arguments = message["args"]
        fields = {**arguments["objinst"]["nova_object.data"], "progress": number + 1}
        objinst = {**arguments["objinst"], "nova_object.data": fields}
        self._client.call(ctxt, "object_action", **{**arguments, "objinst": objinst})


class Linked:
    """The host."""

    def __init__(self, calls: Objects | Messages) -> None:
        self._calls = calls
        self._made: list[tuple[str, float, float, str | None]] = []
        self._stopped = threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(_THREADS)

    def begin(self, rate: float, directory: str) -> dict[str, typing.Any]:
        """Read and save *rate* times a second each, from now on.

        :param directory: with the calls of each host
        """
        self._calls.begin(directory)
        threading.Thread(target=self._work, args=[rate], daemon=True).start()
        return {}

    def end(self) -> dict[str, typing.Any]:
        """Make no more calls, wait for those that are under way, and tell of all.

        :returns: ``calls``, each with what it was, when it was to be made, how many seconds it
            took from then, and the error's class if it failed
        """
        self._stopped.set()
        self._pool.shutdown()
        return {"calls": self._made}

    def _work(self, rate: float) -> None:
        began = time.monotonic()
        for number in itertools.count():
            due = began + number / rate
            if self._stopped.wait(max(0.0, due - time.monotonic())):
                return
            self._pool.submit(self._timed, "read", due, self._calls.read, number)
            self._pool.submit(self._timed, "save", due, self._calls.save, number)

    def _timed(self, what: str, due: float, act: typing.Any, number: int) -> None:
        error = None
        try:
            act(number)
        except Exception as caught:
            error = type(caught).__name__
        self._made.append((what, due, time.monotonic() - due, error))


def _open() -> Linked:
    from nova import monkey_patch

    monkey_patch.patch(backend="threading")

    from nova import config
    from nova import objects
    from nova.conductor import rpcapi
    from nova.db.main import api
    from nova.objects import base
    from oslo_log import log

    conductor, host = sys.argv[-2:]
    config.parse_args(sys.argv[:-2])
    log.setup(config.CONF, "nova")
    if conductor == "cell":
        return Linked(Messages(host))
    objects.register_all()
    api.DISABLE_DB_ACCESS = True
    base.NovaObject.indirection_api = rpcapi.ConductorAPI()
    return Linked(Objects(host))


def main() -> None:
    """Serve until the coordinator closes our input."""
    serving.serve(_open, frozenset({"begin", "end"}))


if __name__ == "__main__":
    main()
