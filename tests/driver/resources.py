# SPDX-License-Identifier: Apache-2.0
"""What this process holds: descriptors and threads, to compare before and after."""

from __future__ import annotations

import collections
import gc
import os
import threading

from tests.nova.processes import wait_until

SETTLE_SECONDS = 20.0


def descriptors() -> collections.Counter[str]:
    """Open descriptors by what they are, inode numbers left out."""
    found: collections.Counter[str] = collections.Counter()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue  # the listing's own
        found[target.partition(":[")[0]] += 1
    return found


def threads() -> set[threading.Thread]:
    """The threads of Python that run."""
    return set(threading.enumerate())


class Resources:
    """What was held at one moment."""

    def __init__(self) -> None:
        gc.collect()
        self._descriptors = descriptors()
        self._threads = threads()

    def more(self) -> list[str]:
        """What is held now in addition."""
        gc.collect()
        extra = sorted((descriptors() - self._descriptors).elements())
        return extra + sorted(thread.name for thread in threads() - self._threads)

    def assert_no_more(self) -> None:
        """Fail when there is more now, or still after what other tests left has ended."""
        wait_until(lambda: not self.more(), SETTLE_SECONDS, f"the end of {self.more()}")
