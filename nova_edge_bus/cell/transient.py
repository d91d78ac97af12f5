# SPDX-License-Identifier: Apache-2.0
"""Which failures of an apply are the database's passing troubles, and how long they may pass."""

import collections
import time

from sqlalchemy import exc

PATIENCE = 600.0
"""Seconds for which an entry is tried again; a database that is still in trouble then has it."""
_REMEMBERED = 10_000
_OSLO = frozenset({"DBConnectionError", "DBDeadlock", "RetryRequest"})
"""Classes of oslo.db, which need not be installed where this is imported."""
_SQLALCHEMY = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)


def is_passing(error: BaseException | None) -> bool:
    """Whether the same entry may well be applied a little later."""
    if isinstance(error, _SQLALCHEMY):
        return True
    if error is not None and {each.__name__ for each in type(error).__mro__} & _OSLO:
        return True
    inner = getattr(error, "inner_exception", None)
    return isinstance(inner, _SQLALCHEMY)


class Patience:
    """Remembers since when entries have failed like that."""

    def __init__(self) -> None:
        self._since: collections.OrderedDict[tuple[bytes, int], float] = collections.OrderedDict()

    def lasts(self, outbox: bytes, seq: int) -> bool:
        """Whether an entry that has failed again is worth another attempt."""
        now = time.monotonic()
        since = self._since.setdefault((outbox, seq), now)
        if len(self._since) > _REMEMBERED:
            self._since.popitem(last=False)
        return now - since < PATIENCE
