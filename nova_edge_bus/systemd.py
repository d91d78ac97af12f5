# SPDX-License-Identifier: Apache-2.0
"""What a daemon tells systemd: that it is ready, how it is, and that it is still alive.

The protocol is one datagram of lines to the socket that ``NOTIFY_SOCKET`` names. sd_notify(3)
promises that it stays so, and shows how to do without a library: those that there are need C
headers to be installed (systemd-python), or have had no release since 2017 (sdnotify).
"""

import collections.abc
import os
import socket

_BEATS = 3
"""How often it is said within the time that systemd waits that this process is alive."""
_STATUS_SECONDS = 10.0


class Manager:
    """The service manager that has started this process, if any has; without one nothing is told.

    :param environment: where it has left its wishes
    """

    def __init__(self, environment: collections.abc.Mapping[str, str] = os.environ) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        # An abstract socket begins with a zero byte, written as @.
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        limit = environment.get("WATCHDOG_USEC", "") if watched else ""
        self.watches = bool(self._address) and limit.isdigit() and int(limit) > 0
        self.interval = int(limit) / 1e6 / _BEATS if self.watches else _STATUS_SECONDS
        """Seconds between two calls of :meth:`alive`."""

    def ready(self, status: str) -> None:
        """The daemon listens: what depends on it may start."""
        self._tell("READY=1", f"STATUS={status}")

    def alive(self, status: str) -> None:
        """The daemon works; call it from what may get stuck, every :attr:`interval` seconds."""
        self._tell(*(["WATCHDOG=1"] if self.watches else []), f"STATUS={status}")

    def stopping(self) -> None:
        """The daemon was asked to end, and does."""
        self._tell("STOPPING=1", "STATUS=stopping")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
                notify.setblocking(False)
                notify.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            # It says less then, and if it goes on, systemd restarts the daemon; nothing is mended
            # by an error in here.
            pass
