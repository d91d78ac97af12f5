# SPDX-License-Identifier: Apache-2.0
"""A host that is linked all the time: ``python -m bench.linked --config-file FILE HOST``.

It reads and saves its instances with nova's own objects, each at a fixed rate whatever becomes of
the calls before: a time counts from the moment at which the call was to be made.
"""

import concurrent.futures
import itertools
import sys
import threading
import time
import typing

from bench import serving

_THREADS = 64


class Linked:
    """The host."""

    def __init__(self) -> None:
        from nova import context
        from nova import objects

        self._host = sys.argv.pop()
        self._objects = objects
        self._context = context.get_admin_context()
        self._made: list[tuple[str, float, float, str | None]] = []
        self._stopped = threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(_THREADS)

    def begin(self, rate: float) -> dict[str, typing.Any]:
        """Read and save *rate* times a second each, from now on."""
        found = self._objects.InstanceList.get_by_host(
            self._context, self._host, expected_attrs=["flavor", "info_cache", "metadata"]
        )
        self._guests = list(found)
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
            guest = self._guests[number % len(self._guests)]
            self._pool.submit(self._timed, "read", due, self._read, guest.uuid)
            self._pool.submit(self._timed, "save", due, self._save, guest, number)

    def _timed(self, what: str, due: float, act: typing.Any, *arguments: object) -> None:
        error = None
        try:
            act(*arguments)
        except Exception as caught:
            error = type(caught).__name__
        self._made.append((what, due, time.monotonic() - due, error))

    def _read(self, uuid: str) -> None:
        self._objects.Instance.get_by_uuid(self._context, uuid)

    def _save(self, guest: typing.Any, number: int) -> None:
        guest.progress = number + 1
        guest.save()


def _open() -> Linked:
    from nova import monkey_patch

    monkey_patch.patch(backend="threading")

    from nova import config
    from nova import objects
    from nova.conductor import rpcapi
    from nova.db.main import api
    from nova.objects import base
    from oslo_log import log

    config.parse_args(sys.argv[:-1])
    log.setup(config.CONF, "nova")
    objects.register_all()
    api.DISABLE_DB_ACCESS = True
    base.NovaObject.indirection_api = rpcapi.ConductorAPI()
    return Linked()


def main() -> None:
    """Serve until the coordinator closes our input."""
    serving.serve(_open, frozenset({"begin", "end"}))


if __name__ == "__main__":
    main()
