# SPDX-License-Identifier: Apache-2.0
"""One runtime for each process and journal directory, shared by all driver objects in it.

Services make their transport before they fork, in parents that never use it. A runtime is
therefore made on first use, belongs to the process that made it, and is left alone in a child.
"""

import os
import threading

from nova_edge_bus import settings as settings_module
from nova_edge_bus.runtime import runtime as runtime_module

_Key = tuple[int, str]

_lock = threading.Lock()
_runtimes: dict[_Key, runtime_module.Runtime] = {}
_users: dict[_Key, int] = {}


def _forget_lock() -> None:
    """Another thread of the parent may have held the lock at the moment of the fork."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_lock)


class Lease:
    """The use of this process's runtime by one driver object.

    :raises JournalError: when the journal cannot be opened
    """

    def __init__(self, settings: settings_module.Settings) -> None:
        self._key = (os.getpid(), os.path.abspath(settings.journal_dir))
        with _lock:
            runtime = _runtimes.get(self._key)
            if runtime is None:
                runtime = runtime_module.Runtime(settings)
                _runtimes[self._key] = runtime
            _users[self._key] = _users.get(self._key, 0) + 1
        self.runtime = runtime

    @property
    def is_ours(self) -> bool:
        """Whether this process, rather than its parent, took the lease."""
        return self._key[0] == os.getpid()

    def release(self, linger: float) -> None:
        """Give it back; the last one to do so ends the runtime, and blocks until it has ended.

        :param linger: seconds that the outbox may take to drain
        """
        with _lock:
            _users[self._key] -= 1
            if _users[self._key]:
                return
            del _users[self._key]
            try:
                self.runtime.close(linger)
            finally:
                del _runtimes[self._key]
