# SPDX-License-Identifier: Apache-2.0
"""Sets a corrupt journal aside, for the operator to look into."""

import os
import time

from nova_edge_bus import concurrency
from nova_edge_bus import errors
from nova_edge_bus.journal import database

LOG = concurrency.NativeLogger(__name__)


def quarantine(path: str | os.PathLike[str]) -> str:
    """Move a corrupt journal aside, its WAL with it, and return its new name.

    The slot's next open then begins with a new outbox id; the file stays for the operator.

    :raises JournalError: when there is no such journal, or it cannot be moved
    """
    name = os.fspath(path)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = f"{name}.corrupt-{stamp}"
    number = 1
    while os.path.exists(target):
        number += 1
        target = f"{name}.corrupt-{stamp}-{number}"
    try:
        # The database last: until it is gone nobody can start a new one beside the old WAL.
        for file in reversed(database.companions(name)):
            os.rename(file, target + file[len(name) :])
    except OSError as error:
        raise errors.JournalError(f"cannot move journal {name} aside: {error}") from error
    if not os.path.exists(target):
        raise errors.JournalError(f"cannot move journal {name} aside: there is no such file")
    LOG.warning("corrupt journal %s moved to %s", name, target)
    return target
