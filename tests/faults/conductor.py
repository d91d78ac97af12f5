# SPDX-License-Identifier: Apache-2.0
"""A conductor that ends by SIGKILL right after a commit of nova's, and begins again.

Run as ``python -m tests.faults.conductor URL JOURNAL_DIR DATABASE SEED MOST_COMMITS``. The parent
has imported nova and forks one life after the other; each is killed after a random number of
commits, between the commit and whatever would come next: another part, or the answer. It prints a
line at the end of each life. SIGTERM ends it after the present life, which then is not killed.
"""

from __future__ import annotations

import os
import pathlib
import random
import signal
import sys
import threading
from typing import Any

import oslo_messaging
from nova.objects import base
from oslo_messaging.rpc import dispatcher
from sqlalchemy import event
from sqlalchemy import orm

from tests.driver import peers
from tests.unit.snapshot import centre as centres

KILLED = "killed"
TOPIC = "conductor"


class Conductor:
    """Nova's object methods over the bus."""

    target = oslo_messaging.Target(version="3.0")

    def __init__(self, centre: centres.Centre) -> None:
        self._centre = centre

    def object_action(self, context: Any, **arguments: Any) -> Any:
        """See nova.conductor.manager.ConductorManager."""
        return self._apply(context, "object_action", arguments)

    def object_class_action_versions(self, context: Any, **arguments: Any) -> Any:
        """See nova.conductor.manager.ConductorManager."""
        return self._apply(context, "object_class_action_versions", arguments)

    def _apply(self, context: Any, method: str, arguments: Any) -> Any:
        try:
            return self._centre(context, {"method": method, "args": arguments})
        except Exception:
            raise dispatcher.ExpectedException() from None


def _live(arguments: list[str], commits: int) -> None:
    url, journal_dir, database, *_ = arguments
    made = 0

    def after_commit(session: orm.Session) -> None:
        nonlocal made
        made += not session.in_nested_transaction()
        if made == commits:
            os.kill(os.getpid(), signal.SIGKILL)

    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    centre = centres.Centre(pathlib.Path("unused"), database)
    peer = peers.Peer(
        url,
        pathlib.Path(journal_dir),
        prog="nova-conductor",
        host="centre",
        link_timeout=1.0,
    )
    event.listen(orm.Session, "after_commit", after_commit)
    peer.serve(TOPIC, "centre", Conductor(centre))
    stopped.wait()


def main(arguments: list[str]) -> None:
    """Live again and again."""
    centres.prepare()
    base.NovaObject.indirection_api = None
    chance = random.Random(int(arguments[3]))
    most = int(arguments[4])
    ending = False
    child = 0

    def end(*_: object) -> None:
        nonlocal ending
        ending = True
        if child:
            os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    while not ending:
        commits = chance.randint(1, most)
        child = os.fork()
        if child == 0:
            _live(arguments, commits)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            print(f"{KILLED} after {commits}", flush=True)
        elif not ending:
            sys.exit(f"a life ended with status {status}")


if __name__ == "__main__":
    main(sys.argv[1:])
