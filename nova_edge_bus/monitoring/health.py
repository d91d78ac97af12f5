# SPDX-License-Identifier: Apache-2.0
"""The pages that probes ask: whether a process is alive, and whether it is ready to work."""

import collections.abc
import http

from nova_edge_bus import concurrency
from nova_edge_bus.monitoring import pages

FROZEN_SECONDS = 10.0
"""How long the I/O thread may be away before it is taken for stuck. It turns every second."""

Check = collections.abc.Callable[[], str | None]
"""Says what is wrong, or None; it returns at once."""


def page(checks: collections.abc.Sequence[Check]) -> pages.Page:
    """A page that is 200 while nothing is wrong, and else 503 with what it is, a line each."""

    def answer(request: pages.Request) -> pages.Response:
        wrong = [said for check in checks if (said := check()) is not None]
        if wrong:
            return pages.text("\n".join(wrong), http.HTTPStatus.SERVICE_UNAVAILABLE)
        return pages.text("ok")

    return answer


def turns(turned_at: collections.abc.Callable[[], float]) -> Check:
    """The check that a loop turns.

    :param turned_at: gives when it last did, in seconds of the monotonic clock
    """

    def check() -> str | None:
        away = concurrency.monotonic() - turned_at()
        if away < FROZEN_SECONDS:
            return None
        return f"the I/O thread has not turned for {away:.0f} s"

    return check
