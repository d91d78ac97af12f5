# SPDX-License-Identifier: Apache-2.0
"""Let several nova processes write to one SQLite file.

oslo.db begins every SQLite transaction as a reader. One that reads and then writes, as most of
nova's do, fails at once with `database is locked` when another process has committed in between;
no timeout helps, because the snapshot is stale. Here writers of oslo.db's enginefacade begin with
BEGIN IMMEDIATE. They wait for their turn in Python rather than inside SQLite, which would block
every greenlet of the process, the one that holds the lock included. Readers stay as they are: in
WAL mode they neither wait nor make others wait.
"""

from __future__ import annotations

import random
import sqlite3
import time
from typing import Any

_PATIENCE_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 0.01
_WRITER = "nova_test_sqlite_writer"


def install() -> None:
    """Make this process's enginefacade writers on SQLite begin immediately.

    Call it after eventlet has patched the process, if it does, and before the first engine exists.
    """
    import sqlalchemy
    from oslo_db.sqlalchemy import enginefacade

    create_session = enginefacade._TransactionFactory._create_session
    create_connection = enginefacade._TransactionFactory._create_connection

    def marked_session(self: Any, mode: Any, bind: Any = None) -> Any:
        session = create_session(self, mode, bind)
        if mode is enginefacade._WRITER and bind is None:
            session.bind = session.bind.execution_options(**{_WRITER: True})
        return session

    def marked_connection(self: Any, mode: Any) -> Any:
        connection = create_connection(self, mode)
        if mode is enginefacade._WRITER:
            connection = connection.execution_options(**{_WRITER: True})
        return connection

    enginefacade._TransactionFactory._create_session = marked_session
    enginefacade._TransactionFactory._create_connection = marked_connection
    sqlalchemy.event.listen(sqlalchemy.Engine, "begin", _begin_immediate)


def _begin_immediate(connection: Any) -> None:
    """Begin for oslo.db, which leaves a connection alone that says it is in a transaction."""
    if connection.dialect.name != "sqlite" or _WRITER not in connection.get_execution_options():
        return
    database = connection.connection.dbapi_connection
    deadline = time.monotonic() + _PATIENCE_SECONDS
    database.execute("PRAGMA busy_timeout = 0")
    while True:
        try:
            database.execute("BEGIN IMMEDIATE")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.001, _LONGEST_PAUSE_SECONDS))
    database.execute("PRAGMA busy_timeout = 5000")
    connection.info["in_transaction"] = True
