# SPDX-License-Identifier: Apache-2.0
"""A MariaDB of a test's own, which may be killed."""

from __future__ import annotations

import getpass
import os
import pathlib
import shutil
import subprocess
from typing import Any

import pymysql
import pytest

from tests.nova import processes

_START_SECONDS = 60.0
DATABASE = "cell"


class Server:
    """A server on a socket below a directory, with one database.

    Where there is no MariaDB the test is skipped, and fails in CI.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        program = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
        install = shutil.which("mariadb-install-db")
        if program is None or install is None:
            if os.environ.get("CI") == "true":
                pytest.fail("there is no mariadbd to start", pytrace=False)
            pytest.skip("there is no mariadbd to start")
        self._socket = str(directory / "socket")
        data = directory / "data"
        user = getpass.getuser()
        subprocess.run(
            [
                install,
                "--no-defaults",
                f"--datadir={data}",
                f"--user={user}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            check=True,
            capture_output=True,
        )
        options = [
            "--no-defaults",
            f"--datadir={data}",
            f"--socket={self._socket}",
            f"--pid-file={directory / 'pid'}",
            f"--user={user}",
            "--skip-networking",
            "--innodb-lock-wait-timeout=1",
            "--innodb-buffer-pool-size=32M",
        ]
        self._process = processes.Process(
            "mariadbd", [program, *options], directory / "mariadb.log"
        )
        self.start()
        # Nova's models have indexes that are too long in any other.
        self.execute(f"CREATE DATABASE {DATABASE} CHARACTER SET latin1")
        self.url = f"mysql+pymysql://root@localhost/{DATABASE}?unix_socket={self._socket}"

    def start(self) -> None:
        """Start it, again, and return when it answers."""
        self._process.start()
        self._process.wait_ready(self._answers, _START_SECONDS)

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()

    def stop(self) -> None:
        """End it."""
        self._process.kill()

    def connect(self, database: str | None = None) -> Any:
        """A session of its own."""
        return pymysql.connect(unix_socket=self._socket, user="root", database=database)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement in a session of its own."""
        with self.connect() as session, session.cursor() as cursor:
            cursor.execute(statement)
            session.commit()
            return list(cursor.fetchall())

    def kill_connections(self) -> int:
        """End every session of the database; how many there were."""
        query = f"SELECT id FROM information_schema.processlist WHERE db = '{DATABASE}'"
        killed = 0
        for (number,) in self.execute(query):
            try:
                self.execute(f"KILL {number}")
                killed += 1
            except pymysql.err.OperationalError:
                # It has ended by itself.
                continue
        return killed

    def deadlocks(self) -> int:
        """How many deadlocks there have been."""
        return int(self.execute("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")[0][1])

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except pymysql.err.OperationalError:
            return False
        return True
