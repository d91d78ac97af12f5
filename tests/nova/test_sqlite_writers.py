# SPDX-License-Identifier: Apache-2.0
"""Several processes that read and then write one SQLite file through oslo.db's enginefacade."""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
import subprocess
import sys

from tests.nova import config

_PROCESSES = 3
_ADDITIONS = 40
_ADD = """
import sys
import sqlalchemy
from oslo_config import cfg
from oslo_db.sqlalchemy import enginefacade
from tests.nova import sqlite_writers

url, additions = sys.argv[1:]
sqlite_writers.install()
manager = enginefacade.transaction_context()
manager.configure(connection=url)
for _ in range(int(additions)):
    with manager.writer.using(type("Context", (), {})()) as session:
        (value,) = session.execute(sqlalchemy.text("SELECT value FROM counter")).one()
        session.execute(sqlalchemy.text("UPDATE counter SET value = :v"), {"v": value + 1})
"""


def _add_in_parallel(directory: pathlib.Path) -> tuple[list[int], int]:
    """Return the exit statuses of the processes and what they have counted to."""
    path = directory / "counter.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "PRAGMA journal_mode = WAL;"
            "CREATE TABLE counter (value INTEGER); INSERT INTO counter VALUES (0)"
        )
    command = [sys.executable, "-c", _ADD, f"sqlite:///{path}", str(_ADDITIONS)]
    processes = [
        subprocess.Popen(
            command,
            env={**config.environment(), "PYTHONWARNINGS": "ignore"},
            stderr=subprocess.DEVNULL,
        )
        for _ in range(_PROCESSES)
    ]
    statuses = [process.wait(timeout=60) for process in processes]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return statuses, connection.execute("SELECT value FROM counter").fetchone()[0]


def test_writers_take_turns(tmp_path: pathlib.Path) -> None:
    statuses, value = _add_in_parallel(tmp_path)
    assert statuses == [0] * _PROCESSES
    assert value == _PROCESSES * _ADDITIONS
