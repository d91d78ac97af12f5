# SPDX-License-Identifier: Apache-2.0
"""The one seam between native threads and eventlet, and the only module that names eventlet.

The bus does its I/O in native threads, under eventlet too: a hub that sits in a ZeroMQ poll or an
fsync would stop every greenlet of the process. This module gives those threads primitives that are
never monkey-patched, and gives them one way to reach the callers' side: :func:`post`.

Callers use the standard ``threading`` and ``queue`` as they find them, patched or not. What a
native thread wants to do with such an object (set an event, put on a queue, log) it hands to
:func:`post`: under native threading that runs at once, under eventlet the hub runs it.

nova in native-threading mode forbids the import of eventlet, so it is looked up only where the
process has already imported it and patched the thread module.
"""

import collections
import logging
import os
import sys
import threading
import time
import types
from collections.abc import Callable
from typing import Any


def is_patched() -> bool:
    """Tell whether eventlet has monkey-patched threads in this process."""
    eventlet = sys.modules.get("eventlet")
    if eventlet is None:
        return False
    patcher = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched("thread"))


def _original(module: str) -> types.ModuleType:
    if is_patched():
        original: types.ModuleType = sys.modules["eventlet.patcher"].original(module)
        return original
    return __import__(module)


class _Native:
    """The unpatched modules, looked up at use, because patching may come late."""

    @property
    def threading(self) -> Any:
        return _original("threading")

    @property
    def time(self) -> Any:
        return _original("time")

    @property
    def socket(self) -> Any:
        return _original("socket")


native = _Native()


monotonic = time.monotonic
"""Seconds of the monotonic clock, which eventlet does not patch."""


def spawn(name: str, target: Callable[[], None]) -> Any:
    """Start *target* in a native daemon thread, also under eventlet, and return the thread.

    nova ends in ``os._exit``, so nothing may rely on such a thread's end being waited for.
    """
    thread = native.threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


def join(thread: Any, timeout: float) -> bool:
    """Wait for a native thread without stopping the hub; tell whether it ended in time.

    :param timeout: seconds
    """
    if _in_hub():
        return _poll(lambda: not thread.is_alive(), timeout)
    thread.join(timeout)
    return not thread.is_alive()


def wait(event: Any, timeout: float) -> bool:
    """Wait for a native event without stopping the hub; tell whether it was set in time.

    :param timeout: seconds
    """
    if _in_hub():
        return _poll(event.is_set, timeout)
    return bool(event.wait(timeout))


def _poll(is_over: Callable[[], bool], timeout: float) -> bool:
    """Nothing in a native thread can wake a greenlet that waits for a native object."""
    deadline = monotonic() + timeout
    while not is_over():
        if monotonic() >= deadline:
            return False
        pause(0.005)
    return True


def pause(seconds: float) -> None:
    """Let time pass on the callers' side; under eventlet the hub goes on."""
    time.sleep(seconds)


class _HubBridge:
    """Runs callbacks in the hub's thread: native threads append them and wake it by a pipe."""

    def __init__(self) -> None:
        self._callbacks: collections.deque[Callable[[], None]] = collections.deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.thread: int = native.threading.get_ident()
        eventlet = sys.modules["eventlet"]
        self._trampoline = eventlet.hubs.trampoline
        self._greenlet = eventlet.spawn(self._run)

    def post(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)
        os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        while True:
            self._trampoline(self._wake, read=True)
            os.eventfd_read(self._wake)
            while self._callbacks:
                try:
                    self._callbacks.popleft()()
                except Exception:
                    logging.getLogger(__name__).exception("callback on the hub failed")


_bridges: dict[tuple[int, int], _HubBridge] = {}


def prepare() -> None:
    """Make :func:`post` usable; called on the callers' side before any native thread starts."""
    if is_patched():
        key = (os.getpid(), 0)
        if key not in _bridges:
            _bridges.clear()
            _bridges[key] = _HubBridge()


def _in_hub() -> bool:
    """Whether the caller runs in the thread whose hub must go on; native threads do not."""
    bridge = _bridges.get((os.getpid(), 0))
    return bridge is not None and bridge.thread == native.threading.get_ident()


def may_stand_still() -> bool:
    """Whether this thread may block for what others wait for as well, and see it through.

    Not under eventlet, where other greenlets would stand still with it, and not in the main
    thread, in which a signal's handler can raise in the midst of things.
    """
    if (os.getpid(), 0) in _bridges:
        return False
    return threading.get_ident() != threading.main_thread().ident


def post(callback: Callable[[], None]) -> None:
    """Run *callback* on the callers' side: at once under threads, by the hub under eventlet."""
    bridge = _bridges.get((os.getpid(), 0))
    if bridge is None:
        callback()
    else:
        bridge.post(callback)


class NativeLogger:
    """A logger for native threads.

    Handlers take locks, and a patched lock that a native thread has to wait for breaks the hub.
    Under eventlet the hub therefore does the logging.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        self._warned_at: dict[str, float] = {}

    def _log(self, level: int, text: str, *args: object) -> None:
        if self._logger.isEnabledFor(level):
            exc_info = sys.exc_info() if level >= logging.ERROR and sys.exc_info()[0] else None
            post(lambda: self._logger.log(level, text, *args, exc_info=exc_info))

    def debug(self, text: str, *args: object) -> None:
        """Log at DEBUG from any thread."""
        self._log(logging.DEBUG, text, *args)

    def warning_once_in(self, seconds: float, text: str, *args: object) -> None:
        """Log at WARNING, but the same *text*, whatever its arguments, only once in *seconds*."""
        now = monotonic()
        if now - self._warned_at.get(text, -seconds) >= seconds:
            self._warned_at[text] = now
            self._log(logging.WARNING, text, *args)

    def info(self, text: str, *args: object) -> None:
        """Log at INFO from any thread."""
        self._log(logging.INFO, text, *args)

    def warning(self, text: str, *args: object) -> None:
        """Log at WARNING from any thread."""
        self._log(logging.WARNING, text, *args)

    def error(self, text: str, *args: object) -> None:
        """Log at ERROR from any thread, with the exception being handled, if any."""
        self._log(logging.ERROR, text, *args)
